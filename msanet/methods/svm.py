"""svm: a linear support vector machine's objective over the network's last layer. Letters: B batch, K classes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor, nn

from msanet.data.dataset import Batch
from msanet.data.sample import Sample
from msanet.errors import InputError
from msanet.methods import method
from msanet.methods.method import Context, Method
from msanet.networks.network import Network


class SVM(Method):
    """One machine for each class against the others: squared hinge and |W|^2 / (2 C n), n training pictures.

    This is what scikit-learn's LinearSVC minimises, but that our bias is free; over a network that learns, its features
    learn too. It is for networks whose head is a linear layer `fc`. Margins are no probabilities until the
    temperature is fitted, as after any training. Set `weight_decay` of the recipe to 0.

    Options:
        C: what an error costs; choose it on validation pictures, from 0.01 to 10.
    """

    class Options(method.Options):
        C: float = Field(1.0, gt=0)

    def __init__(self, network: Network, options: Options, context: Context) -> None:
        if not isinstance(getattr(network, "fc", None), nn.Linear):
            raise InputError("method svm trains networks that end in a linear layer: choose hog, gabor_pairs, resnet18")
        super().__init__(network, options, context)
        self.pictures: Tensor
        self.register_buffer("pictures", torch.ones((), device=context.device))

    def fit(self, samples: Sequence[Sample], seed: int) -> None:
        super().fit(samples, seed)
        self.pictures.fill_(len(samples))

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        logits = self.logits(batch)
        signs = 2 * nn.functional.one_hot(batch.targets.argmax(dim=1), logits.shape[1]) - 1  # [B, K]
        hinge = torch.relu(1 - signs * logits).square().sum(dim=1).mean()
        assert isinstance(self.network.fc, nn.Linear)
        size = self.network.fc.weight.float().square().sum() / (2 * self.options.C * self.pictures)
        return {"loss": self.context.beta * (hinge + size), "logits": logits, "hinge": hinge.detach()}
