"""DAN, the Distract Your Attention Network (Wen et al., 2021; Biomimetics 2023).

Letters: B batch, D channels, h w sides of the last map, R heads, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from msanet.errors import InputError
from msanet.networks.blocks import Trunk, initialize


class AttentionHead(nn.Module):
    """One head: spatial attention from three kernel shapes, summed over channels and not bounded, then channels'.

    Args:
        channels: D.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.reduce = nn.Sequential(nn.Conv2d(channels, half, 1), nn.BatchNorm2d(half))
        self.kernels = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(half, channels, shape, padding=(shape[0] // 2, shape[1] // 2)), nn.BatchNorm2d(channels)
            )
            for shape in ((3, 3), (1, 3), (3, 1))
        )
        hidden = max(channels // 16, 1)
        self.channel = nn.Sequential(
            nn.Linear(channels, hidden), nn.BatchNorm1d(hidden), nn.ReLU(inplace=True), nn.Linear(hidden, channels)
        )

    def forward(self, maps: Tensor) -> Tensor:
        """[B, D, h, w] -> [B, D]."""
        reduced = self.reduce(maps)
        spatial = torch.relu(torch.stack([kernel(reduced) for kernel in self.kernels]).sum(0)).sum(1, keepdim=True)
        pooled = (maps * spatial).mean(dim=(2, 3))  # [B, D]
        return pooled * torch.sigmoid(self.channel(pooled))


class DAN(Trunk):
    """ResNet-18 under several attention heads that are pushed apart (the losses: method `dan`).

    Read from the authors' public code: the fusion is a log-softmax over the heads, summed over them; BatchNorm lies
    over the logits. 19,723,733 parameters with seven classes (published: 19.72 M).

    Args:
        num_classes: K.
        num_heads: R.
        strides: of layers 3 and 4; (2, 1) gives the heads maps of 4 x 4 instead of 2 x 2 at 64 pixels.
        stem_width: channels after the first convolution; D is eight times as many.

    Raises:
        InputError: an argument is out of its range.
    """

    def __init__(
        self, num_classes: int = 7, *, num_heads: int = 4, strides: Sequence[int] = (2, 2), stem_width: int = 64
    ) -> None:
        super().__init__(strides, stem_width)
        if num_heads < 1:
            raise InputError(f"num_heads is {num_heads}: give 1 or more")
        channels = 8 * stem_width
        self.heads = nn.ModuleList(AttentionHead(channels) for _ in range(num_heads))
        self.fc = nn.Linear(channels, num_classes)
        self.bn = nn.BatchNorm1d(num_classes)
        initialize(self)

    def parts(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """float [B, 3, H, W] -> the trunk's pooled features [B, D], and the heads' log-softmax over heads [B, R, D]."""
        maps = self.trunk(images)  # [B, D, h, w]
        heads = torch.stack([head(maps) for head in self.heads], dim=1)  # [B, R, D]
        return maps.mean(dim=(2, 3)), heads.log_softmax(dim=1)

    def features(self, images: Tensor, **inputs: Tensor) -> Tensor:
        return self.parts(images)[1].sum(dim=1)  # [B, D]

    def head(self, features: Tensor) -> Tensor:
        return self.bn(self.fc(features))
