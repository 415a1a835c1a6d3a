"""Any backbone of timm (PyTorch Image Models, Wightman) by its name, freshly initialised: `timm:NAME`.

Letters: B batch, H W height and width, D features, K classes.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from msanet.errors import InputError, require
from msanet.networks.network import Network

PREFIX = "timm:"


class TimmBackbone(Network):
    """A model of timm's with a new classifier. Nothing is downloaded: weights come by `initial_weights`.

    Args:
        num_classes: K.
        model: its name in timm, such as resnet50 or vit_tiny_patch16_224.
        arguments: named arguments of timm's own, such as img_size of a ViT, which else wants 224 pixels.

    Raises:
        InputError: timm is not installed, has no such model, or does not take an argument.
    """

    def __init__(self, num_classes: int = 7, *, model: str, **arguments: Any) -> None:
        timm = require("timm")
        super().__init__()
        if not timm.is_model(model):
            raise InputError(f"timm has no model {model!r}: timm.list_models() names them")
        if {"pretrained", "pretrained_cfg", "checkpoint_path", "num_classes"} & set(arguments):
            raise InputError(
                f"{PREFIX}{model}: weights come by initial_weights from a .safetensors file, not from timm"
            )
        try:
            self.model = timm.create_model(model, pretrained=False, num_classes=num_classes, **arguments)
        except (TypeError, ValueError, AssertionError) as error:
            raise InputError(f"{PREFIX}{model} cannot be made with {arguments}: {error}") from None

    def features(self, images: Tensor, **inputs: Tensor) -> Tensor:
        try:
            maps = self.model.forward_features(images)
        except AssertionError as error:  # a ViT of another size
            raise InputError(f"timm's model cannot read pictures of {images.shape[-1]} pixels: {error}") from None
        features: Tensor = self.model.forward_head(maps, pre_logits=True)
        return features  # [B, D]

    def head(self, features: Tensor) -> Tensor:
        logits: Tensor = self.model.get_classifier()(features)
        return logits
