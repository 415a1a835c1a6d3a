"""The DDA loss (Farzaneh & Qi, CVPR workshops 2020): features near their class's centre, and nearer than to others.

Letters: B batch, D features, K classes.
"""

from __future__ import annotations

import torch
from accelerate.utils import reduce
from pydantic import Field
from torch import Tensor, nn

from msanet.data.dataset import Batch
from msanet.methods import method
from msanet.methods.method import Context, Method
from msanet.networks import feature_size
from msanet.networks.network import Network


class DDA(Method):
    """DDA loss (Farzaneh & Qi, 2020): near the class's centre, and nearer than to the others; any network.

    Read from the authors' public code. The centres have an update of their own, by which all the pictures of a batch
    move them, over one more than their number; the centre loss moves them whatever its weight. They start from He's
    normal distribution, so that squared distances are in the hundreds and the softmax of the discriminative loss starts
    saturated: its entropy is logged.

    Options:
        center: weight of the centre loss.
        gamma: weight of the discriminative loss, a plain mean over the batch. A reading: the authors' 4 is divided by
            twice the batch's size once more in their code, which makes 0.031 at 64; 2.0 if their paper divides by two.
        center_rate: of the centres' own gradient descent.
    """

    class Options(method.Options):
        center: float = Field(0.01, ge=0)
        gamma: float = Field(0.031, ge=0)
        center_rate: float = Field(0.5, ge=0)

    def __init__(self, network: Network, options: Options, context: Context) -> None:
        super().__init__(network, options, context)
        self.centers: Tensor
        size = feature_size(network, context.preprocessing.size)
        self.register_buffer("centers", torch.empty(len(context.labels), size))
        nn.init.kaiming_normal_(self.centers, mode="fan_out")

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        features = self.network.features(batch.images, **self.network_inputs(batch))
        logits, features = self.network.head(features).float(), features.float()
        classes, centers = batch.targets.argmax(dim=1), self.centers.clone()
        near = ((features - centers[classes]) ** 2).sum(dim=1).mean() / 2
        discriminative, entropy = discriminative_loss(features, centers, classes)
        if self.training:
            self.move(features.detach(), centers, classes)
        loss = self.cross_entropy(logits, batch.targets)
        loss = loss + self.options.center * near + self.options.gamma * discriminative
        return {
            "loss": loss,
            "logits": logits,
            "center": near.detach(),
            "discriminative": discriminative.detach(),
            "discriminative_entropy": entropy,
        }

    def move(self, features: Tensor, centers: Tensor, classes: Tensor) -> None:
        """One step of the centres, by the features [B, D] of all processes."""
        own = nn.functional.one_hot(classes, len(centers)).to(features.dtype)  # [B, K]
        counts = own.sum(dim=0)[:, None]
        pull, counts = reduce(counts * centers - own.T @ features), reduce(counts)
        with torch.enable_grad():
            centers = centers.requires_grad_()
            (push,) = torch.autograd.grad(discriminative_loss(features, centers, classes)[0], centers)
        step = pull / (1 + counts) + self.options.gamma * reduce(push, "mean")
        self.centers.sub_(self.options.center_rate * step)


def discriminative_loss(features: Tensor, centers: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy of the softmax over minus the squared distances to the centres, and that softmax's mean entropy.

    Args:
        features: float32 [B, D].
        centers: float32 [K, D].
        classes: int64 [B].
    """
    distances = ((features[:, None] - centers) ** 2).sum(dim=2)  # [B, K]
    logarithms = (-distances).log_softmax(dim=1)
    entropy = -(logarithms.exp() * logarithms).sum(dim=1).mean().detach()
    return nn.functional.nll_loss(logarithms, classes), entropy
