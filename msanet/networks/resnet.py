"""ResNet-18 (He et al., CVPR 2016), the baseline of the paper's ablation. Letters: B batch, H W size, K classes."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from msanet.networks.blocks import Trunk, initialize
from msanet.networks.network import PooledNetwork


class ResNet18(PooledNetwork, Trunk):
    """ResNet-18 under the common head; its layers bear torchvision's names.

    Args:
        num_classes: K.
        strides: of layers 3 and 4; (1, 2) works on the maps that an MSA-Net with these strides works on.
        stem_width: channels after the first convolution, 64 in ResNet-18; each layer from the second doubles them.

    Raises:
        InputError: an argument is out of its range.
    """

    def __init__(self, num_classes: int = 7, *, strides: Sequence[int] = (2, 2), stem_width: int = 64) -> None:
        super().__init__(strides, stem_width)
        self.fc = nn.Linear(8 * stem_width, num_classes)
        initialize(self)

    def feature_maps(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        return self.trunk(images), []  # [B, 512, H/32, W/32] by default
