"""ResNet-18 (He et al., CVPR 2016), the baseline of the paper's ablation. Letters: B batch, H W size, K classes."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn
from torchvision.models import resnet18

from msanet.models.blocks import Stem, initialize


class ResNet18(Stem):
    """torchvision's ResNet-18 under the common head.

    Args:
        num_classes: K.
        stem_weights: ResNet-18 state dict to start the stem from; None: He initialisation.
    """

    def __init__(self, num_classes: int = 7, *, stem_weights: Mapping[str, Tensor] | None = None) -> None:
        super().__init__()
        resnet = resnet18()
        self.layer3, self.layer4 = resnet.layer3, resnet.layer4
        self.fc = nn.Linear(512, num_classes)
        initialize(self)
        if stem_weights is not None:
            self.load_stem(stem_weights)

    def feature_maps(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        return self.layer4(self.layer3(self.stem(images))), []  # [B, 512, H/32, W/32]
