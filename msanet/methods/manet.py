"""The loss of MA-Net (Zhao et al., TIP 2021). Letters: B batch, K classes."""

from __future__ import annotations

from torch import Tensor

from msanet.data.dataset import Batch
from msanet.errors import InputError
from msanet.methods.method import Context, Method, Options
from msanet.networks.manet import MANet
from msanet.networks.network import Network


class MANetLoss(Method):
    """MA-Net's loss: cross-entropy of each branch of network `manet`, weighted as their logits are."""

    def __init__(self, network: Network, options: Options, context: Context) -> None:
        if not isinstance(network, MANet):
            raise InputError(
                "method manet trains the branches of network manet: choose that network, or another method"
            )
        super().__init__(network, options, context)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        assert isinstance(self.network, MANet)
        features = self.network.features(batch.images)
        local, whole = (
            self.cross_entropy(part.float(), batch.targets) for part in self.network.branch_logits(features)
        )
        share = self.network.local_share
        return {
            "loss": share * local + (1 - share) * whole,
            "logits": self.network.head(features).float(),
            "local": local.detach(),
            "global": whole.detach(),
        }
