"""PSR, Pyramid with Super-Resolution (Vo et al., IEEE Access 2020): three scales under one classifier.

Letters: B batch, S side of the pictures, R branches, C channels, D features of a branch, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, grid_sample

from msanet.errors import InputError
from msanet.networks.blocks import initialize, resized
from msanet.networks.network import Network


class Transformer(nn.Module):
    """A spatial transformer: pictures [B, 3, S, S] -> the same, moved by an affine map; at first the identity.

    Args:
        size: S.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv2d(3, 8, 7), nn.MaxPool2d(2), nn.ReLU(inplace=True),
            nn.Conv2d(8, 10, 5), nn.MaxPool2d(2), nn.ReLU(inplace=True),
        )  # fmt: skip
        side = ((size - 6) // 2 - 4) // 2
        self.hidden, self.last = nn.Linear(10 * side**2, 32), nn.Linear(32, 6)
        self.start()

    def start(self) -> None:
        """Become the identity."""
        nn.init.zeros_(self.last.weight)
        with torch.no_grad():
            self.last.bias.copy_(torch.tensor([1.0, 0.0, 0.0, 0.0, 1.0, 0.0]))

    def forward(self, images: Tensor) -> Tensor:
        side = images.shape[-1]
        matrix = self.last(self.hidden(self.convolutions(images).flatten(1)).relu()).float().unflatten(1, (2, 3))
        middles = (2 * torch.arange(side, device=images.device) + 1) / side - 1
        y, x = torch.meshgrid(middles, middles, indexing="ij")
        places = torch.stack([x, y, torch.ones_like(x)], dim=2).flatten(0, 1)  # [S * S, 3]
        grid = torch.unflatten(places @ matrix.transpose(1, 2), 1, (side, side))  # [B, S, S, 2]
        return grid_sample(images.float(), grid.float(), align_corners=False)


class Residual(nn.Module):
    """Two convolutions and what came in, without BatchNorm."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(width, width, 3, padding=1)
        )

    def forward(self, maps: Tensor) -> Tensor:
        """[B, C, H, W] -> the same."""
        return maps + self.layers(maps)


class SuperResolution(nn.Module):
    """EDSR's baseline for twice the side (Lim et al., CVPR workshops 2017).

    Args:
        width: C.
        blocks: of two convolutions.
    """

    def __init__(self, width: int, blocks: int) -> None:
        super().__init__()
        self.enter = nn.Conv2d(3, width, 3, padding=1)
        self.body = nn.Sequential(*(Residual(width) for _ in range(blocks)), nn.Conv2d(width, width, 3, padding=1))
        self.leave = nn.Sequential(
            nn.Conv2d(width, 4 * width, 3, padding=1), nn.PixelShuffle(2), nn.Conv2d(width, 3, 3, padding=1)
        )

    def forward(self, images: Tensor) -> Tensor:
        """[B, 3, H, W] -> [B, 3, 2H, 2W]."""
        entered = self.enter(images)
        return self.leave(entered + self.body(entered))


def vgg_blocks(inputs: int, *stages: Sequence[int]) -> nn.Sequential:
    """Blocks of VGG-16-BN, each with a pool at its end; `stages` give the channels of their convolutions."""
    layers: list[nn.Module] = []
    for stage in stages:
        for outputs in stage:
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
            inputs = outputs
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers)


class PSR(Network):
    """PSR (Vo et al., IEEE Access 2020): the picture halved, enlarged by super-resolution, and as it is; VGG-16.

    A spatial transformer comes first. Each scale has its own first half of VGG-16-BN; the second half and the
    classifier are shared. The answer is the mean of the three softmaxes, as its logarithm. Read from the authors'
    public code: the halved picture passes no gradient, so that the transformer learns from the whole one alone.
    20,244,586 parameters at 100 pixels with seven classes (published: 20.24 M). The loss on the three branches is
    method `psr`, which also trains the super-resolution beforehand (a reading: its published weights cannot be had);
    the smoothed targets are method `pdls`.

    Args:
        num_classes: K.
        size: S, the side of the pictures that it is made for; others are resized to it.
        width: channels of the first convolutions of VGG-16, 64.
        blocks: of the super-resolution.

    Raises:
        InputError: an argument is out of its range.
    """

    def __init__(self, num_classes: int = 7, *, size: int = 100, width: int = 64, blocks: int = 16) -> None:
        super().__init__()
        if size < 64 or size % 2 or width < 1 or blocks < 1:
            raise InputError(f"size {size}, width {width}, blocks {blocks}: give an even size from 64, and at least 1")
        self.size = size
        self.transformer = Transformer(size)
        self.super_resolution = SuperResolution(width, blocks)
        one, two, four, eight = (factor * width for factor in (1, 2, 4, 8))
        self.low = nn.ModuleList(vgg_blocks(3, [one] * 2, [two] * 2, [four] * 3) for _ in range(3))
        self.high = vgg_blocks(four, [eight] * 3, [eight] * 3)
        self.classifier = nn.Sequential(
            nn.BatchNorm1d(2 * eight), nn.Dropout(0.25), nn.Linear(2 * eight, eight), nn.ReLU(inplace=True),
            nn.BatchNorm1d(eight), nn.Dropout(0.5), nn.Linear(eight, num_classes),
        )  # fmt: skip
        initialize(self)

    def scales(self, images: Tensor) -> list[Tensor]:
        """float [B, 3, S, S] -> the picture halved, enlarged from that, and as it is, after the transformer."""
        moved = self.transformer(images)
        small = avg_pool2d(moved.detach(), 2)
        return [small, self.super_resolution(small), moved]

    def features(self, images: Tensor, **inputs: Tensor) -> Tensor:
        parts = []
        for low, scale in zip(self.low, self.scales(resized(images, self.size)), strict=True):
            maps = self.high(low(scale))  # [B, 512, S/32, S/32], the first branch's half as large
            parts += [maps.amax(dim=(2, 3)), maps.mean(dim=(2, 3))]
        return torch.cat(parts, dim=1)  # [B, R * 1024]

    def branch_logits(self, features: Tensor) -> list[Tensor]:
        """Features [B, R * D] -> the three branches' logits, each [B, K]."""
        return [self.classifier(part) for part in features.chunk(3, dim=1)]

    def head(self, features: Tensor) -> Tensor:
        logits = torch.stack(self.branch_logits(features))
        return logits.softmax(dim=2).mean(dim=0).clamp(min=1e-12).log()
