"""After HistNet (Sadeghi & Raie, 2022): a histogram of feature maps under a learnt chi-square distance.

Letters: B batch, C channels, h w sides of the last map, n bins, D features, K classes.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from msanet.errors import InputError
from msanet.networks.blocks import Stem, conv_bn, initialize, residual_layer
from msanet.networks.fixed import full_precision


class HistNet(Stem):
    """ResNet-18 to its third layer, a soft histogram of each channel, and distances to a learnt histogram a class.

    "HistNet: Histogram-based convolutional neural network with chi-squared deep metric learning". Its text could not be
    found. Known are the histogram layer on the last convolution's maps and a learnt matrix within the chi-square
    distance, which enters the loss. Trunk, bins, their triangular weights and the cross-entropy of scaled distances are
    our reading. The third layer keeps the second's size, 8 x 8 at 64: a map of 2 x 2 has no histogram. 2,931,393
    parameters with eight classes, as in our specification; the paper's number is unknown.

    Args:
        num_classes: K.
        reduced: C, the channels of which histograms are taken.
        bins: n.
        projected: D, length of the histograms after the learnt matrix.
        stem_width: channels after the first convolution.

    Raises:
        InputError: an argument is out of its range.
    """

    def __init__(
        self,
        num_classes: int = 7,
        *,
        reduced: int = 64,
        bins: int = 16,
        projected: int = 128,
        stem_width: int = 64,
    ) -> None:
        super().__init__(stem_width)
        if reduced < 1 or bins < 2 or projected < 1:
            raise InputError(f"reduced, bins and projected are {reduced}, {bins}, {projected}: at least 1, and 2 bins")
        self.bins = bins
        self.layer3 = residual_layer(2 * stem_width, 4 * stem_width, 1)
        self.reduce = nn.Sequential(*conv_bn(4 * stem_width, reduced, 1))
        # Softplus makes both positive. V begins near 1 / C, so that V h, like the classes' m, is near 1: from far away
        # the softmax of the distances is one class's alone and teaches nothing.
        self.matrix = nn.Parameter(math.log(math.expm1(1 / reduced)) + 0.5 * torch.randn(projected, reduced * bins))
        self.classes = nn.Parameter(math.log(math.expm1(1)) + 0.1 * torch.randn(num_classes, projected))
        self.scale = nn.Parameter(torch.ones(()))
        initialize(self)

    def histograms(self, maps: Tensor) -> Tensor:
        """float [B, C, h, w] in 0..1 -> each channel's histogram, float32 [B, C, n], which sums to one."""
        place = maps.float().flatten(2)[:, :, None] * (self.bins - 1)  # [B, C, 1, hw]
        centers = torch.arange(self.bins, device=maps.device)[:, None]
        return torch.relu(1 - (place - centers).abs()).mean(dim=3)

    def features(self, images: Tensor, **inputs: Tensor) -> Tensor:
        maps = torch.sigmoid(self.reduce(self.layer3(self.stem(images))))  # [B, C, H/8, W/8]
        histograms = self.histograms(maps).flatten(1)
        with full_precision(histograms):
            return nn.functional.linear(histograms, nn.functional.softplus(self.matrix))  # [B, D]

    def distances(self, features: Tensor) -> Tensor:
        """float32 [B, D] -> chi-square distances to the classes' histograms, [B, K]."""
        features, classes = features[:, None], nn.functional.softplus(self.classes)
        return ((features - classes) ** 2 / (features + classes + 1e-6)).sum(dim=2)

    def head(self, features: Tensor) -> Tensor:
        return -self.scale * self.distances(features)
