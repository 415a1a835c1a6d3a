"""After LDL-ALSG (Chen et al., CVPR 2020): a face's expressions should be like those of its neighbours elsewhere.

Letters: N training pictures, S spaces, k neighbours, B batch, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from msanet import weights
from msanet.data.dataset import Batch, FaceDataset, evaluation_loader
from msanet.data.sample import Sample
from msanet.errors import InputError
from msanet.methods import method
from msanet.methods.method import Context, Method
from msanet.networks.network import Network


class LDL(Method):
    """Cross-entropy, and the divergence between pictures that are neighbours in the spaces of other tasks.

    "Label distribution learning on auxiliary label space graphs for facial expression recognition". Its text could not
    be found. Known is the idea, with action units and landmarks as the other tasks; all numbers are our reading. The
    landmarks are the five that the aligner finds, in the frame of the eyes; action units we do not have, and the
    embedding of a trained model stands in for them. An epoch shows as many pictures as otherwise, in groups of a
    picture and a neighbour in each space, drawn by the edges' weights: all of a batch's neighbours count, and the
    cross-entropy goes over all pictures. A weight is exp(-d^2 / 2 s^2), s the median distance of neighbours. A picture
    without landmarks has no neighbours there; one at no distance at all is a duplicate, and no neighbour. With
    `weight` 0 it is the control.

    Options:
        spaces: "landmarks", "embedding".
        model: whose embedding that is, a shipped model or a .safetensors file that wants no more than pictures.
        neighbours: k.
        weight: of the divergence.
        start: epochs before it counts.
    """

    class Options(method.Options):
        spaces: tuple[Literal["landmarks", "embedding"], ...] = Field(("landmarks", "embedding"), min_length=1)
        model: str = "accurate"
        neighbours: int = Field(8, ge=1)
        weight: float = Field(0.5, ge=0)
        start: int = Field(1, ge=0)

    def __init__(self, network: Network, options: Options, context: Context) -> None:
        super().__init__(network, options, context)
        self.neighbours: Tensor
        self.edges: Tensor
        self.register_buffer("neighbours", torch.empty(0, dtype=torch.int64, device=context.device))  # [S, N, k]
        self.register_buffer("edges", torch.empty(0, device=context.device))  # [S, N, k], 0 where there is none

    def fit(self, samples: Sequence[Sample], seed: int) -> None:
        super().fit(samples, seed)
        graphs = []
        for space in self.options.spaces:
            if space == "landmarks":
                points, known = eye_frames(samples)
            else:
                points, known = self.embeddings(samples), torch.ones(len(samples), dtype=torch.bool)
            graphs.append(graph(points, known, self.options.neighbours))
        device = self.context.device
        self.neighbours = torch.stack([neighbours for neighbours, _ in graphs]).to(device)
        self.edges = torch.stack([edges for _, edges in graphs]).to(device)

    @torch.no_grad()
    def embeddings(self, samples: Sequence[Sample]) -> Tensor:
        """What the trained model makes of the pictures, float32 [N, D]."""
        network, metadata = weights.load(self.options.model)
        if metadata.inputs:
            raise InputError(
                f"model {self.options.model} wants {', '.join(metadata.inputs)} beside the picture: choose another"
            )
        network = network.to(self.context.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        # Its labels do not matter here, so each picture gets one of those that it may have.
        dataset = FaceDataset(samples, metadata.preprocessing, self.context.labels)
        loader = evaluation_loader(dataset, workers=self.context.workers)
        return torch.cat([network.features(Batch.of(item).images.to(self.context.device)).cpu() for item in loader])

    def sampler(self, samples: Sequence[Sample], epoch: int) -> Sequence[int]:
        """Groups of an anchor and its neighbours, as many pictures as there are."""
        rng = np.random.default_rng((self.context.seed, epoch))
        neighbours, edges = self.neighbours.cpu().numpy(), self.edges.double().cpu().numpy()
        number = edges.shape[1]
        order: list[int] = []
        for anchor in rng.permutation(number):
            order.append(int(anchor))
            for others, strengths in zip(neighbours[:, anchor], edges[:, anchor], strict=True):
                if strengths.sum() > 0:
                    order.append(int(rng.choice(others, p=strengths / strengths.sum())))
            if len(order) >= number:
                break
        return order[:number]

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        logits = self.logits(batch)
        loss = self.cross_entropy(logits, batch.targets)
        if not self.options.weight or self.epoch < self.options.start:
            return {"loss": loss, "logits": logits}
        divergence = self.divergence(logits, batch.index)
        return {"loss": loss + self.options.weight * divergence, "logits": logits, "divergence": divergence.detach()}

    def divergence(self, logits: Tensor, index: Tensor) -> Tensor:
        """The sum over the spaces of the mean over edges within the batch of weight times KL(p_i || p_j).

        Args:
            logits: float32 [B, K].
            index: int64 [B], of the pictures; the gradient goes to both ends of an edge.
        """
        logs = logits.log_softmax(dim=1)
        number = self.edges.shape[1]
        known = index.clamp(max=number - 1)
        inner = (index < number)[:, None] & (index < number)  # [B, B]: extra pictures have no neighbours
        total = 0 * logits.sum()
        for neighbours, edges in zip(self.neighbours, self.edges, strict=True):
            match = (neighbours[known][:, None] == index[:, None]) & inner[:, :, None]  # [B, B, k]
            strengths = (match * edges[known][:, None]).sum(dim=2)  # [B, B]
            one, other = strengths.nonzero(as_tuple=True)
            if len(one):
                divergences = (logs[one].exp() * (logs[one] - logs[other])).sum(dim=1)
                total = total + (strengths[one, other] * divergences).mean()
        return total


def eye_frames(samples: Sequence[Sample]) -> tuple[Tensor, Tensor]:
    """Nose and mouth corners where the eyes are at (-1/2, 0) and (1/2, 0): float32 [N, 6], and whose are known."""
    known = torch.tensor([bool(sample.landmarks) for sample in samples])
    points = np.array([sample.landmarks or (0.0,) * 10 for sample in samples], np.float64).reshape(-1, 5, 2)
    places = points[..., 0] + 1j * points[..., 1]  # [N, 5]
    middle, axis = places[:, :2].mean(axis=1), places[:, 1] - places[:, 0]
    known &= torch.from_numpy(np.abs(axis) > 1e-6)
    framed = (places[:, 2:] - middle[:, None]) / np.where(np.abs(axis) > 1e-6, axis, 1)[:, None]
    return torch.from_numpy(np.concatenate([framed.real, framed.imag], axis=1)).float(), known


def graph(points: Tensor, known: Tensor, number: int) -> tuple[Tensor, Tensor]:
    """The nearest others of each point.

    Args:
        points: float32 [N, D].
        known: bool [N]: the others have no neighbours and are none.
        number: k.

    Returns:
        Neighbours int64 [N, k], and the edges' weights float32 [N, k], 0 where there is no neighbour.
    """
    own = known.nonzero()[:, 0]
    neighbours, distances = (
        torch.zeros(len(points), number, dtype=torch.int64),
        torch.full((len(points), number), torch.inf),
    )
    for rows in own.chunk(max(len(own) // 512, 1)):
        apart = torch.cdist(points[rows], points[own], compute_mode="donot_use_mm_for_euclid_dist")
        apart[apart < 1e-6] = torch.inf  # itself and its duplicates
        nearest = apart.topk(min(number, len(own)), dim=1, largest=False)
        neighbours[rows, : nearest.values.shape[1]] = own[nearest.indices]
        distances[rows, : nearest.values.shape[1]] = nearest.values
    found = distances.isfinite()
    if not found.any():
        return neighbours, torch.zeros_like(distances)
    deviation = distances[found].median()
    return neighbours, torch.where(found, torch.exp(-(distances**2) / (2 * deviation**2)), 0.0)
