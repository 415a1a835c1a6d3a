"""What makes gACNN itself: pACNN's patches, and the whole face with a gate of its own."""

from __future__ import annotations

import torch

from msanet.networks.gacnn import GACNN
from msanet.preprocessing import MEAN_LANDMARKS


@torch.no_grad()
def test_patches_are_those_of_pacnn_and_the_whole_face_stands_beside_them():
    torch.manual_seed(0)
    network = GACNN(size=64, first_pool=False, window=4, width=2, hidden=8).eval()
    images, points = torch.rand(2, 3, 64, 64), torch.from_numpy(MEAN_LANDMARKS).expand(2, 5, 2)
    maps = network.trunk(network.norm(images))
    assert maps.shape == (2, 16, 16, 16)
    features = network.features(images, landmarks=points)
    assert features.shape == (2, 24 * 64 + 512)
    torch.testing.assert_close(features[:, : 24 * 64], network.local(maps, points)[0].flatten(1))
    elsewhere = network.features(images, landmarks=points + 3)  # no window lies on the map
    assert not torch.allclose(features[:, : 24 * 64], elsewhere[:, : 24 * 64])
    torch.testing.assert_close(features[:, 24 * 64 :], elsewhere[:, 24 * 64 :])
    gate = network.gate(network.further(maps))
    assert ((gate > 0) & (gate < 1)).all()
