"""ResNet-18 with CBAM in every block (Woo et al., ECCV 2018). Letters: B batch, H W size, K classes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from torch import Tensor, nn

from msanet.errors import InputError
from msanet.networks.blocks import Refined, RefinedBlock, Trunk, initialize
from msanet.networks.network import PooledNetwork


class CBAMResNet18(PooledNetwork, Trunk):
    """ResNet-18 with CBAM (Woo et al., ECCV 2018): channel, then spatial attention on each block's branch.

    Read from the authors' public code. 11,269,983 parameters with seven classes; with a thousand as many as published,
    11.78 M.

    Args:
        num_classes: K.
        reduction: of the channel attention's perceptron.
        spatial_start: weight that the spatial BatchNorm starts with: a reading, 1 as in MA-Net; 0 in the authors' code,
            which halves each branch at first.
        strides: of layers 3 and 4; (2, 1) ends in 4 x 4 maps at 64 pixels, (2, 2) in 2 x 2.
        stem_width: channels after the first convolution.

    Raises:
        InputError: an argument is out of its range.
    """

    def __init__(
        self,
        num_classes: int = 7,
        *,
        reduction: int = 16,
        spatial_start: float = 1.0,
        strides: Sequence[int] = (2, 2),
        stem_width: int = 64,
    ) -> None:
        if reduction < 1:
            raise InputError(f"reduction is {reduction}: it must be at least 1")
        attention = partial(Refined, reduction=reduction, spatial_start=spatial_start)
        super().__init__(strides, stem_width, partial(RefinedBlock, attention=attention))
        self.fc = nn.Linear(8 * stem_width, num_classes)
        initialize(self)

    def feature_maps(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        return self.trunk(images), []  # [B, 512, H/32, W/32] by default
