"""What makes CBAM-ResNet-18 itself: gates in 0..1 on each block's branch."""

from __future__ import annotations

import torch

from msanet.networks.blocks import Refined, RefinedBlock
from msanet.networks.cbam_resnet import CBAMResNet18


@torch.no_grad()
def test_gates_are_within_0_and_1_and_a_constant_map_has_one_whatever_its_size():
    torch.manual_seed(0)
    attention = Refined(32, 4).eval()
    maps = torch.rand(2, 32, 5, 5) + 0.1
    gates = attention(maps) / maps
    assert ((gates > 0) & (gates < 1)).all()
    values = torch.rand(2, 32, 1, 1)
    small, large = (attention(values.expand(-1, -1, side, side))[:, :, side // 2, side // 2] for side in (7, 21))
    torch.testing.assert_close(small / small[:, :1], large / large[:, :1])  # spatial gates see padding


@torch.no_grad()
def test_every_block_has_attention_and_the_authors_start_halves_its_branch():
    network = CBAMResNet18(stem_width=8, spatial_start=0.0)
    blocks = [module for module in network.modules() if isinstance(module, RefinedBlock)]
    assert len(blocks) == 8
    block = blocks[0].eval()
    assert isinstance(block.attention, Refined)
    maps = torch.rand(1, 8, 4, 4)
    channel = torch.sigmoid(block.attention.mlp(maps.mean((2, 3))) + block.attention.mlp(maps.amax((2, 3))))
    torch.testing.assert_close(block.attention(maps), 0.5 * channel[:, :, None, None] * maps)
    branch = block.bn2(block.conv2(block.relu(block.bn1(block.conv1(maps)))))
    torch.testing.assert_close(block(maps), torch.relu(block.attention(branch) + maps))
