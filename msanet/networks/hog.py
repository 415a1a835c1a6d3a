"""After Dahmane & Meunier (FG 2011): a dense grid of HOG under a kernel machine. Letters: B batch, D features."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from msanet.errors import InputError
from msanet.networks.fixed import GradientHistogram, full_precision, gray_of
from msanet.networks.network import Network


class HOG(Network):
    """Histograms of oriented gradients on a grid that fits the face's size, under a linear layer; see method `svm`.

    "Emotion recognition using dynamic grid-based HoG features". Its text could not be found. Known are the
    size-adaptive grid and support vectors with an RBF kernel; the cells, bins and blocks are our reading. The features
    are fixed, so train it with flips only. The kernel is approximated by random Fourier features (Rahimi & Recht, NIPS
    2007), drawn by the seed. 14,120 parameters learn with the linear kernel and eight classes, 32,776 with "rbf", as in
    our specification; the paper prints none.

    Args:
        num_classes: K.
        kernel: "rbf", the paper's, or "linear".
        cells: along a side of the face.
        bins: over 180 degrees.
        block: cells along a side of a block.
        fourier: D with "rbf".
        variance: of the descriptor's numbers, which sets the kernel's gamma, 1 / (length * variance), as scikit-learn
            does.

    Raises:
        InputError: an argument is out of its range.
    """

    frequencies: Tensor
    phases: Tensor

    def __init__(
        self,
        num_classes: int = 7,
        *,
        kernel: str = "rbf",
        cells: int = 8,
        bins: int = 9,
        block: int = 2,
        fourier: int = 4096,
        variance: float = 0.011,
    ) -> None:
        super().__init__()
        if kernel not in ("rbf", "linear"):
            raise InputError(f"kernel is {kernel!r}: choose one of rbf, linear")
        if fourier < 1 or not variance > 0:
            raise InputError(f"fourier and variance are {fourier}, {variance}: both must be above 0")
        self.histogram, self.kernel = GradientHistogram(cells, bins, block), kernel
        size = self.histogram.size
        if kernel == "rbf":
            deviation = math.sqrt(2 / (size * variance))
            self.register_buffer("frequencies", deviation * torch.randn(fourier, size))
            self.register_buffer("phases", 2 * math.pi * torch.rand(fourier))
        self.fc = nn.Linear(fourier if kernel == "rbf" else size, num_classes)

    def features(self, images: Tensor, **inputs: Tensor) -> Tensor:
        descriptor = self.histogram(gray_of(images))  # [B, 1764] by default
        if self.kernel == "linear":
            return descriptor
        with full_precision(descriptor):
            waves = nn.functional.linear(descriptor, self.frequencies, self.phases)  # [B, D]
        return math.sqrt(2 / len(self.phases)) * torch.cos(waves)

    def head(self, features: Tensor) -> Tensor:
        return self.fc(features)
