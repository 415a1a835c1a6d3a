"""ResNet-18 (He et al., CVPR 2016), the baseline of the paper's ablation. Letters: B batch, H W size, K classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn
from torchvision.models import resnet18

from msanet.errors import InputError
from msanet.models.blocks import Stem, initialize


class ResNet18(Stem):
    """torchvision's ResNet-18 under the common head.

    Args:
        num_classes: K.
        strides: of layers 3 and 4; (1, 2) works on the maps that an MSA-Net with these strides works on.
        stem_weights: ResNet-18 state dict to start the stem from; None: He initialisation.

    Raises:
        InputError: `strides` are not two positive numbers, or `stem_weights` are not a ResNet-18's.
    """

    def __init__(
        self,
        num_classes: int = 7,
        *,
        strides: Sequence[int] = (2, 2),
        stem_weights: Mapping[str, Tensor] | None = None,
    ) -> None:
        super().__init__()
        if len(strides) != 2 or min(strides) < 1:
            raise InputError(f"strides are {list(strides)}: give two positive numbers, of layers 3 and 4")
        resnet = resnet18()
        self.layer3, self.layer4 = resnet.layer3, resnet.layer4
        for (block, _), stride in zip((self.layer3, self.layer4), strides, strict=True):
            block.conv1.stride = block.downsample[0].stride = (stride, stride)
        self.fc = nn.Linear(512, num_classes)
        initialize(self)
        if stem_weights is not None:
            self.load_stem(stem_weights)

    def feature_maps(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        return self.layer4(self.layer3(self.stem(images))), []  # [B, 512, H/32, W/32] with strides (2, 2)
