"""DLP-CNN's network (Li, Deng & Du, CVPR 2017; Li & Deng, TIP 2019): six convolutions and two large layers.

Letters: B batch, K classes.
"""

from __future__ import annotations

from torch import Tensor, nn

from msanet.errors import InputError
from msanet.networks.blocks import initialize, resized
from msanet.networks.network import Network

CHANNELS = (64, 0, 96, 0, 128, 128, 0, 256, 256)
"""Of the 3x3 convolutions; 0 is a pool."""


class DLPCNN(Network):
    """DLP-CNN (Li, Deng & Du, CVPR 2017): six convolutions and two large layers.

    Known from two public reruns, not from the authors; the locality loss is method `dlp`. 74,944,743 parameters at 100
    pixels with seven classes, nearly all in one layer (none is published); 34.0 M at 64.

    Args:
        num_classes: K.
        size: side of the pictures that it is made for; others are resized to it.
        hidden: D, width of the features.
        width: channels after the first convolution, 64 in the reruns; the others keep their ratio to it.

    Raises:
        InputError: an argument is out of its range.
    """

    def __init__(self, num_classes: int = 7, *, size: int = 100, hidden: int = 2000, width: int = 64) -> None:
        super().__init__()
        if size < 8 or hidden < 1 or width < 2:
            raise InputError(f"size {size}, hidden {hidden}, width {width}: give at least 8, 1 and 2")
        self.size = size
        layers: list[nn.Module] = []
        inputs = 3
        for channels in CHANNELS:
            if channels == 0:
                layers.append(nn.MaxPool2d(2))
                continue
            outputs = channels * width // 64
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(inplace=True)]
            inputs = outputs
        self.convolutions = nn.Sequential(*layers)
        self.hidden = nn.Linear(inputs * (size // 8) ** 2, hidden)
        self.fc = nn.Linear(hidden, num_classes)
        initialize(self)

    def features(self, images: Tensor, **inputs: Tensor) -> Tensor:
        maps = self.convolutions(resized(images, self.size))  # [B, 256, size/8, size/8]
        return self.hidden(maps.flatten(1)).relu()  # [B, D]

    def head(self, features: Tensor) -> Tensor:
        return self.fc(features)
