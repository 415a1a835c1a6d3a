"""Res2Net (Gao et al., TPAMI 2021): ResNet's bottleneck whose 3x3 convolution becomes a chain over channel subsets.

Letters: B batch, C channels, H W height and width, s channel subsets, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from msanet.errors import InputError
from msanet.networks.blocks import conv_bn, initialize
from msanet.networks.network import PooledNetwork

WIDENING = 4
"""Channels that a block gives, over its planes."""


class Bottleneck(nn.Module):
    """1x1 to s subsets, 3x3 each on its own, 1x1 up, shortcut.

    y_1 = P_1(x_1), y_i = P_i(x_i + y_(i-1)), P convolution, BatchNorm, ReLU; the last subset passes as it is. In the
    first block of a stage the subsets are not chained, and the last is average-pooled (3x3) with the stage's stride.

    Args:
        inputs: channels.
        planes: a quarter of the channels that come out.
        width: of the 64 planes of the first stage's, channels in a subset.
        num_subsets: s.
        stride: of the stage.
        first: of a stage.
    """

    def __init__(self, inputs: int, planes: int, width: int, num_subsets: int, stride: int, first: bool) -> None:
        super().__init__()
        own, outputs = planes * width // 64, planes * WIDENING
        self.own, self.first = own, first
        self.reduce = nn.Sequential(*conv_bn(inputs, own * num_subsets, 1), nn.ReLU(inplace=True))
        self.subsets = nn.ModuleList(
            nn.Sequential(*conv_bn(own, own, 3, stride), nn.ReLU(inplace=True)) for _ in range(num_subsets - 1)
        )
        self.last = nn.AvgPool2d(3, stride, 1) if first else nn.Identity()
        self.expand = nn.Sequential(*conv_bn(own * num_subsets, outputs, 1))
        self.shortcut = nn.Sequential(*conv_bn(inputs, outputs, 1, stride)) if first else nn.Identity()

    def hierarchical(self, maps: Tensor) -> Tensor:
        """[B, s * C, H, W] -> [B, s * C, H/stride, W/stride]: what the subsets give."""
        *own, last = torch.split(maps, self.own, dim=1)
        outputs: list[Tensor] = []
        for subset, convolution in zip(own, self.subsets, strict=True):
            chained = bool(outputs) and not self.first
            outputs.append(convolution(subset + outputs[-1] if chained else subset))
        return torch.cat([*outputs, self.last(last)], dim=1)

    def forward(self, maps: Tensor) -> Tensor:
        """[B, inputs, H, W] -> [B, 4 * planes, H/stride, W/stride]."""
        return torch.relu(self.expand(self.hierarchical(self.reduce(maps))) + self.shortcut(maps))


class Res2Net(PooledNetwork):
    """Res2Net (Gao et al., TPAMI 2021): bottlenecks whose 3x3 convolution is a chain over channel subsets.

    Read from public code, none of which is taken over. Plan [3, 4, 6, 3], width 26 and 1000 classes have 25,699,120
    parameters (published: 25.70 M). The defaults are a reading for small faces: two blocks a stage and width 21 have
    11,242,938 with eight classes, nearest to ResNet-18.

    Args:
        num_classes: K.
        plan: blocks of the four stages.
        width: channels in a subset of the first stage.
        num_subsets: s.
        strides: of the last two stages; (2, 1) ends in 4 x 4 maps at 64 pixels, (2, 2) in 2 x 2.

    Raises:
        InputError: an argument is out of its range.
    """

    def __init__(
        self,
        num_classes: int = 7,
        *,
        plan: Sequence[int] = (2, 2, 2, 2),
        width: int = 21,
        num_subsets: int = 4,
        strides: Sequence[int] = (2, 2),
    ) -> None:
        super().__init__()
        if len(plan) != 4 or min(plan) < 1:
            raise InputError(f"plan is {list(plan)}: give four positive numbers, the blocks of each stage")
        if len(strides) != 2 or min(strides) < 1:
            raise InputError(f"strides are {list(strides)}: give two positive numbers, of the last two stages")
        if width < 1 or num_subsets < 2:
            raise InputError(f"width is {width}, num_subsets {num_subsets}: give at least 1, and at least 2")
        self.stem = nn.Sequential(*conv_bn(3, 64, 7, 2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1))
        stages, inputs = [], 64
        for stage, (blocks, stride) in enumerate(zip(plan, (1, 2, *strides), strict=True)):
            planes = 64 * 2**stage
            for block in range(blocks):
                first = block == 0
                stages.append(Bottleneck(inputs, planes, width, num_subsets, stride if first else 1, first))
                inputs = planes * WIDENING
        self.stages = nn.Sequential(*stages)
        self.fc = nn.Linear(inputs, num_classes)
        initialize(self)

    def feature_maps(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        return self.stages(self.stem(images)), []  # [B, 2048, H/32, W/32] by default
