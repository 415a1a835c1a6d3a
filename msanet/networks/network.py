"""What a network owes, and what it may tell of its reasons.

Letters: B batch, C channels, H W height and width, K classes, D features.
"""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Iterable
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from msanet.preprocessing import MEAN_LANDMARKS


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
    """An architecture: pictures -> features -> logits. Its constructor takes `num_classes` and named arguments.

    Attributes:
        inputs: what it wants beside the pictures, by name: "landmarks" float [B, 5, 2], of the picture, whose sides are
            0..1, in `Face`'s order.
    """

    inputs: tuple[str, ...] = ()

    @abstractmethod
    def features(self, images: Tensor, **inputs: Tensor) -> Tensor:
        """float [B, 3, H, W] and the further `inputs` -> features [B, D], which `embed` gives."""

    @abstractmethod
    def head(self, features: Tensor) -> Tensor:
        """Features [B, D] -> logits [B, K]."""

    def forward(self, images: Tensor, **inputs: Tensor) -> Tensor:
        """float [B, 3, H, W] and the further `inputs` -> logits [B, K]."""
        return self.head(self.features(images, **inputs))

    def fit(self, batches: Iterable[tuple[Tensor, Tensor]], seed: int) -> None:
        """Find what has to be known before the first step (a codebook, positions); it goes into buffers.

        Args:
            batches: of training pictures, each once: float32 [B, 3, H, W], and their classes, int64 [B].
            seed: of what is drawn.
        """

    def folded(self) -> Network:
        """A copy in evaluation mode with the same outputs and parameters, as it is exported."""
        return copy.deepcopy(self).cpu().eval()


@runtime_checkable
class Explains(Protocol):
    """A network that gives exact evidence maps in the pass that gives the logits."""

    def explain(self, images: Tensor, **inputs: Tensor) -> Explanation:
        """float [B, 3, H, W] -> logits and where they come from."""
        ...


class PooledNetwork(Network):
    """Feature maps under global average pooling and one linear layer `fc`.

    Because the head is linear, applying `fc` at every position before pooling gives an exact map of the evidence for
    each class; neither a gradient nor a second pass is needed.
    """

    fc: nn.Linear

    @abstractmethod
    def feature_maps(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """float [B, 3, H, W] -> feature maps [B, D, h, w] and the branches' spatial attention maps [B, 1, h, w]."""

    def features(self, images: Tensor, **inputs: Tensor) -> Tensor:
        return self.feature_maps(images)[0].mean(dim=(2, 3))

    def head(self, features: Tensor) -> Tensor:
        return self.fc(features)

    def explain(self, images: Tensor, **inputs: Tensor) -> Explanation:
        """float [B, 3, H, W] -> logits and where they come from."""
        features, attention = self.feature_maps(images)  # [B, D, h, w]
        embedding = features.mean(dim=(2, 3))  # [B, D]
        evidence = nn.functional.conv2d(features, self.fc.weight[:, :, None, None], self.fc.bias)  # [B, K, h, w]
        maps = (
            torch.cat(attention, dim=1) if attention else features.new_zeros(features.shape[0], 0, *features.shape[2:])
        )
        return Explanation(self.fc(embedding), embedding, evidence, maps)


def example_inputs(network: Network, batch: int, size: int) -> tuple[Tensor, dict[str, Tensor]]:
    """Pictures of zeros, float32 [batch, 3, size, size], and further inputs as the network wants them."""
    landmarks = torch.from_numpy(MEAN_LANDMARKS).expand(batch, 5, 2).contiguous()
    return torch.zeros(batch, 3, size, size), dict.fromkeys(network.inputs, landmarks)
