"""gACNN (Li et al., TIP 2019): pACNN's patches and the whole face beside them. Letters: B batch, K classes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from msanet.errors import InputError
from msanet.networks.blocks import initialize, resized
from msanet.networks.pacnn import FEATURES, PACNN, Gates, convolutions
from msanet.networks.points import NUM_POINTS

WHOLE = 512
"""Numbers that the whole face gives."""


class GACNN(PACNN):
    """gACNN (Li et al., TIP 2019): pACNN's 24 gated patches and a gated view of the whole face.

    Read from the authors' network files, with the readings of `PACNN`. 209,272,895 parameters at 224 pixels with seven
    classes. The 134.29 M that are often printed are exactly VGG-16's with seven outputs. The loss is cross-entropy:
    method `plain`.

    Args:
        num_classes: K.
        size: side of the pictures that it is made for; others are resized to it.
        window, first_pool, width, hidden: see `PACNN`.

    Raises:
        InputError: an argument is out of its range.
    """

    def __init__(
        self,
        num_classes: int = 7,
        *,
        size: int = 224,
        window: int = 6,
        first_pool: bool = True,
        width: int = 64,
        hidden: int = 1024,
    ) -> None:
        super().__init__(num_classes, window=window, first_pool=first_pool, width=width, hidden=hidden)
        side = size // (16 if first_pool else 8)
        if side < 1:
            raise InputError(f"size is {size}: give at least {16 if first_pool else 8}")
        self.size = size
        channels = self.channels
        self.further = nn.Sequential(
            *convolutions(channels, channels), nn.MaxPool2d(2), *convolutions(channels, channels, channels)
        )
        self.whole = nn.Linear(channels * side**2, WHOLE)
        self.gate = Gates(1, channels)
        self.hidden = nn.Linear(NUM_POINTS * FEATURES + WHOLE, hidden)
        initialize(self.further)
        initialize(self.gate)
        for layer in (self.whole, self.hidden):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")

    def features(self, images: Tensor, **inputs: Tensor) -> Tensor:
        maps = self.trunk(self.norm(resized(images, self.size)))  # [B, 512, 28, 28] at 224 pixels
        local = self.local(maps, inputs["landmarks"])[0].flatten(1)  # [B, 1536]
        further = self.further(maps)  # [B, 512, 14, 14]
        whole = self.whole(further.flatten(1)).relu() * self.gate(further)[:, 0]  # [B, 512]
        return torch.cat([local, whole], dim=1)

    def head(self, features: Tensor) -> Tensor:
        return self.fc(self.dropout(self.hidden(features)).relu())
