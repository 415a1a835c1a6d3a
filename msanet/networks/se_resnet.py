"""ResNet-18 with squeeze and excitation in every block (Hu et al., CVPR 2018).

Letters: B batch, C channels, H W size, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from torch import Tensor, nn

from msanet.errors import InputError
from msanet.networks.blocks import RefinedBlock, Trunk, initialize
from msanet.networks.network import PooledNetwork


class SqueezeExcitation(nn.Module):
    """Channels times a gate in 0..1, which two layers without biases make of their means.

    Args:
        channels: C.
        reduction: C over the width between the two layers.
    """

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        hidden = max(channels // reduction, 1)
        self.gate = nn.Sequential(
            nn.Linear(channels, hidden, bias=False),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, channels, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, maps: Tensor) -> Tensor:
        """[B, C, H, W] -> the same."""
        return maps * self.gate(maps.mean(dim=(2, 3)))[:, :, None, None]


class SEResNet18(PooledNetwork, Trunk):
    """ResNet-18 with squeeze and excitation (Hu et al., CVPR 2018): channel gates on each block's branch.

    11,267,143 parameters with seven classes, as counted from public code (none is published at this size).

    Args:
        num_classes: K.
        reduction: C over the width between the two layers of a gate.
        strides: of layers 3 and 4; (2, 1) ends in 4 x 4 maps at 64 pixels, (2, 2) in 2 x 2.
        stem_width: channels after the first convolution.

    Raises:
        InputError: an argument is out of its range.
    """

    def __init__(
        self, num_classes: int = 7, *, reduction: int = 16, strides: Sequence[int] = (2, 2), stem_width: int = 64
    ) -> None:
        if reduction < 1:
            raise InputError(f"reduction is {reduction}: it must be at least 1")
        attention = partial(SqueezeExcitation, reduction=reduction)
        super().__init__(strides, stem_width, partial(RefinedBlock, attention=attention))
        self.fc = nn.Linear(8 * stem_width, num_classes)
        initialize(self)

    def feature_maps(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        return self.trunk(images), []  # [B, 512, H/32, W/32] by default
