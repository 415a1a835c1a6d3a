"""RAN, the Region Attention Network (Wang et al., TIP 2020): one trunk on a face and its crops, weighted twice.

Letters: B batch, R regions (the whole face first), D features of the trunk, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from msanet.errors import InputError
from msanet.networks.blocks import Trunk, initialize

NORMALISATIONS = ("sum", "softmax")


class RAN(Trunk):
    """RAN (Wang et al., TIP 2020): a shared ResNet-18 on the face and five crops of it, weighted by attention.

    Read from the authors' public code and figures. Readings: the crops' sizes, which were never published, and
    `normalise`, in which code and paper differ. 11,185,225 parameters with seven classes (none is published). The rank
    loss is method `ran`.

    Args:
        num_classes: K.
        sides: parts of the face's side that the crops have: upper left, upper right, lower middle, and two centred.
        normalise: "sum" (the paper): weights over their sum; "softmax" (the code): a softmax over the regions first,
            which leaves six weights between 0.07 and 0.35.
        strides: of layers 3 and 4.
        stem_width: channels after the first convolution.

    Raises:
        InputError: an argument is out of its range.
    """

    def __init__(
        self,
        num_classes: int = 7,
        *,
        sides: Sequence[float] = (0.75, 0.75, 0.75, 0.90, 0.85),
        normalise: str = "sum",
        strides: Sequence[int] = (2, 2),
        stem_width: int = 64,
    ) -> None:
        super().__init__(strides, stem_width)
        if len(sides) != 5 or not all(0 < side <= 1 for side in sides):
            raise InputError(f"sides are {list(sides)}: give five numbers over 0 and up to 1")
        if normalise not in NORMALISATIONS:
            raise InputError(f"normalise is {normalise!r}: choose one of {', '.join(NORMALISATIONS)}")
        self.normalise = normalise
        places = ((0.0, 0.0), (0.0, 1.0), (1.0, 0.5), (0.5, 0.5), (0.5, 0.5))
        # top and left, of what is left over, and the side
        self.crops = [(top, left, side) for (top, left), side in zip(places, sides, strict=True)]
        channels = 8 * stem_width
        self.self_attention = nn.Linear(channels, 1)
        self.relation_attention = nn.Linear(2 * channels, 1)
        self.fc = nn.Linear(2 * channels, num_classes)
        initialize(self)

    def regions(self, images: Tensor) -> Tensor:
        """float [B, 3, H, W] -> the face and its crops at the same size, [R * B, 3, H, W], region by region."""
        height, width = images.shape[2:]
        views = [images]
        for top, left, side in self.crops:
            rows, columns = max(round(side * height), 1), max(round(side * width), 1)
            y, x = round(top * (height - rows)), round(left * (width - columns))
            crop = images[:, :, y : y + rows, x : x + columns]
            views.append(interpolate(crop, size=(height, width), mode="bilinear", align_corners=False))
        return torch.cat(views)

    def weights(self, logits: Tensor) -> Tensor:
        """Attention logits [B, R, 1] -> weights in 0..1, before they are divided by their sum."""
        gates = torch.sigmoid(logits)
        return gates.softmax(dim=1) if self.normalise == "softmax" else gates

    def combine(self, regions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The regions' features [B, R, D] -> features [B, 2 * D], self-attention [B, R], final weights [B, R]."""
        first = self.weights(self.self_attention(regions))  # [B, R, 1]
        whole = (first * regions).sum(dim=1, keepdim=True) / first.sum(dim=1, keepdim=True)  # [B, 1, D]
        pairs = torch.cat([regions, whole.expand_as(regions)], dim=2)  # [B, R, 2 * D]
        both = first * self.weights(self.relation_attention(pairs))
        final = both / both.sum(dim=1, keepdim=True)
        return (final * pairs).sum(dim=1), first[..., 0], final[..., 0]

    def parts(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """float [B, 3, H, W] -> what `combine` gives."""
        maps = self.trunk(self.regions(images))  # [R * B, D, h, w]
        regions = torch.unflatten(maps.mean(dim=(2, 3)), 0, (len(self.crops) + 1, -1))  # [R, B, D]
        return self.combine(regions.transpose(0, 1))

    def features(self, images: Tensor, **inputs: Tensor) -> Tensor:
        return self.parts(images)[0]

    def head(self, features: Tensor) -> Tensor:
        return self.fc(features)
