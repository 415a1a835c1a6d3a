"""VGG-13 for faces, as the FER+ paper and Georgescu et al. use it. Letters: B batch, K classes, h w sides of a map."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from msanet.errors import InputError
from msanet.networks.blocks import initialize
from msanet.networks.fixed import gray_of
from msanet.networks.network import Network


class VGG13(Network):
    """Ten convolutions and three linear layers over the grey face (Barsoum et al., ICMI 2016).

    The part that can be had of "Local learning with deep and handcrafted features" (Georgescu, Ionescu & Popescu, IEEE
    Access 2019), read from a public rerun: the other two networks of that paper need weights that are not public. A
    face of 64 x 64 ends in a map of 4 x 4; other sizes are averaged to it. 8,757,704 parameters with eight classes
    (published: 8.75 M).

    Args:
        num_classes: K.
        width: channels of the first group; those after it have two, four and four times as many.
        hidden: of the two hidden layers.
        cells: sides of the last map.
        dropout: after each group, and after each hidden layer.

    Raises:
        InputError: an argument is out of its range.
    """

    def __init__(
        self,
        num_classes: int = 7,
        *,
        width: int = 64,
        hidden: int = 1024,
        cells: int = 4,
        dropout: Sequence[float] = (0.25, 0.5),
    ) -> None:
        super().__init__()
        if min(width, hidden, cells) < 1:
            raise InputError(f"width, hidden and cells are {width}, {hidden}, {cells}: all must be at least 1")
        if len(dropout) != 2 or not all(0 <= part < 1 for part in dropout):
            raise InputError(f"dropout is {list(dropout)}: give two numbers from 0 to below 1")
        self.cells = cells
        layers: list[nn.Module] = []
        inputs = 1
        for number, factor in ((2, 1), (2, 2), (3, 4), (3, 4)):
            for _ in range(number):
                layers += [nn.Conv2d(inputs, factor * width, 3, padding=1), nn.ReLU(inplace=True)]
                inputs = factor * width
            layers += [nn.Dropout(dropout[0]), nn.MaxPool2d(2)]
        self.layers = nn.Sequential(*layers)
        self.hidden = nn.Sequential(
            *(nn.Linear(inputs * cells**2, hidden), nn.ReLU(inplace=True), nn.Dropout(dropout[1])),
            *(nn.Linear(hidden, hidden), nn.ReLU(inplace=True)),
        )
        self.dropout = nn.Dropout(dropout[1])
        self.fc = nn.Linear(hidden, num_classes)
        initialize(self)

    def features(self, images: Tensor, **inputs: Tensor) -> Tensor:
        maps = self.layers(gray_of(images))  # [B, 256, H/16, W/16]
        features: Tensor = self.hidden(adaptive_avg_pool2d(maps, self.cells).flatten(1))  # [B, 1024]
        return features

    def head(self, features: Tensor) -> Tensor:
        return self.fc(self.dropout(features))
