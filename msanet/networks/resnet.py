"""ResNet-18 (He et al., CVPR 2016), the baseline of the paper's ablation. Letters: B batch, H W size, K classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from msanet.errors import InputError
from msanet.networks.blocks import Stem, initialize, residual_layer


class ResNet18(Stem):
    """ResNet-18 under the common head; its layers bear torchvision's names.

    Args:
        num_classes: K.
        strides: of layers 3 and 4; (1, 2) works on the maps that an MSA-Net with these strides works on.
        stem_width: channels after the first convolution, 64 in ResNet-18; each layer from the second doubles them.
        stem_weights: ResNet-18 state dict to start the stem from; None: He initialisation.

    Raises:
        InputError: `strides` are not two positive numbers, or `stem_weights` are not a ResNet-18's.
    """

    def __init__(
        self,
        num_classes: int = 7,
        *,
        strides: Sequence[int] = (2, 2),
        stem_width: int = 64,
        stem_weights: Mapping[str, Tensor] | None = None,
    ) -> None:
        if len(strides) != 2 or min(strides) < 1:
            raise InputError(f"strides are {list(strides)}: give two positive numbers, of layers 3 and 4")
        super().__init__(stem_width)
        self.layer3 = residual_layer(2 * stem_width, 4 * stem_width, strides[0])
        self.layer4 = residual_layer(4 * stem_width, 8 * stem_width, strides[1])
        self.fc = nn.Linear(8 * stem_width, num_classes)
        initialize(self)
        if stem_weights is not None:
            self.load_stem(stem_weights)

    def feature_maps(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        return self.layer4(self.layer3(self.stem(images))), []  # [B, 512, H/32, W/32] by default
