"""The locality-preserving loss of DLP-CNN (Li, Deng & Du, CVPR 2017).

Letters: B batch, D features, k neighbours.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from msanet.data.dataset import Batch
from msanet.methods import method
from msanet.methods.method import Method


class DLP(Method):
    """DLP-CNN's loss (Li et al., 2017): features drawn to the nearest of their class in the batch; any network.

    Known from two public reruns. k is at most the number of others of the class in the batch; a picture that is alone
    has no such loss. The softmax answers; the linear SVM of the paper is another matter.

    Options:
        weight: of the loss.
        neighbours: k.
        detach: neighbours are constants in the gradient (a reading).
    """

    class Options(method.Options):
        weight: float = Field(0.003, ge=0)
        neighbours: int = Field(20, ge=1)
        detach: bool = True

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        features = self.network.features(batch.images, **self.network_inputs(batch))
        logits = self.network.head(features).float()
        others = features.float()
        locality = locality_loss(
            others, others.detach() if self.options.detach else others, batch.targets, self.options.neighbours
        )
        loss = self.cross_entropy(logits, batch.targets) + self.options.weight * locality
        return {"loss": loss, "logits": logits, "locality": locality.detach()}


def locality_loss(features: Tensor, others: Tensor, targets: Tensor, neighbours: int) -> Tensor:
    """1 / 2B times the sum of squared distances of `features` [B, D] from the means of their neighbours in `others`.

    Args:
        features: float [B, D].
        others: the same features, with or without their gradient.
        targets: [B, K]; the greatest is the class.
        neighbours: k, at most.
    """
    number = len(features)
    classes = targets.argmax(dim=1)
    same = (classes[:, None] == classes) & ~torch.eye(number, dtype=torch.bool, device=features.device)
    with torch.no_grad():
        distances = torch.cdist(features, features).masked_fill(~same, torch.inf)
        nearest = distances.topk(min(neighbours, number), largest=False)
        known = nearest.values.isfinite().to(features.dtype)  # [B, k]
        shares = known / known.sum(dim=1, keepdim=True).clamp(min=1)
        matrix = torch.zeros_like(distances).scatter(1, nearest.indices, shares)  # [B, B], row by row
    squares = ((features - matrix @ others) ** 2).sum(dim=1)
    return (squares * known.amax(dim=1)).sum() / (2 * number)
