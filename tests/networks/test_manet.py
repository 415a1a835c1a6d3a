"""What makes MA-Net itself: quarters that see nothing of one another, and two branches."""

from __future__ import annotations

import pytest
import torch

from msanet.errors import InputError
from msanet.networks.manet import MANet, TwoWayBlock, chain


@torch.no_grad()
@pytest.mark.parametrize("quarter", range(4))
def test_a_quarter_of_the_map_changes_that_quarter_of_the_local_map_alone(quarter):
    torch.manual_seed(0)
    network = MANet(stem_width=8).eval()
    shared = torch.rand(1, 16, 8, 8)
    other = shared.clone()
    top, left = 4 * (quarter // 2), 4 * (quarter % 2)
    other[:, :, top : top + 4, left : left + 4] += 1
    difference = (network.local_map(shared) != network.local_map(other)).any(dim=1)[0]
    assert difference.shape == (4, 4)
    expected = torch.zeros(4, 4, dtype=torch.bool)
    expected[top // 2 : top // 2 + 2, left // 2 : left // 2 + 2] = True
    assert torch.equal(difference, expected)


@torch.no_grad()
def test_logits_are_the_weighted_sum_of_both_branches():
    network = MANet(stem_width=8).eval()
    features = network.features(torch.rand(2, 3, 32, 32))
    local, whole = network.branch_logits(features)
    torch.testing.assert_close(network.head(features), 0.6 * local + 0.4 * whole)
    with pytest.raises(InputError, match="manet cuts its maps into quarters"):
        network(torch.rand(1, 3, 8, 8))


@torch.no_grad()
def test_the_two_chains_go_one_each_way():
    torch.manual_seed(0)
    block = TwoWayBlock(8, 8).eval()
    subsets = list(torch.rand(4, 1, 2, 4, 4))
    last = [*subsets[:3], subsets[3] + 1]
    for steps, order, changed in ((block.down, 1, [False] * 3 + [True]), (block.up, -1, [True] * 4)):
        answers = zip(chain(steps, subsets[::order]), chain(steps, last[::order]), strict=True)
        assert [not torch.equal(one, other) for one, other in answers] == changed
    block.enter = torch.nn.Sequential()
    maps = torch.cat(subsets, dim=1)
    down, up = (torch.cat(part, dim=1) for part in (chain(block.down, subsets), chain(block.up, subsets[::-1])[::-1]))
    torch.testing.assert_close(block(maps), torch.relu(down + up + maps))
