"""SCN, the Self-Cure Network (Wang et al., CVPR 2020): importance weights, their ranking, and relabelling.

Letters: B batch, N training pictures, D features, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from msanet.data.dataset import Batch
from msanet.data.sample import Sample
from msanet.methods import method
from msanet.methods.method import Context, Method
from msanet.networks import feature_size
from msanet.networks.network import Network


class SCN(Method):
    """A picture's logits are scaled by its importance, a number in 0..1 learnt from its features.

    The more important part of a batch must be so by a margin; of the rest, a picture that the network answers otherwise
    and clearly gets the answer as its label from the next epoch on. Trained networks are used without the importance:
    it is positive, so it changes no answer. Read from public sources (the authors' code and issues): the loss is that
    of the code, cross-entropy plus rank regularisation.

    Options:
        ratio: part of a batch that is the important group.
        margin: by which its mean importance must exceed that of the rest: 0.15 at a batch of 1,024, 0.07 at 64.
        relabel: "low": pictures of the rest (the paper); "all" (the code); "none".
        relabel_from: the first epoch that relabels, from 1.
        threshold: by which the answer's probability must exceed the label's.
    """

    class Options(method.Options):
        ratio: float = Field(0.7, gt=0, lt=1)
        margin: float = Field(0.07, ge=0)
        relabel: Literal["low", "all", "none"] = "low"
        relabel_from: int = Field(10, ge=1)
        threshold: float = Field(0.2, ge=0, lt=1)

    per_picture = ("relabel",)

    def __init__(self, network: Network, options: Options, context: Context) -> None:
        super().__init__(network, options, context)
        self.importance = nn.Linear(feature_size(network, context.preprocessing.size), 1)
        self.labels: Tensor
        self.register_buffer("labels", torch.empty(0, dtype=torch.int64))

    def fit(self, samples: Sequence[Sample], seed: int) -> None:
        super().fit(samples, seed)
        self.labels = torch.full((len(samples),), -1, device=self.context.device)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        features = self.network.features(batch.images, **self.network_inputs(batch))
        importance = torch.sigmoid(self.importance(features).float())  # [B, 1]
        logits = importance * self.network.head(features).float()  # [B, K]
        targets = self.cured(batch)
        order = importance[:, 0].argsort(descending=True)
        high = max(1, min(int(self.options.ratio * len(order)), len(order) - 1))
        distance = importance[order[:high]].mean() - importance[order[high:]].mean()
        rank = torch.relu(self.options.margin - distance)
        relabel = self.relabelled(logits.detach(), targets, order[high:])
        return {
            "loss": self.cross_entropy(logits, targets) + rank,
            "logits": logits,
            "relabel": relabel,
            "rank": rank.detach(),
            "importance_spread": importance.detach().std(),
        }

    def cured(self, batch: Batch) -> Tensor:
        """The targets [B, K] with those of pictures that were relabelled; extra pictures are not."""
        known = batch.index < len(self.labels)
        labels = torch.where(known, self.labels[batch.index.clamp(max=len(self.labels) - 1)], -1)
        new = nn.functional.one_hot(labels.clamp(min=0), batch.targets.shape[1]).to(batch.targets.dtype)
        return torch.where((labels >= 0)[:, None], new, batch.targets)

    def relabelled(self, logits: Tensor, targets: Tensor, low: Tensor) -> Tensor:
        """int64 [B]: the new label of a picture, -1 where it keeps its own."""
        probabilities = logits.softmax(dim=1)
        best, answer = probabilities.max(dim=1)
        own = probabilities.gather(1, targets.argmax(dim=1, keepdim=True))[:, 0]
        chosen = best - own > self.options.threshold
        if self.options.relabel == "low":
            group = torch.zeros_like(chosen)
            group[low] = True
            chosen = chosen & group
        if self.options.relabel == "none" or self.epoch + 1 < self.options.relabel_from:
            chosen = torch.zeros_like(chosen)
        return torch.where(chosen, answer, -1)

    def after_epoch(self, gathered: Mapping[str, Tensor]) -> None:
        index, relabel = gathered["index"].to(self.labels.device), gathered["relabel"].to(self.labels.device)
        new = (relabel >= 0) & (index < len(self.labels))
        self.labels[index[new]] = relabel[new]
