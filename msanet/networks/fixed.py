"""Descriptors that are computed, not learnt: buffers only, no parameter.

Everything runs in float32 outside autocast, because a comparison may turn over in half precision. Directions are found
by projections, without an arc tangent. Letters: B batch, H W height and width, n number of bins or filters.
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, conv2d, pad

from msanet.errors import InputError

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue (ITU-R BT.601)."""

NEIGHBOURS = ((0, 0), (0, 1), (0, 2), (1, 2), (2, 2), (2, 1), (2, 0), (1, 0))
"""Row and column, in a window of 3 x 3, of the eight neighbours: clockwise from the upper left."""


def gray_of(images: Tensor) -> Tensor:
    """float [B, 3, H, W] in RGB -> float32 [B, 1, H, W]."""
    red, green, blue = images.float().chunk(3, dim=1)
    return LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue


def full_precision(values: Tensor) -> AbstractContextManager[object]:
    """Within it, nothing is cast to half precision on the device of these values."""
    device = values.device.type
    # Asked first, because a graph for export cannot hold the switch.
    if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):  # shapes alone ("meta") have none
        return torch.autocast(device, enabled=False)
    return nullcontext()


def one_hot(codes: Tensor, number: int) -> Tensor:
    """int64 [B, H, W] of 0..number-1 -> float32 [B, number, H, W]."""
    return (codes[:, None] == torch.arange(number, device=codes.device)[:, None, None]).float()


class GradientHistogram(nn.Module):
    """Histograms of oriented gradients (Dalal & Triggs, CVPR 2005) on a grid of so many cells, whatever the size.

    The numbers and their order are those of `skimage.feature.hog` with "L2-Hys" where the side of a cell is even (of
    odd cells that function loses a row): hard unsigned bins, no gradient at the border. A direction on the border
    of two bins goes to the first, with it to the second: whole-numbered gradients meet some where `bins` is even.

    Args:
        cells: along a side.
        bins: over 180 degrees.
        block: cells along a side of a block, which is normalised; blocks overlap by all but one cell.

    Raises:
        InputError: an argument is below 1, or a block is larger than the grid.
    """

    directions: Tensor

    def __init__(self, cells: int = 8, bins: int = 9, block: int = 2) -> None:
        super().__init__()
        if min(cells, bins, block) < 1 or block > cells:
            raise InputError(f"cells, bins and block are {cells}, {bins}, {block}: give 1 or more, and block <= cells")
        self.cells, self.bins, self.block = cells, bins, block
        angles = [(index + 0.5) * math.pi / bins for index in range((bins + 1) // 2)]
        # Directions come in mirrored pairs of exactly equal numbers, so that ties are ties.
        pairs = [(math.cos(angle), math.sin(angle)) for angle in angles]
        pairs += [(-x, y) for x, y in reversed(pairs[: bins // 2])]
        self.register_buffer("directions", torch.tensor(pairs, dtype=torch.float32), persistent=False)

    @property
    def size(self) -> int:
        """Length of the descriptor."""
        return (self.cells - self.block + 1) ** 2 * self.block**2 * self.bins

    def forward(self, gray: Tensor) -> Tensor:
        """float32 [B, 1, H, W] -> [B, size], by block, cell within it, and bin."""
        across = pad(gray[..., 2:] - gray[..., :-2], (1, 1))[:, 0]  # [B, H, W]
        down = pad(gray[..., 2:, :] - gray[..., :-2, :], (0, 0, 1, 1))[:, 0]
        shape = (1, self.bins, 1, 1)
        cosine, sine = self.directions[:, 0].reshape(shape), self.directions[:, 1].reshape(shape)
        bins = (across[:, None] * cosine + down[:, None] * sine).abs().argmax(dim=1)  # [B, H, W], the first on ties
        magnitude = (across**2 + down**2).sqrt()
        cells = adaptive_avg_pool2d(one_hot(bins, self.bins) * magnitude[:, None], self.cells)  # [B, n, cells, cells]
        number = self.cells - self.block + 1
        blocks = torch.stack(
            [
                cells[:, :, row : row + number, column : column + number]
                for row in range(self.block)
                for column in range(self.block)
            ],
            dim=1,
        )  # [B, block * block, n, number, number]
        blocks = blocks.permute(0, 3, 4, 1, 2).flatten(3)  # [B, number, number, block * block * n]
        for limit in (0.2, math.inf):
            blocks = blocks / (blocks.square().sum(dim=3, keepdim=True) + 1e-10).sqrt()
            blocks = blocks.clamp(max=limit) if limit < math.inf else blocks
        return blocks.flatten(1)


class GaborPairs(nn.Module):
    """The filters of greatest and of least response at each pixel, as one code, in histograms of blocks.

    Args:
        filters: n, over all scales.
        scales: the wavelength doubles from one to the next.
        response: "magnitude" of even and odd kernel together, or that of the "even" one alone.
        wavelength: of the finest scale, pixels.
        blocks: along a side.
        threshold: a pixel whose best response is below this part of the picture's largest is left out: in flat regions
            the first filters would win everywhere.

    Raises:
        InputError: an argument is out of its range.
    """

    kernels: Tensor

    def __init__(
        self,
        filters: int = 8,
        scales: int = 1,
        response: str = "magnitude",
        wavelength: float = 4.0,
        blocks: int = 8,
        threshold: float = 1e-3,
    ) -> None:
        super().__init__()
        if filters < 2 or scales < 1 or filters % scales:
            raise InputError(
                f"filters and scales are {filters}, {scales}: give 2 filters or more, a multiple of scales"
            )
        if response not in ("magnitude", "even"):
            raise InputError(f"response is {response!r}: choose one of magnitude, even")
        if not 2 <= wavelength <= 64 or blocks < 1 or not 0 <= threshold < 1:
            raise InputError(
                f"wavelength, blocks and threshold are {wavelength}, {blocks}, {threshold}: give 2 to 64 pixels, 1 or "
                "more, and 0 to below 1"
            )
        self.filters, self.response, self.blocks, self.threshold = filters, response, blocks, threshold
        number = filters // scales
        self.radius = math.ceil(4 * 0.56 * wavelength * 2 ** (scales - 1))  # two deviations along the longer axis
        kernels = [
            gabor(wavelength * 2**scale, index * math.pi / number, self.radius)
            for scale in range(scales)
            for index in range(number)
        ]
        even, odd = (torch.stack(part) for part in zip(*kernels, strict=True))
        self.register_buffer("kernels", torch.cat([even, odd])[:, None], persistent=False)  # [2n, 1, k, k]

    @property
    def size(self) -> int:
        """Length of the descriptor."""
        return self.filters * (self.filters - 1) * self.blocks**2

    def codes(self, gray: Tensor) -> tuple[Tensor, Tensor]:
        """float32 [B, 1, H, W] -> codes int64 [B, H, W] in 0..n(n-1)-1, a (n-1) + b - [b > a]; and what counts, bool.

        a is the filter of greatest response, b that of the least.
        """
        with full_precision(gray):
            responses = conv2d(pad(gray, (self.radius,) * 4, mode="replicate"), self.kernels)  # [B, 2n, H, W]
        even, odd = responses.chunk(2, dim=1)
        strength = (even**2 + odd**2).sqrt() if self.response == "magnitude" else even.abs()
        best, least = strength.argmax(dim=1), strength.argmin(dim=1)
        top = strength.amax(dim=1)  # [B, H, W]
        # What a flat picture leaves of rounding is no response.
        counts = (top > 1e-5) & (top >= self.threshold * top.amax(dim=(1, 2), keepdim=True))
        return best * (self.filters - 1) + least - (least > best).long(), counts & (best != least)

    def forward(self, gray: Tensor) -> Tensor:
        """float32 [B, 1, H, W] -> [B, size]: square roots of each block's histogram, which sums to one."""
        codes, counts = self.codes(gray)
        codes = torch.where(counts, codes, -1)  # no bin
        histogram = adaptive_avg_pool2d(one_hot(codes, self.filters * (self.filters - 1)), self.blocks)
        return (histogram / histogram.sum(dim=1, keepdim=True).clamp(min=1e-6)).sqrt().flatten(1)


def gabor(wavelength: float, angle: float, radius: int) -> tuple[Tensor, Tensor]:
    """An even and an odd kernel, float32 [2 * radius + 1] * 2, of zero mean and unit energy.

    Args:
        wavelength: pixels; the deviation is 0.56 of it across the wave and twice that along.
        angle: from the rows' direction to that in which the wave runs, radians.
        radius: pixels.
    """
    axis = torch.arange(-radius, radius + 1, dtype=torch.float64)
    down, across = torch.meshgrid(axis, axis, indexing="ij")
    along = across * math.cos(angle) + down * math.sin(angle)
    beside = -across * math.sin(angle) + down * math.cos(angle)
    envelope = torch.exp(-(along**2 + 0.25 * beside**2) / (2 * (0.56 * wavelength) ** 2))
    even, odd = (envelope * wave(2 * math.pi * along / wavelength) for wave in (torch.cos, torch.sin))
    even = even - envelope * (even.sum() / envelope.sum())
    return (even / even.norm()).float(), (odd / odd.norm()).float()


class LocalBinaryPattern(nn.Module):
    """Which of the eight direct neighbours are at least as bright as the pixel (Ojala et al., 1996), one bit each."""

    def forward(self, gray: Tensor) -> Tensor:
        """float32 [B, 1, H, W] -> the codes over 255, [B, 1, H, W] in 0..1; the edge repeats outside."""
        height, width = gray.shape[2:]
        wide = pad(gray, (1, 1, 1, 1), mode="replicate")
        bits = [
            (wide[:, :, row : row + height, column : column + width] >= gray).float() * 2.0**place
            for place, (row, column) in enumerate(NEIGHBOURS)
        ]
        return torch.stack(bits).sum(dim=0) / 255


class Gravity(nn.Module):
    """The local gravitational force on each pixel, whose mass is its brightness, from the eight round it.

    Args:
        ratio: the force over the square of the pixel's own mass, under an arc tangent: free of the light's strength.
            Otherwise the force itself.
        mean, std: what the pictures were normalised with, per channel (RGB), of values in 0..1.
    """

    def __init__(
        self,
        ratio: bool = True,
        mean: tuple[float, float, float] = (0.5, 0.5, 0.5),
        std: tuple[float, float, float] = (0.25, 0.25, 0.25),
    ) -> None:
        super().__init__()
        self.ratio, self.mean, self.std = ratio, mean, std

    def masses(self, images: Tensor) -> Tensor:
        """Normalised float [B, 3, H, W] -> brightness, float32 [B, 1, H, W] in 1/255..1."""
        channels = [
            images[:, index : index + 1].float() * self.std[index] + self.mean[index] for index in range(3)
        ]  # in 0..1
        return gray_of(torch.cat(channels, dim=1)).clamp(1 / 255, 1.0)  # both floats, which the ONNX exporter wants

    def forward(self, mass: Tensor) -> Tensor:
        """`masses` [B, 1, H, W] -> the force across and down, float32 [B, 2, H, W]; the edge repeats outside."""
        height, width = mass.shape[2:]
        wide = pad(mass, (1, 1, 1, 1), mode="replicate")
        across, down = torch.zeros_like(mass), torch.zeros_like(mass)
        for row, column in NEIGHBOURS:
            y, x = row - 1, column - 1
            pull = wide[:, :, row : row + height, column : column + width] / (x * x + y * y) ** 1.5  # G m / r^2 * e
            across, down = across + x * pull, down + y * pull
        pulls = torch.cat([across, down], dim=1)
        return torch.atan(pulls / mass) if self.ratio else pulls * mass
