"""What makes FMPN itself: grey comes in where the mask lets it."""

from __future__ import annotations

import torch

from msanet.networks.fmpn import FMPN


@torch.no_grad()
def test_where_the_mask_is_0_grey_changes_nothing():
    torch.manual_seed(0)
    fusion = FMPN(width=4, stem_width=8).fusion.eval()
    images, gray, mask = torch.rand(1, 3, 16, 16), torch.rand(1, 1, 16, 16), torch.zeros(1, 1, 16, 16)
    other = gray.clone()
    other[..., :4] += 1
    assert torch.equal(fusion(images, mask * gray), fusion(images, mask * other))
    assert not torch.equal(fusion(images, gray), fusion(images, other))


@torch.no_grad()
def test_masks_have_the_pictures_size_whatever_it_is_and_lie_in_0_to_1():
    torch.manual_seed(0)
    network = FMPN(width=4, stem_width=8).eval()
    for side in (32, 33):
        features, masks = network.parts(torch.rand(2, 3, side, side))
        assert features.shape == (2, 64)
        assert masks.shape == (2, 1, side, side)
        assert ((masks > 0) & (masks < 1)).all()
