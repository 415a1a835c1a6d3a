"""What makes SE-ResNet-18 itself: one gate a channel, from its mean alone."""

from __future__ import annotations

import torch

from msanet.networks.blocks import RefinedBlock
from msanet.networks.se_resnet import SEResNet18, SqueezeExcitation


@torch.no_grad()
def test_a_channel_has_one_gate_from_the_means_whatever_the_size():
    torch.manual_seed(0)
    attention = SqueezeExcitation(32, 4)
    maps = torch.rand(2, 32, 5, 5) + 0.1
    gates = attention(maps) / maps
    assert ((gates > 0) & (gates < 1)).all()
    torch.testing.assert_close(gates, gates[:, :, :1, :1].expand_as(gates))
    constant = maps.mean(dim=(2, 3), keepdim=True).expand(-1, -1, 9, 9)
    torch.testing.assert_close((attention(constant) / constant)[:, :, 0, 0], gates[:, :, 0, 0])
    network = SEResNet18(stem_width=8)
    assert sum(isinstance(module, RefinedBlock) for module in network.modules()) == 8
