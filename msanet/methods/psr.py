"""The loss of PSR (Vo et al., IEEE Access 2020), and its super-resolution trained beforehand.

Letters: B batch, S side of the pictures, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import avg_pool2d, l1_loss

from msanet.data.dataset import Batch, FaceDataset
from msanet.data.sample import Sample
from msanet.errors import InputError
from msanet.methods import method
from msanet.methods.method import Context, Method
from msanet.networks.blocks import resized
from msanet.networks.network import Network
from msanet.networks.psr import PSR


class PSRLoss(Method):
    """PSR's loss (Vo et al., 2020): the mean of three branches' cross-entropies; for network `psr`.

    Options:
        enlarging_steps: steps of 16 training pictures, halved, from which the super-resolution learns to give them back
            (L1, Adam 1e-4) before the first epoch. A reading: the authors start from published weights.
    """

    class Options(method.Options):
        enlarging_steps: int = Field(500, ge=0)

    def __init__(self, network: Network, options: Options, context: Context) -> None:
        if not isinstance(network, PSR):
            raise InputError("method psr trains the branches of network psr: choose that network, or another method")
        super().__init__(network, options, context)

    def fit(self, samples: Sequence[Sample], seed: int) -> None:
        super().fit(samples, seed)
        assert isinstance(self.network, PSR)
        module = self.network.super_resolution
        dataset = FaceDataset(samples, self.context.preprocessing, self.context.labels)
        optimizer = torch.optim.Adam(module.parameters(), 1e-4)
        rng = np.random.default_rng((seed, 0))
        for _ in range(self.options.enlarging_steps):
            chosen = rng.integers(len(dataset), size=min(16, len(dataset)))
            images = torch.stack([dataset[int(index)]["images"] for index in chosen]).to(self.context.device)
            images = resized(images, self.network.size)
            loss = l1_loss(module(avg_pool2d(images, 2)), images)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        optimizer.zero_grad()

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        assert isinstance(self.network, PSR)
        features = self.network.features(batch.images)
        branches = [logits.float() for logits in self.network.branch_logits(features)]
        losses = torch.stack([self.cross_entropy(logits, batch.targets) for logits in branches])
        logits = torch.stack(branches).softmax(dim=2).mean(dim=0).clamp(min=1e-12).log()
        return {"loss": losses.mean(), "logits": logits}
