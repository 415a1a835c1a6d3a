"""What makes OADN itself: hidden points count for nothing, and each region answers for its quarter."""

from __future__ import annotations

import pytest
import torch

from msanet.networks.oadn import OADN


@torch.no_grad()
def test_a_hidden_point_has_no_influence():
    torch.manual_seed(0)
    network = OADN(stem_width=8, sigma=0.02).eval()
    maps = torch.rand(1, 64, 8, 8)
    other = maps.clone()
    other[:, :, :, -1] += 1  # under the second point
    points = torch.tensor([[[0.3, 0.4], [0.98, 0.4]]])
    hidden = torch.tensor([[[0.3, 0.4], [1.02, 0.4]]])
    assert not torch.allclose(network.around_points(maps, points), network.around_points(other, points))
    torch.testing.assert_close(network.around_points(maps, hidden), network.around_points(other, hidden))
    assert not network.around_points(maps, hidden - 9).any()


@torch.no_grad()
def test_a_weighted_mean_of_a_constant_map_is_the_constant():
    maps, points = torch.full((1, 64, 8, 8), 0.7), torch.tensor([[[0.3, 0.4], [0.9, 0.1]]])
    mean = OADN(stem_width=8).around_points(maps, points)
    torch.testing.assert_close(mean, torch.full((1, 64), 0.7))
    assert OADN(stem_width=8, normalise=False).around_points(maps, points).max() < 0.1


@torch.no_grad()
@pytest.mark.parametrize("predict", ["both", "regions"])
def test_logits_of_a_block_depend_on_its_quarter_alone(predict):
    torch.manual_seed(0)
    network = OADN(stem_width=8, predict=predict).eval()
    maps = torch.rand(1, 64, 4, 4)
    before = network.regions(maps)
    for place, (top, left) in enumerate(((0, 0), (0, 2), (2, 0), (2, 2))):
        other = maps.clone()
        other[:, :, top : top + 2, left : left + 2] += 1
        after = network.regions(other)
        assert [not torch.equal(a, b) for a, b in zip(before, after, strict=True)] == [i == place for i in range(4)]
    features = torch.rand(2, 5 * 64)
    attention, *regions = network.branch_logits(features)
    expected = torch.stack(regions).mean(dim=0) + (attention if predict == "both" else 0)
    torch.testing.assert_close(network.head(features), expected)
