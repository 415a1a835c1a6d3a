"""The loss of network `gravity` (after Mohan et al., TIM 2020): each branch learns by itself."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from msanet.data.dataset import Batch
from msanet.errors import InputError
from msanet.methods.method import Context, Method
from msanet.networks.gravity import GravityNetwork
from msanet.networks.network import Network


class GravityLosses(Method):
    """The sum of both branches' cross-entropies, for network `gravity`; that it is this sum is our reading."""

    def __init__(self, network: Network, options: Any, context: Context) -> None:
        if not isinstance(network, GravityNetwork):
            raise InputError(
                "method gravity trains the branches of network gravity: choose that network, or another method"
            )
        super().__init__(network, options, context)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        assert isinstance(self.network, GravityNetwork)
        features = self.network.features(batch.images)
        geometric, holistic = (
            self.cross_entropy(logits.float(), batch.targets) for logits in self.network.both(features)
        )
        return {
            "loss": geometric + holistic,
            "logits": self.network.head(features).float(),
            "geometric": geometric.detach(),
            "holistic": holistic.detach(),
        }
