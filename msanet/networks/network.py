"""What a network owes, and what it may tell of its reasons.

Letters: B batch, C channels, H W height and width, K classes, D pooled features.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn


class Explanation(NamedTuple):
    """Everything one forward pass tells.

    Attributes:
        logits: float [B, K].
        embedding: float [B, D], the pooled features.
        evidence: float [B, K, H, W], the class activation maps: their mean over H and W equals the logits.
        attention: float [B, N, H, W] in 0..1, the spatial attention maps of the N branches; N is 0 without attention.
    """

    logits: Tensor
    embedding: Tensor
    evidence: Tensor
    attention: Tensor


class Network(nn.Module):
    """A feature extractor under global average pooling and one linear layer `fc`.

    Because the head is linear, applying `fc` at every position before pooling gives an exact map of the evidence for
    each class; neither a gradient nor a second pass is needed.
    """

    fc: nn.Linear

    @abstractmethod
    def feature_maps(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """float [B, 3, H, W] -> feature maps [B, D, h, w] and the branches' spatial attention maps [B, 1, h, w]."""

    def forward(self, images: Tensor) -> Tensor:
        """float [B, 3, H, W] -> logits [B, K]."""
        features, _ = self.feature_maps(images)
        return self.fc(features.mean(dim=(2, 3)))

    def explain(self, images: Tensor) -> Explanation:
        """float [B, 3, H, W] -> logits and where they come from."""
        features, attention = self.feature_maps(images)  # [B, D, h, w]
        embedding = features.mean(dim=(2, 3))  # [B, D]
        evidence = nn.functional.conv2d(features, self.fc.weight[:, :, None, None], self.fc.bias)  # [B, K, h, w]
        maps = (
            torch.cat(attention, dim=1) if attention else features.new_zeros(features.shape[0], 0, *features.shape[2:])
        )
        return Explanation(self.fc(embedding), embedding, evidence, maps)
