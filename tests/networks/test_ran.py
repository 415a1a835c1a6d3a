"""What makes RAN itself: weights of regions that sum to one."""

from __future__ import annotations

import pytest
import torch

from msanet.networks.ran import RAN


@torch.no_grad()
@pytest.mark.parametrize("normalise", ["sum", "softmax"])
def test_final_weights_sum_to_one_and_identical_views_have_equal_ones(normalise):
    torch.manual_seed(0)
    network = RAN(stem_width=8, normalise=normalise).eval()
    regions = 5 * torch.randn(3, 6, 64)
    features, attention, final = network.combine(regions)
    assert features.shape == (3, 128)
    torch.testing.assert_close(final.sum(dim=1), torch.ones(3))
    assert final.std() > 1e-3
    assert ((attention > 0) & (attention < 1)).all()
    if normalise == "softmax":
        assert 0.068 < attention.min() < attention.max() < 0.353
    _, _, equal = network.combine(regions[:, :1].expand(-1, 6, -1))
    torch.testing.assert_close(equal, torch.full((3, 6), 1 / 6))


@torch.no_grad()
def test_crops_lie_where_they_are_said_to():
    network = RAN(stem_width=8)
    rows = torch.linspace(-1, 1, 40)[:, None].expand(40, 40)
    views = network.regions(torch.stack([rows, rows.T, 0 * rows])[None])
    assert views.shape == (6, 3, 40, 40)
    means = views[:, :2].mean(dim=(2, 3))
    expected = torch.tensor([[0, 0], [-1, -1], [-1, 1], [1, 0], [0, 0], [0, 0]]) * 0.256
    torch.testing.assert_close(means, expected, atol=0.03, rtol=0)
    assert [round(float(view[0].max() - view[0].min()), 1) for view in views] == [2.0, 1.5, 1.5, 1.5, 1.8, 1.7]
