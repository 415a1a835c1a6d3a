"""The losses of DAN (Wen et al., 2021): cross-entropy, affinity to learnt class centres, and partition of the heads.

Letters: B batch, R heads, D features, K classes.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from msanet.data.dataset import Batch
from msanet.errors import InputError
from msanet.methods import method
from msanet.methods.method import Context, Method
from msanet.networks.dan import DAN
from msanet.networks.network import Network


class DANLosses(Method):
    """For network `dan`. Read from the authors' public code: the partition loss takes the logarithm after the mean.

    Options:
        affinity, partition: weights of the two losses.
    """

    class Options(method.Options):
        affinity: float = Field(1.0, ge=0)
        partition: float = Field(1.0, ge=0)

    def __init__(self, network: Network, options: Options, context: Context) -> None:
        if not isinstance(network, DAN):
            raise InputError("method dan trains the heads of network dan: choose that network, or another method")
        super().__init__(network, options, context)
        self.centers = nn.Parameter(torch.randn(len(context.labels), network.fc.in_features))

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        assert isinstance(self.network, DAN)
        pooled, heads = self.network.parts(batch.images)
        logits = self.network.head(heads.sum(dim=1)).float()
        pooled, heads = pooled.float(), heads.float()  # half precision loses the guard against no variance
        centers = self.centers[batch.targets.argmax(dim=1)]
        affinity = ((pooled - centers) ** 2).sum(dim=1).mean() / self.centers.var(dim=0).sum()
        partition = torch.log1p(heads.shape[1] / heads.var(dim=1).mean().clamp(min=1e-6))
        loss = self.cross_entropy(logits, batch.targets)
        loss = loss + self.options.affinity * affinity + self.options.partition * partition
        return {"loss": loss, "logits": logits, "affinity": affinity.detach(), "partition": partition.detach()}
