"""What makes pACNN itself: patches of their own, each with a gate."""

from __future__ import annotations

import torch

from msanet.networks.pacnn import PACNN, GroupedLinear
from msanet.networks.points import NUM_POINTS, points_of
from msanet.preprocessing import MEAN_LANDMARKS

POINTS = torch.from_numpy(MEAN_LANDMARKS)[None]


def make() -> PACNN:
    torch.manual_seed(0)
    return PACNN(width=2, hidden=8).eval()


@torch.no_grad()
def test_a_window_without_content_changes_that_units_numbers_alone():
    network = make()
    patches = network.patches(torch.rand(1, 16, 28, 28), POINTS)
    assert patches.shape == (1, NUM_POINTS * 16, 6, 6)
    features, gates = network.units(patches)
    assert features.shape == (1, NUM_POINTS, 64)
    assert ((gates > 0) & (gates < 1)).all()
    other = patches.clone()
    other[:, 7 * 16 : 8 * 16] = 0
    changed = (network.units(other)[0] != features).any(dim=2)[0]
    assert changed.nonzero().flatten().tolist() == [7]


@torch.no_grad()
def test_windows_lie_round_their_points_and_are_zeros_outside_the_map():
    network = make()
    rows, columns = torch.meshgrid(torch.arange(28.0), torch.arange(28.0), indexing="ij")
    maps = torch.stack([rows + 1, columns + 1]).repeat(8, 1, 1)[None]
    windows = network.patches(maps, POINTS).unflatten(1, (NUM_POINTS, 16))[0]
    for point, window in zip(points_of(POINTS)[0], windows, strict=True):
        left, top = (int((28 * value - 3).round()) for value in point)
        assert window[0, :, 0].tolist() == [top + 1 + step for step in range(6)]
        assert window[1, 0].tolist() == [left + 1 + step for step in range(6)]
    outside = network.patches(maps, POINTS + 5)
    assert not outside.any()
    corner = network.patches(maps, POINTS - POINTS[:, :1])[0].unflatten(0, (NUM_POINTS, 16))
    assert corner.isfinite().all()


@torch.no_grad()
def test_grouped_layers_are_the_layers_one_by_one():
    layer = GroupedLinear(3, 5, 2)
    features = torch.rand(4, 3, 5)
    assert layer.bias is not None
    torch.nn.init.normal_(layer.bias)
    expected = torch.stack([features[:, i] @ layer.weight[i] + layer.bias[i] for i in range(3)], dim=1)
    torch.testing.assert_close(layer(features), expected)
