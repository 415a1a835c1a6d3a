"""PDLS, prior distribution label smoothing (Vo et al., IEEE Access 2020): classes confused as people confuse them.

Letters: B batch, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from msanet.data.dataset import Batch
from msanet.data.sample import Sample
from msanet.errors import InputError
from msanet.labels import EXPRESSIONS
from msanet.methods import method
from msanet.methods.method import Context, Method, Wrapper, with_targets

FERPLUS = (
    (0.806, 0.026, 0.107, 0.016, 0.004, 0.005, 0.025, 0.011),
    (0.029, 0.939, 0.003, 0.020, 0.001, 0.001, 0.006, 0.001),
    (0.159, 0.007, 0.775, 0.006, 0.016, 0.008, 0.023, 0.007),
    (0.045, 0.028, 0.008, 0.821, 0.075, 0.001, 0.020, 0.001),
    (0.032, 0.009, 0.062, 0.159, 0.703, 0.006, 0.026, 0.003),
    (0.082, 0.012, 0.085, 0.018, 0.006, 0.649, 0.107, 0.041),
    (0.064, 0.017, 0.025, 0.045, 0.016, 0.027, 0.799, 0.006),
    (0.140, 0.013, 0.052, 0.006, 0.005, 0.040, 0.037, 0.706),
)
"""Mean votes of FERPlus's training pictures by their top label, both in the order of `EXPRESSIONS`; votes of
one annotator alone dropped. The authors print a diagonal within 0.06 of this one."""


class PDLS(Wrapper):
    """Prior distribution label smoothing (Vo et al., 2020): a share spread as the label's votes are; any network.

    What is smoothed is the greatest class of the target. (On FERPlus itself the authors
    learn each picture's own votes: method `plain` with the recipe's soft_targets.)

    Options:
        share: of the target that the prior gives, the label keeping the rest.
        prior: "training": from the training pictures' votes, from FERPlus's where they have none; "ferplus": always.
            A row loses what falls on labels that are not among the K, and is rescaled.
        inner: the method that learns from these targets.
    """

    class Options(method.Options):
        share: float = Field(0.2, ge=0, le=1)
        prior: Literal["training", "ferplus"] = "training"
        inner: dict[str, Any] = Field(default_factory=lambda: {"name": "plain"})

    def __init__(self, inner: Method, options: Options, context: Context) -> None:
        super().__init__(inner, options, context)
        self.prior: Tensor
        self.register_buffer("prior", torch.eye(len(context.labels), device=context.device))

    def fit(self, samples: Sequence[Sample], seed: int) -> None:
        super().fit(samples, seed)
        labels = self.context.labels
        voted = [sample for sample in samples if sample.votes and sample.label in labels]
        if self.options.prior == "training" and voted:
            sums = torch.zeros(len(labels), len(labels), dtype=torch.float64)
            for sample in voted:
                sums[labels.index(sample.label)] += torch.from_numpy(sample.target(labels, soft=True))
            empty = sums.sum(dim=1) == 0  # no such picture: its label alone
            sums[empty] = torch.eye(len(labels), dtype=torch.float64)[empty]
        else:
            unknown = [label for label in labels if label not in EXPRESSIONS]
            if unknown:
                raise InputError(
                    f"method pdls: the training pictures have no votes, and FERPlus's know no {unknown[0]!r}: "
                    f"choose labels of {', '.join(EXPRESSIONS)}, or another method"
                )
            places = [EXPRESSIONS.index(label) for label in labels]
            sums = torch.tensor(FERPLUS, dtype=torch.float64)[places][:, places]
        self.prior.copy_(sums / sums.sum(dim=1, keepdim=True))

    def change(self, batch: Batch) -> Batch:
        classes = batch.targets.argmax(dim=1)
        own = torch.nn.functional.one_hot(classes, batch.targets.shape[1]).to(batch.targets.dtype)
        return with_targets(batch, (1 - self.options.share) * own + self.options.share * self.prior[classes])
