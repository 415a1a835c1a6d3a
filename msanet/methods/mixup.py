"""mixup: pictures and targets blended in pairs."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def mix(images: Tensor, targets: Tensor, strength: float, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """mixup (Zhang et al., ICLR 2018): each picture and target blended with another of the batch."""
    part = float(rng.beta(strength, strength))
    order = torch.from_numpy(rng.permutation(len(images))).to(images.device)
    return torch.lerp(images[order], images, part), torch.lerp(targets[order], targets, part)
