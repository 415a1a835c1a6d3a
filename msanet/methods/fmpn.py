"""The losses of FMPN (Chen et al., VCIP 2019): cross-entropy, and the mask must show where the class's faces differ.

Letters: B batch, S side of the pictures, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import grid_sample, mse_loss

from msanet.data.dataset import Batch
from msanet.data.sample import Sample
from msanet.errors import InputError
from msanet.methods import method
from msanet.methods.method import Context, Method
from msanet.networks.fmpn import FMPN
from msanet.networks.network import Network
from msanet.networks.points import points_of
from msanet.preprocessing import MEAN_LANDMARKS

MAP_SIDE = 64
"""Of the maps, whose landmarks are the mean face's."""


class FMPNLosses(Method):
    """FMPN's losses (Chen et al., 2019), masks after FMPN: they show where a class moves; for network `fmpn`.

    The authors' masks need a neutral picture of the same person, which most data sets lack. The map of a class is the
    absolute difference of its mean training face from the mean neutral one, equalised; that of neutral the mean of the
    others'. It is laid on each picture by the landmarks, so it is turned and shifted with it. Maps are symmetric, each
    face counting with its mirror image, so it makes no difference that a picture was flipped.

    Options:
        mask: weight of the mask's squared error.
        prior: "means": as above (a reading); "points": Gaussians at brows, eyes, nose and mouth for every class.
        neutral: name of the neutral label.
    """

    class Options(method.Options):
        mask: float = Field(0.1, ge=0)
        prior: Literal["means", "points"] = "means"
        neutral: str = "neutral"

    inputs = ("landmarks",)

    def __init__(self, network: Network, options: Options, context: Context) -> None:
        if not isinstance(network, FMPN):
            raise InputError("method fmpn trains the masks of network fmpn: choose that network, or another method")
        if options.prior == "means" and options.neutral not in context.labels:
            raise InputError(
                f"method fmpn: there is no label {options.neutral!r} to compare with: name one by its option neutral, "
                "or set prior to points"
            )
        super().__init__(network, options, context)
        self.maps: Tensor
        self.register_buffer("maps", torch.zeros(len(context.labels), 1, MAP_SIDE, MAP_SIDE, device=context.device))

    def fit(self, samples: Sequence[Sample], seed: int) -> None:
        super().fit(samples, seed)
        if self.options.prior == "points":
            self.maps.copy_(point_map().expand_as(self.maps))
            return
        labels = self.context.labels
        sums, counts = torch.zeros(len(labels), MAP_SIDE, MAP_SIDE), torch.zeros(len(labels), 1, 1)
        for sample in samples:
            if sample.label in labels:
                place = labels.index(sample.label)
                sums[place] += standard_face(sample)
                counts[place] += 1
        if not counts[labels.index(self.options.neutral)]:
            raise InputError(f"method fmpn: no training picture is {self.options.neutral}: set its prior to points")
        self.maps.copy_(motion_maps(sums / counts.clamp(min=1), labels.index(self.options.neutral))[:, None])

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        assert isinstance(self.network, FMPN)
        features, masks = self.network.parts(batch.images)
        logits = self.network.head(features).float()
        mask = mse_loss(masks.float(), self.targets(batch))
        loss = self.cross_entropy(logits, batch.targets) + self.options.mask * mask
        return {"loss": loss, "logits": logits, "mask": mask.detach()}

    def targets(self, batch: Batch) -> Tensor:
        """The map of each picture's class, where its face lies: float32 [B, 1, S, S] in 0..1."""
        landmarks = batch.inputs["landmarks"].float()
        mean = torch.from_numpy(MEAN_LANDMARKS).to(landmarks).expand_as(landmarks)
        maps = self.maps[batch.targets.argmax(dim=1)]
        return moved(maps, similarity(landmarks, mean), batch.images.shape[-1])


def similarity(sources: Tensor, destinations: Tensor) -> Tensor:
    """The maps [B, 2, 3] (turn, scale, shift) that bring points [B, N, 2] nearest to others by least squares."""
    source, destination = sources.mean(dim=1), destinations.mean(dim=1)
    (x, y), (u, v) = (
        (points - mean[:, None]).unbind(dim=2) for points, mean in ((sources, source), (destinations, destination))
    )
    square = (x**2 + y**2).sum(dim=1).clamp(min=1e-8)
    cosine, sine = (x * u + y * v).sum(dim=1) / square, (x * v - y * u).sum(dim=1) / square
    linear = torch.stack([torch.stack([cosine, -sine], dim=1), torch.stack([sine, cosine], dim=1)], dim=1)
    return torch.cat([linear, destination[:, :, None] - linear @ source[:, :, None]], dim=2)


def moved(maps: Tensor, matrices: Tensor, size: int) -> Tensor:
    """Maps [B, C, h, w] seen from another frame, [B, C, size, size]; both have sides 0..1, zeros lie outside.

    Args:
        maps: float32.
        matrices: [B, 2, 3], from a point of the new frame to that of the old.
        size: of the new one, pixels.
    """
    middles = (torch.arange(size, device=maps.device) + 0.5) / size
    y, x = torch.meshgrid(middles, middles, indexing="ij")
    places = torch.stack([x, y, torch.ones_like(x)], dim=2).flatten(0, 1)  # [size * size, 3]
    grid = 2 * torch.unflatten(places @ matrices.transpose(1, 2), 1, (size, size)) - 1
    return grid_sample(maps, grid, align_corners=False)


def standard_face(sample: Sample) -> Tensor:
    """A sample's grey face with the mean face's landmarks, mean 0 and deviation 1, with its mirror image: [64, 64]."""
    gray = torch.from_numpy(np.asarray(sample.crop(), np.float32).mean(axis=2))[None, None]
    mean = torch.from_numpy(MEAN_LANDMARKS)[None]
    own = torch.tensor(sample.landmarks).reshape(1, 5, 2) if sample.landmarks else mean
    face = moved(gray, similarity(mean, own), MAP_SIDE)[0, 0]
    face = (face - face.mean()) / face.std().clamp(min=1e-6)
    return (face + face.flip(1)) / 2


def motion_maps(means: Tensor, neutral: int) -> Tensor:
    """Mean faces [K, h, w] and the neutral one's place -> where each differs from it, equalised to 0..1, [K, h, w]."""
    maps = (means - means[neutral]).abs().flatten(1)
    ranks = maps.argsort(dim=1).argsort(dim=1).to(means.dtype) / (maps.shape[1] - 1)
    others = torch.arange(len(means)) != neutral
    ranks[neutral] = ranks[others].mean(dim=0)
    return ranks.reshape(means.shape)


def point_map() -> Tensor:
    """Gaussians of a deviation of 0.08 at the 24 points of the mean face, the greatest of them, float32 [64, 64]."""
    points = points_of(torch.from_numpy(MEAN_LANDMARKS)[None])[0]
    middles = (torch.arange(MAP_SIDE) + 0.5) / MAP_SIDE
    squares = (middles - points[:, :1, None]) ** 2 + (middles[:, None] - points[:, 1:, None]) ** 2
    return torch.exp(-squares / (2 * 0.08**2)).amax(dim=0)
