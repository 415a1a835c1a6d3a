"""Bags of visual words over dense SIFT, after Ionescu, Popescu & Grozea (2013) and Georgescu et al. (2019).

Letters: B batch, H W height and width, P windows along a side, N words, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, conv2d, normalize, pad

from msanet.errors import InputError, require
from msanet.networks.fixed import full_precision, gray_of
from msanet.networks.network import Network

PARTS = 21
"""Of the pyramid: 1 + 4 + 16."""

DRAWN = 200_000
"""Windows that the codebook is found from."""


class DenseSIFT(nn.Module):
    """Descriptors of 4 x 4 bins and eight soft directions (Lowe, IJCV 2004), upright, on a regular grid.

    Args:
        bins: along the picture's shorter side, which makes their size, whole pixels.
        step: between windows, pixels.
    """

    directions: Tensor

    def __init__(self, bins: int, step: int) -> None:
        super().__init__()
        self.bins, self.step = bins, step
        angles = [index * math.pi / 4 for index in range(8)]
        pairs = [(math.cos(angle), math.sin(angle)) for angle in angles]
        self.register_buffer("directions", torch.tensor(pairs, dtype=torch.float32), persistent=False)

    def forward(self, gray: Tensor) -> Tensor:
        """float32 [B, 1, H, W] -> [B, 128, P, P'], of unit norm, 0 where all is flat."""
        wide = pad(gray, (1, 1, 1, 1), mode="replicate")
        across = (wide[..., 1:-1, 2:] - wide[..., 1:-1, :-2])[:, 0]  # [B, H, W]
        down = (wide[..., 2:, 1:-1] - wide[..., :-2, 1:-1])[:, 0]
        along = (
            across[:, None] * self.directions[:, 0, None, None] + down[:, None] * self.directions[:, 1, None, None]
        )  # [B, 8, H, W], the gradient's part in each direction
        magnitude = (across**2 + down**2).sqrt()[:, None]
        # A direction counts fully along itself and not at all from 45 degrees off on.
        limit = math.cos(math.pi / 4)
        shares = torch.relu(along - limit * magnitude) / (1 - limit)
        side = max(round(min(gray.shape[2:]) / self.bins), 1)
        bins = avg_pool2d(shares, side, 1)  # [B, 8, H - side + 1, W - side + 1]
        height, width = (length - 3 * side for length in bins.shape[2:])
        parts = [
            bins[:, :, row : row + height : self.step, column : column + width : self.step]
            for row in range(0, 4 * side, side)
            for column in range(0, 4 * side, side)
        ]
        descriptors = torch.cat(parts, dim=1)  # [B, 128, P, P']
        norms = descriptors.norm(dim=1, keepdim=True)
        # Below a hundredth of the picture's largest a window is flat.
        steep = norms >= 0.01 * norms.amax(dim=(2, 3), keepdim=True).clamp(min=1e-6)
        descriptors = (descriptors / norms.clamp(min=1e-9)).clamp(max=0.2)
        return descriptors / descriptors.norm(dim=1, keepdim=True).clamp(min=1e-9) * steep


class SIFTWords(Network):
    """Which visual words are present in each part of the face, under a linear layer; see method `svm`.

    The handcrafted half of "Local learning with deep and handcrafted features" (IEEE Access 2019), read from its
    abstract and from a public rerun with codebooks of 17,000, 14,000 and 8,000. One codebook for all levels, a window
    every second pixel, one scale, and soft directions are our reading; local machines are not built. The codebook is
    found from training pictures by scikit-learn's MiniBatchKMeans (extra words); until then its words are random
    directions. A word counts once however often it comes, and flat windows have none. 344,072 parameters learn with
    eight classes, as in our specification without the network's features.

    Args:
        num_classes: K.
        words: N, of the codebook.
        bins: SIFT bins along the face: of 4 pixels at 48, 5 at 64.
        step: between windows, pixels.

    Raises:
        InputError: an argument is out of its range.
    """

    codebook: Tensor

    def __init__(self, num_classes: int = 7, *, words: int = 2048, bins: int = 12, step: int = 2) -> None:
        super().__init__()
        if words < 2 or bins < 7 or not 1 <= step <= 3:
            raise InputError(
                f"words, bins and step are {words}, {bins}, {step}: give at least 2 words, 7 bins, and 1 to 3 pixels"
            )
        self.words, self.sift = words, DenseSIFT(bins, step)
        self.register_buffer("codebook", normalize(torch.randn(words, 128)))
        self.fc = nn.Linear(PARTS * words, num_classes)

    def fit(self, batches: Iterable[tuple[Tensor, Tensor]], seed: int) -> None:
        cluster = require("sklearn.cluster")
        generator = torch.Generator().manual_seed(seed)
        kept, device = torch.empty(0, 129), self.codebook.device
        for images, _ in batches:
            windows = self.descriptors(images).permute(0, 2, 3, 1).flatten(0, 2).cpu()  # [B P P', 128]
            windows = windows[windows.any(dim=1)]
            # Each window draws a number, and those of the least numbers stay: every window is as likely.
            drawn = torch.rand(len(windows), 1, generator=generator)
            kept = torch.cat([kept, torch.cat([drawn, windows], dim=1)])
            kept = kept[kept[:, 0].argsort()[:DRAWN]]
        if len(kept) < self.words:
            raise InputError(f"a codebook of {self.words} words wants more windows than {len(kept)}: give fewer words")
        means = cluster.MiniBatchKMeans(self.words, batch_size=4096, n_init=1, random_state=seed)
        self.codebook = torch.from_numpy(means.fit(kept[:, 1:].numpy()).cluster_centers_).float().to(device)

    def descriptors(self, images: Tensor) -> Tensor:
        """float [B, 3, H, W] -> windows' descriptors [B, 128, P, P']."""
        descriptors: Tensor = self.sift(gray_of(images))
        return descriptors

    def features(self, images: Tensor, **inputs: Tensor) -> Tensor:
        descriptors = self.descriptors(images)
        with full_precision(images):
            # The nearest word has the largest d.c - |c|^2 / 2.
            nearness = conv2d(descriptors, self.codebook[:, :, None, None], -self.codebook.square().sum(dim=1) / 2)
        words = nearness.argmax(dim=1)  # [B, P, P']
        words = torch.where(descriptors.abs().sum(dim=1) > 0, words, -1)  # flat: none
        places = (words[:, None] == torch.arange(self.words, device=words.device)[:, None, None]).float()
        rows, columns = ([round(part * side / 4) for part in range(5)] for side in words.shape[1:])
        present = [
            places[:, :, rows[top] : rows[top + size], columns[left] : columns[left + size]].amax(dim=(2, 3))
            for size in (1, 2, 4)
            for top in range(0, 4, size)
            for left in range(0, 4, size)
        ]  # 21 of [B, N]
        found = torch.cat(present, dim=1)  # [B, 21 N]
        return found / found.norm(dim=1, keepdim=True).clamp(min=1e-9)

    def head(self, features: Tensor) -> Tensor:
        return self.fc(features)
