"""mixup (Zhang et al., ICLR 2018): pictures and targets blended in pairs, then any other method."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from msanet.data.dataset import Batch
from msanet.methods import method
from msanet.methods.method import Wrapper


class Mixup(Wrapper):
    """Each picture and target blended with another of the batch, each process by its own draw.

    Options:
        strength: parameter of the Beta distribution that the parts are drawn from.
        plain_epochs: so many epochs at the end without.
        inner: the method that learns from the blended batch.
    """

    class Options(method.Options):
        strength: float = Field(0.2, gt=0)
        plain_epochs: int = Field(0, ge=0)
        inner: dict[str, Any] = Field(default_factory=lambda: {"name": "plain"})

    def change(self, batch: Batch) -> Batch:
        epoch, step = batch.step
        if epoch >= self.context.epochs - self.options.plain_epochs or not self.training:
            return batch
        rng = np.random.default_rng((self.context.seed, epoch, step, self.context.process))
        part, order = draw(len(batch.images), self.options.strength, rng)
        order = order.to(batch.images.device)
        images, targets = blend(batch.images, order, part), blend(batch.targets, order, part)
        return replace(batch, images=images, targets=targets, partner=order, part=part)


def draw(number: int, strength: float, rng: np.random.Generator) -> tuple[float, Tensor]:
    """The part of each picture in its mixture, and the order of the pictures that are mixed in, int64 [number]."""
    part = float(rng.beta(strength, strength))
    return part, torch.from_numpy(rng.permutation(number))


def blend(values: Tensor, order: Tensor, part: float) -> Tensor:
    """Rows [B, ...] blended with those of `order`, in which they have `part`."""
    return torch.lerp(values[order], values, part)
