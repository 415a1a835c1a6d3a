"""The exponential moving average of a network."""

from __future__ import annotations

import copy

import torch
from torch import nn

from msanet.networks import Network


class Average:
    """Exponential moving average of a network's weights and BatchNorm statistics.

    The decay starts low, min(decay, (1 + step) / (10 + step)), so that the random start is forgotten at once. Without
    decay it is the network itself, and costs nothing.

    Args:
        network: which is trained.
        decay: a step.

    Attributes:
        network: the average, to be evaluated.
        step: how often it was updated.
    """

    def __init__(self, network: Network, decay: float) -> None:
        self.network = copy.deepcopy(network).eval() if decay else network
        self.decay, self.step = decay, 0

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        if not self.decay:
            return
        decay = min(self.decay, (1 + self.step) / (10 + self.step))
        self.step += 1
        for mine, other in zip(self.network.state_dict().values(), network.state_dict().values(), strict=True):
            if mine.is_floating_point():
                mine.lerp_(other, 1 - decay)
            else:
                mine.copy_(other)
