"""After Li et al.: the mask decides which features are seen."""

from __future__ import annotations

import pytest
import torch

from msanet.errors import InputError
from msanet.networks import count_cost, create_network
from msanet.networks.lbp_attention import LBPAttention


def test_the_parameters_are_pinned():
    assert count_cost(create_network("lbp_attention", 8), 32)[0] == 11_737_425


@torch.inference_mode()
def test_a_mask_of_zero_takes_the_features_away():
    torch.manual_seed(0)
    network = LBPAttention(8, mask_width=4, blocks=1, stem_width=4).eval()
    gray = torch.randn(2, 1, 21, 16)
    mask = network.mask(gray)
    assert mask.shape == (2, 4, 21, 16)
    assert ((mask > 0) & (mask < 1)).all()
    before = [network.picture(gray, part) for part in (mask, torch.zeros_like(mask))]
    for value in network.extract.parameters():
        value.add_(torch.randn_like(value))
    after = [network.picture(gray, part) for part in (mask, torch.zeros_like(mask))]
    assert not torch.equal(before[0], after[0])
    assert torch.equal(before[1], after[1])


def test_what_it_cannot_be_made_of_is_refused():
    with pytest.raises(InputError, match="mask_width and blocks"):
        create_network("lbp_attention", blocks=-1)
