"""The classifier of RLPS (Li & Xu, Knowledge-Based Systems 2020). Letters: B batch, K classes."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from msanet.errors import InputError
from msanet.networks.blocks import initialize
from msanet.networks.network import Network


class RLPSNetwork(Network):
    """Six plain convolutions and two linear layers, whose pictures method `rlps` selects.

    "Deep reinforcement learning for robust emotional classification in facial expression recognition", read from the
    first author's public code. A face of 100 x 100 ends in a map of 12 x 12, one of 64 in 8 x 8; others are averaged to
    it. 5,920,359 parameters with seven classes and maps of 12 x 12, as counted from the code.

    Args:
        num_classes: K.
        cells: sides of the last map: 12 for faces of 100 pixels, 8 for 64.
        dropout: before either linear layer.

    Raises:
        InputError: an argument is out of its range.
    """

    def __init__(self, num_classes: int = 7, *, cells: int = 12, dropout: float = 0.6) -> None:
        super().__init__()
        if cells < 1 or not 0 <= dropout < 1:
            raise InputError(f"cells and dropout are {cells}, {dropout}: give at least 1, and 0 to below 1")
        self.cells = cells
        layers: list[nn.Module] = []
        inputs = 3
        for group in ((64,), (96,), (128, 128), (256, 256)):
            if layers:
                layers.append(nn.MaxPool2d(2))
            for outputs in group:
                layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(inplace=True)]
                inputs = outputs
        self.layers = nn.Sequential(*layers)
        self.hidden = nn.Sequential(nn.Dropout(dropout), nn.Linear(inputs * cells**2, 128), nn.ReLU(inplace=True))
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(128, num_classes)
        initialize(self)

    def features(self, images: Tensor, **inputs: Tensor) -> Tensor:
        maps = adaptive_avg_pool2d(self.layers(images), self.cells)  # [B, 256, cells, cells]
        features: Tensor = self.hidden(maps.flatten(1))  # [B, 128]
        return features

    def head(self, features: Tensor) -> Tensor:
        return self.fc(self.dropout(features))
