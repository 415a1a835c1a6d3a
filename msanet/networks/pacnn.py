"""pACNN (Li et al., ICPR 2018): 24 patches of VGG-16's map round facial points, each gated by what it shows.

Letters: B batch, P patches, C channels of the map, h w its sides, s side of a patch, K classes.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from msanet.errors import InputError
from msanet.networks.blocks import initialize
from msanet.networks.network import Network
from msanet.networks.points import NUM_POINTS, points_of

FEATURES, GATE = 64, 128
"""Numbers that each patch gives, and channels of its gate."""


def convolutions(*channels: int, groups: int = 1) -> list[nn.Module]:
    """3x3 convolutions from one number of channels to the next, each with a BatchNorm that learns no scale, and ReLU.

    With groups, these are channels of one group, and no group sees another's.
    """
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(channels):
        layers += [
            nn.Conv2d(groups * inputs, groups * outputs, 3, padding=1, groups=groups),
            nn.BatchNorm2d(groups * outputs, affine=False),
            nn.ReLU(inplace=True),
        ]
    return layers


class GroupedLinear(nn.Module):
    """P linear layers at once, [B, P, inputs] -> [B, P, outputs].

    Args:
        number: P.
        inputs, outputs: of each.
        bias: add one; in front of a BatchNorm it has no effect.
    """

    def __init__(self, number: int, inputs: int, outputs: int, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(number, inputs, outputs).normal_(std=(2 / inputs) ** 0.5))  # He's
        self.bias = nn.Parameter(torch.zeros(number, outputs)) if bias else None

    def forward(self, features: Tensor) -> Tensor:
        products = torch.bmm(features.transpose(0, 1), self.weight).transpose(0, 1)
        return products if self.bias is None else products + self.bias


class Gates(nn.Module):
    """How much each of P maps is worth, from itself: maps [B, P * C, s, s] -> [B, P, 1] in 0..1.

    The 1x1 convolution is padded, as the authors', so it sees 3 x 3 cells as 5 x 5.

    Args:
        number: P.
        channels: C.
    """

    def __init__(self, number: int, channels: int) -> None:
        super().__init__()
        self.number = number
        self.convolution = nn.Sequential(
            nn.MaxPool2d(2, ceil_mode=True),
            nn.Conv2d(number * channels, number * GATE, 1, padding=1, groups=number),
            nn.BatchNorm2d(number * GATE, affine=False),
            nn.ReLU(inplace=True),
        )
        self.hidden, self.norm = GroupedLinear(number, GATE, 64, bias=False), nn.BatchNorm1d(number * 64, affine=False)
        self.last, self.last_norm = GroupedLinear(number, 64, 1, bias=False), nn.BatchNorm1d(number)

    def forward(self, maps: Tensor) -> Tensor:
        pooled = self.convolution(maps).mean(dim=(2, 3)).unflatten(1, (self.number, -1))  # [B, P, 128]
        hidden = self.norm(self.hidden(pooled).flatten(1)).relu().unflatten(1, (self.number, -1))
        return torch.sigmoid(self.last_norm(self.last(hidden).flatten(1)))[..., None]


class PatchUnits(nn.Module):
    """P units with weights of their own: patches [B, P * C, s, s] -> gated features [B, P, 64] and gates [B, P, 1].

    Args:
        number: P.
        channels: C.
        side: s.
    """

    def __init__(self, number: int, channels: int, side: int) -> None:
        super().__init__()
        self.number = number
        self.convolutions = nn.Sequential(*convolutions(channels, channels, channels, groups=number))
        self.linear = GroupedLinear(number, channels * side**2, FEATURES)
        self.gates = Gates(number, channels)

    def forward(self, patches: Tensor) -> tuple[Tensor, Tensor]:
        maps = self.convolutions(patches)
        features = self.linear(maps.flatten(1).unflatten(1, (self.number, -1))).relu()  # [B, P, 64]
        gates = self.gates(maps)
        return gates * features, gates


class PACNN(Network):
    """pACNN (Li et al., ICPR 2018): 24 gated patches of VGG-16's map round facial points, found from landmarks.

    VGG-16 to conv4_2, a unit with its own weights for each window, and two layers, read from the authors' network
    files. Readings: the 24 points come from five landmarks instead of 68 (`points_of`); `first_pool` and `window` for
    small pictures. 150,214,525 parameters with seven classes (150.2 M by the authors' files). Windows outside the map
    are zeros. The loss is cross-entropy: method `plain`.

    Args:
        num_classes: K.
        window: s, cells; 6 on the map of a picture of 224 pixels, 4 on one of 64 without the first pool.
        first_pool: pool after the first two convolutions as VGG-16 does; without it a map of 64 pixels has 16 x 16
            cells.
        width: channels after the first convolution, 64 in VGG-16.
        hidden: width of the layer under the last one.

    Raises:
        InputError: an argument is out of its range.
    """

    inputs = ("landmarks",)

    def __init__(
        self, num_classes: int = 7, *, window: int = 6, first_pool: bool = True, width: int = 64, hidden: int = 1024
    ) -> None:
        super().__init__()
        if window < 2 or width < 1 or hidden < 1:
            raise InputError(f"window {window}, width {width}, hidden {hidden}: give at least 2, 1 and 1")
        self.window, self.channels = window, 8 * width
        self.norm = nn.BatchNorm2d(3)
        self.trunk = nn.Sequential(
            *convolutions(3, width, width),
            nn.MaxPool2d(2) if first_pool else nn.Identity(),
            *convolutions(width, 2 * width, 2 * width),
            nn.MaxPool2d(2),
            *convolutions(2 * width, 4 * width, 4 * width, 4 * width),
            nn.MaxPool2d(2),
            *convolutions(4 * width, self.channels, self.channels),
        )
        self.units = PatchUnits(NUM_POINTS, self.channels, window)
        self.hidden = nn.Linear(NUM_POINTS * FEATURES, hidden)
        self.dropout = nn.Dropout(0.5)
        self.fc = nn.Linear(hidden, num_classes)
        initialize(self)
        nn.init.kaiming_normal_(self.hidden.weight, nonlinearity="relu")

    def patches(self, maps: Tensor, landmarks: Tensor) -> Tensor:
        """Map [B, C, h, w] and landmarks [B, 5, 2] -> windows round the 24 points, [B, 24 * C, s, s]."""
        height, width, side = maps.shape[2], maps.shape[3], self.window
        points = points_of(landmarks)  # [B, 24, 2]
        sides = points.new_tensor([width, height])
        # A window may lie outside altogether, so there is room for one on every side.
        first = (points * sides - side / 2).round().clamp(points.new_tensor(-float(side)), sides) + side
        cells = torch.arange(side, device=maps.device)
        columns, rows = (first[..., axis, None].long() + cells for axis in (0, 1))  # [B, 24, s]
        padded = nn.functional.pad(maps, (side, side, side, side)).flatten(2)  # [B, C, (h + 2s) * (w + 2s)]
        places = (rows[..., :, None] * (width + 2 * side) + columns[..., None, :]).flatten(1)  # [B, 24 * s * s]
        cut = padded.gather(2, places[:, None].expand(-1, self.channels, -1))
        return torch.unflatten(cut, 2, (NUM_POINTS, side, side)).transpose(1, 2).flatten(1, 2)

    def local(self, maps: Tensor, landmarks: Tensor) -> tuple[Tensor, Tensor]:
        """Map and landmarks -> the 24 units' features [B, 24, 64] and gates [B, 24, 1]."""
        return self.units(self.patches(maps, landmarks))

    def features(self, images: Tensor, **inputs: Tensor) -> Tensor:
        return self.local(self.trunk(self.norm(images)), inputs["landmarks"])[0].flatten(1)  # [B, 1536]

    def head(self, features: Tensor) -> Tensor:
        return self.fc(self.dropout(self.hidden(features.relu())).relu())
