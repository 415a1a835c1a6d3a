"""OADN (Ding, Zhou & Chellappa, IJCB 2020): pooling round visible facial points, and four regions of the map.

Letters: B batch, P points, D channels of the map, h w its sides, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from msanet.errors import InputError
from msanet.networks.blocks import Trunk, initialize
from msanet.networks.points import points_of

PREDICTIONS = ("both", "regions")


class OADN(Trunk):
    """OADN (Ding et al., IJCB 2020): ResNet-18, pooling round landmarks beside four regions, without visibility.

    Known from the paper's abstract and a public rerun. Readings: five landmarks instead of 68 (`points_of`) and no
    confidences, so that a point is invisible only outside the picture: the paper's occlusion sensor is missing; each
    region has a classifier of its own (the rerun has one for all); `sigma`, `normalise` and `predict`. 11,843,432
    parameters with eight classes; the published ResNet-50 with one classifier for all regions has 24,560,718. The loss
    is method `oadn`.

    Args:
        num_classes: K.
        sigma: standard deviation of the Gaussian round a point, in sides of the picture.
        normalise: a weighted mean round each point; False: weights over the number of cells, as in the rerun, which
            makes the features many times smaller.
        predict: "both" branches' logits added, or those of the "regions" alone (the rerun).
        hidden: width of each classifier's first layer.
        strides: of layers 3 and 4; (1, 1) gives 8 x 8 maps at 64 pixels, (2, 1) 4 x 4.
        stem_width: channels after the first convolution.

    Raises:
        InputError: an argument is out of its range.
    """

    inputs = ("landmarks",)

    def __init__(
        self,
        num_classes: int = 7,
        *,
        sigma: float = 0.1,
        normalise: bool = True,
        predict: str = "both",
        hidden: int = 256,
        strides: Sequence[int] = (2, 1),
        stem_width: int = 64,
    ) -> None:
        super().__init__(strides, stem_width)
        if sigma <= 0 or hidden < 1:
            raise InputError(f"sigma is {sigma}, hidden {hidden}: give a positive number, and at least 1")
        if predict not in PREDICTIONS:
            raise InputError(f"predict is {predict!r}: choose one of {', '.join(PREDICTIONS)}")
        self.sigma, self.normalise, self.predict = sigma, normalise, predict
        channels = 8 * stem_width
        self.classifiers = nn.ModuleList(
            nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, num_classes))
            for _ in range(5)
        )
        initialize(self)

    def around_points(self, maps: Tensor, points: Tensor) -> Tensor:
        """Map [B, D, h, w] -> the greatest over the visible points [B, P, 2] of the means round them, [B, D].

        Zeros where no point is visible.
        """
        height, width = maps.shape[2:]
        x, y = ((torch.arange(side, device=maps.device) + 0.5) / side for side in (width, height))
        visible = ((points >= 0) & (points <= 1)).all(dim=2)  # [B, P]
        columns = torch.exp(-((x - points[..., :1]) ** 2) / (2 * self.sigma**2))  # [B, P, w]
        rows = torch.exp(-((y - points[..., 1:]) ** 2) / (2 * self.sigma**2))
        weights = (rows[..., :, None] * columns[..., None, :]).flatten(2)  # [B, P, h * w]
        total = weights.sum(dim=2, keepdim=True).clamp(min=1e-12) if self.normalise else height * width
        means = torch.bmm((weights / total).to(maps.dtype), maps.flatten(2).transpose(1, 2))  # [B, P, D]
        # Means of what a ReLU gave are not negative, so zeros leave hidden points out of the maximum.
        return (means * visible[..., None]).amax(dim=1)

    def regions(self, maps: Tensor) -> list[Tensor]:
        """Map [B, D, h, w] -> the means of its quarters, row by row, each [B, D]; the first half is the larger one.

        A map of one row or column is its own half.
        """
        quarters = [quarter for half in halved(maps, 2) for quarter in halved(half, 3)]
        return [quarter.mean(dim=(2, 3)) for quarter in quarters]

    def features(self, images: Tensor, **inputs: Tensor) -> Tensor:
        maps = self.trunk(images)  # [B, 512, H/16, W/16] by default
        return torch.cat([self.around_points(maps, points_of(inputs["landmarks"])), *self.regions(maps)], dim=1)

    def branch_logits(self, features: Tensor) -> list[Tensor]:
        """Features [B, 5 * D] -> logits [B, K] of the attention branch and of the four regions."""
        parts = features.chunk(5, dim=1)
        return [classifier(part) for classifier, part in zip(self.classifiers, parts, strict=True)]

    def head(self, features: Tensor) -> Tensor:
        attention, *regions = self.branch_logits(features)
        mean = torch.stack(regions).mean(dim=0)
        return mean + attention if self.predict == "both" else mean


def halved(maps: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """The two halves of a map along a side; a side of one cell gives that cell twice."""
    if maps.shape[dim] == 1:
        return maps, maps
    first, second = maps.tensor_split(((maps.shape[dim] + 1) // 2,), dim)
    return first, second
