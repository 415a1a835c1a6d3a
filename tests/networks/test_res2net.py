"""What makes Res2Net itself: the chain over subsets, and where there is none."""

from __future__ import annotations

import torch

from msanet.networks.res2net import Bottleneck


def changed(block: Bottleneck, subset: int) -> list[bool]:
    """Which subsets' answers change with one subset's values."""
    maps = torch.rand(2, 4 * block.own, 6, 6)
    other = maps.clone()
    other[:, subset * block.own : (subset + 1) * block.own] += 1
    answers = zip(block.hierarchical(maps).chunk(4, dim=1), block.hierarchical(other).chunk(4, dim=1), strict=True)
    return [not torch.allclose(one, two) for one, two in answers]


@torch.no_grad()
def test_a_subset_is_in_the_answers_of_those_behind_it_and_the_last_passes_as_it_is():
    torch.manual_seed(0)
    block = Bottleneck(256, 64, 26, 4, 1, first=False).eval()
    assert changed(block, 0) == [True, True, True, False]
    assert changed(block, 1) == [False, True, True, False]
    maps = torch.rand(2, 4 * block.own, 6, 6)
    assert torch.equal(block.hierarchical(maps)[:, -block.own :], maps[:, -block.own :])


@torch.no_grad()
def test_the_first_block_of_a_stage_has_no_chain_and_pools_the_last_subset():
    torch.manual_seed(0)
    block = Bottleneck(64, 64, 26, 4, 2, first=True).eval()
    assert changed(block, 0) == [True, False, False, False]
    maps = torch.rand(2, 4 * block.own, 6, 6)
    pooled = torch.nn.functional.avg_pool2d(maps[:, -block.own :], 3, 2, 1)
    assert torch.equal(block.hierarchical(maps)[:, -block.own :], pooled)
