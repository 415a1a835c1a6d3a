"""The losses of OADN (Ding, Zhou & Chellappa, IJCB 2020): cross-entropy of both branches.

Letters: B batch, K classes.
"""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from msanet.data.dataset import Batch
from msanet.errors import InputError
from msanet.methods import method
from msanet.methods.method import Context, Method
from msanet.networks.network import Network
from msanet.networks.oadn import OADN


class OADNLosses(Method):
    """OADN's losses (Ding et al., 2020): both branches' cross-entropies; for network `oadn`.

    The regions' losses are added, as in a public rerun, not averaged.

    Options:
        attention: weight of the attention branch's loss; one minus it falls on the regions'.
    """

    class Options(method.Options):
        attention: float = Field(0.2, ge=0, le=1)

    def __init__(self, network: Network, options: Options, context: Context) -> None:
        if not isinstance(network, OADN):
            raise InputError("method oadn trains the branches of network oadn: choose that network, or another method")
        super().__init__(network, options, context)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        assert isinstance(self.network, OADN)
        features = self.network.features(batch.images, **self.network_inputs(batch))
        attention, *regions = (
            self.cross_entropy(logits.float(), batch.targets) for logits in self.network.branch_logits(features)
        )
        share, summed = self.options.attention, sum(regions[1:], regions[0])
        return {
            "loss": share * attention + (1 - share) * summed,
            "logits": self.network.head(features).float(),
            "attention": attention.detach(),
            "regions": summed.detach(),
        }
