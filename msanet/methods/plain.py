"""plain: cross-entropy against the targets; classes weighted, or focal, if asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from msanet.data.dataset import Batch
from msanet.data.sample import Sample
from msanet.errors import InputError
from msanet.methods import method
from msanet.methods.method import Context, Method
from msanet.networks.network import Network


class Plain(Method):
    """Cross-entropy of the network's logits.

    Options:
        class_weights: "none"; "balanced": the number of pictures over the number of classes and that of the class's
            pictures; or label -> weight, 1 for those not named. The mean goes over the pictures, not over the weights.
        focal: exponent gamma of the focal loss (Lin et al., ICCV 2017, without its alpha): a class that has the
            probability p already counts (1 - p) ** gamma as much; 0: cross-entropy.
    """

    class Options(method.Options):
        class_weights: Literal["none", "balanced"] | dict[str, float] = "none"
        focal: float = Field(0.0, ge=0)

    def __init__(self, network: Network, options: Options, context: Context) -> None:
        super().__init__(network, options, context)
        self.weights: Tensor | None
        self.register_buffer("weights", None)
        if options.class_weights != "none":
            weights = torch.ones(len(context.labels))
            if isinstance(options.class_weights, Mapping):
                unknown = sorted(set(options.class_weights) - set(context.labels))
                if unknown:
                    raise InputError(
                        f"method.class_weights names {unknown[0]!r}: choose from {', '.join(context.labels)}"
                    )
                weights = torch.tensor([options.class_weights.get(label, 1.0) for label in context.labels])
            self.weights = weights.to(context.device)

    def fit(self, samples: Sequence[Sample], seed: int) -> None:
        super().fit(samples, seed)
        if self.options.class_weights == "balanced" and self.weights is not None:
            counts = Counter(sample.label for sample in samples)
            even = len(samples) / len(self.context.labels)
            self.weights.copy_(torch.tensor([even / max(counts[label], 1) for label in self.context.labels]))

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        logits = self.logits(batch)
        if self.weights is None and not self.options.focal:
            return {"loss": self.cross_entropy(logits, batch.targets), "logits": logits}
        smoothing = self.context.label_smoothing
        targets = batch.targets * (1 - smoothing) + smoothing / batch.targets.shape[1]
        losses = -targets * logits.log_softmax(dim=1)
        if self.options.focal:
            losses = losses * (1 - logits.softmax(dim=1)) ** self.options.focal
        if self.weights is not None:
            losses = losses * self.weights
        return {"loss": self.context.beta * losses.sum(dim=1).mean(), "logits": logits}
