"""After ALT (Florea et al., BMVC 2019): learning from faces without labels, with randomness that fades.

Letters: B batch, K classes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from msanet.data.dataset import Batch
from msanet.data.sample import Sample
from msanet.errors import InputError
from msanet.methods import method
from msanet.methods.method import Context, Method
from msanet.networks.network import Network


class ALT(Method):
    """Labelled faces and as many unlabelled ones, on which the network learns from itself and from random labels.

    "Annealed label transfer for face expression recognition". Its text could not be found. Known is that the network
    predicts labels of the unlabelled faces and learns from them, and that randomness which is annealed holds its
    confidence back; how it enters is our reading, two of them. Both kinds of faces go through the network as one batch.
    Without `weight` it is the plain method, with `share` 0 plain pseudo-labels.

    Options:
        weight: of the unlabelled faces' loss.
        randomise: "labels": a face learns, with a probability that falls from `share` to 0 as the square of the time
            left, a class drawn by the labelled faces' frequencies; "loss": the whole loss is multiplied by
            1 + s * normal noise, s falling from `noise` to 0 in a straight line.
        self_target: what the others learn: "argmax", the network's own answer; "soft", its own probabilities, whose
            entropy falls.
        share: see `randomise`.
        noise: see `randomise`.
    """

    class Options(method.Options):
        weight: float = Field(0.5, ge=0)
        randomise: Literal["labels", "loss"] = "labels"
        self_target: Literal["argmax", "soft"] = "argmax"
        share: float = Field(1.0, ge=0, le=1)
        noise: float = Field(0.5, ge=0)

    inputs = ("unlabelled",)

    def __init__(self, network: Network, options: Options, context: Context) -> None:
        if network.inputs:
            raise InputError(
                f"method alt shows a network pictures only, and this one wants {', '.join(network.inputs)}: "
                "choose another network"
            )
        super().__init__(network, options, context)
        self.frequencies: Tensor
        number = len(context.labels)
        self.register_buffer("frequencies", torch.full((number,), 1 / number, device=context.device))

    def fit(self, samples: Sequence[Sample], seed: int) -> None:
        super().fit(samples, seed)
        counts = Counter(sample.label for sample in samples)
        self.frequencies.copy_(torch.tensor([counts[label] / len(samples) for label in self.context.labels]))

    def left(self) -> float:
        """Part of the training that is left, from 1 in the first epoch to 0 in the last."""
        return 1 - self.epoch / (self.context.epochs - 1) if self.context.epochs > 1 else 0.0

    def random_share(self) -> float:
        """The probability that an unlabelled face learns a random class."""
        return self.options.share * self.left() ** 2 if self.options.randomise == "labels" else 0.0

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        both = torch.cat([batch.images, batch.inputs["unlabelled"]])
        logits, others = self.network(both).float().split(len(batch.images))
        rng = np.random.default_rng((self.context.seed, *batch.step, self.context.process))
        unlabelled, random = self.unlabelled_loss(others, rng)
        loss = self.cross_entropy(logits, batch.targets) + self.options.weight * unlabelled
        if self.options.randomise == "loss":
            loss = loss * (1 + self.options.noise * self.left() * rng.standard_normal())
        return {"loss": loss, "logits": logits, "unlabelled": unlabelled.detach(), "random": random.float().mean()}

    def unlabelled_loss(self, logits: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """The loss of unlabelled faces' logits [B, K], and which of them learn a random class, bool [B]."""
        number = len(logits)
        random = torch.from_numpy(rng.random(number) < self.random_share()).to(logits.device)
        frequencies = self.frequencies.double().cpu().numpy()
        drawn = torch.from_numpy(rng.choice(len(frequencies), number, p=frequencies / frequencies.sum()))
        classes = torch.where(random, drawn.to(logits.device), logits.argmax(dim=1))
        losses = nn.functional.cross_entropy(logits, classes, reduction="none")
        if self.options.self_target == "soft":
            entropy = -(logits.softmax(dim=1) * logits.log_softmax(dim=1)).sum(dim=1)
            losses = torch.where(random, losses, entropy)
        return losses.mean(), random
