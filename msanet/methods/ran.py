"""The losses of RAN (Wang et al., TIP 2020): cross-entropy, and some crop must count more than the whole face.

Letters: B batch, R regions.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from msanet.data.dataset import Batch
from msanet.errors import InputError
from msanet.methods import method
from msanet.methods.method import Context, Method
from msanet.networks.network import Network
from msanet.networks.ran import RAN


class RANLosses(Method):
    """RAN's losses (Wang et al., 2020): some crop must count more than the face; for network `ran`.

    Options:
        margin: by which the best crop's self-attention must exceed the whole face's: 0.02 (the paper) with the
            network's normalise "sum", 0.1 (the code, FERPlus) with "softmax"; which belongs to which is a reading.
    """

    class Options(method.Options):
        margin: float = Field(0.02, ge=0)

    def __init__(self, network: Network, options: Options, context: Context) -> None:
        if not isinstance(network, RAN):
            raise InputError("method ran trains the regions of network ran: choose that network, or another method")
        super().__init__(network, options, context)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        assert isinstance(self.network, RAN)
        features, attention, _ = self.network.parts(batch.images)
        logits, attention = self.network.head(features).float(), attention.float()
        rank = torch.relu(self.options.margin - (attention[:, 1:].amax(dim=1) - attention[:, 0])).mean()
        loss = self.cross_entropy(logits, batch.targets) + rank
        return {"loss": loss, "logits": logits, "rank": rank.detach()}
