"""After Mohan et al. (TIM 2020): local gravitational force into two branches.

Letters: B batch, D features, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from msanet.errors import InputError
from msanet.networks.blocks import conv_bn, initialize
from msanet.networks.fixed import Gravity
from msanet.networks.network import Network


class GravityNetwork(Network):
    """The force that a pixel's neighbours exert on it, for a geometric and a holistic branch; see method `gravity`.

    "Facial expression recognition using local gravitational force descriptor-based deep convolution neural networks".
    Its text could not be found. Known are the descriptor, the two branches and the fusion of their scores. The ratio,
    what each branch reads and its layers are our reading. Logits are the logarithm of the mean of both softmaxes.
    4,432,560 parameters with eight classes, as in our specification; the paper's number is unknown.

    Args:
        num_classes: K.
        ratio: the force over the square of the pixel's own mass, which makes it free of the light's strength.
        width: channels of the first of four groups, each of which doubles them; D is sixteen times as many.
        mean, std: those of the preprocessing: this descriptor is not blind to how pictures are normalised.

    Raises:
        InputError: an argument is out of its range.
    """

    def __init__(
        self,
        num_classes: int = 7,
        *,
        ratio: bool = True,
        width: int = 32,
        mean: Sequence[float] = (0.5, 0.5, 0.5),
        std: Sequence[float] = (0.25, 0.25, 0.25),
    ) -> None:
        super().__init__()
        if width < 1:
            raise InputError(f"width is {width}: it must be at least 1")
        if len(mean) != 3 or len(std) != 3 or not min(std) > 0:
            raise InputError(f"mean and std are {list(mean)}, {list(std)}: give the preprocessing's three numbers each")
        self.force = Gravity(ratio, (mean[0], mean[1], mean[2]), (std[0], std[1], std[2]))
        self.geometric, self.holistic = branch(2, width, 3), branch(3, width, 5)
        self.geometric_fc, self.holistic_fc = (nn.Linear(8 * width, num_classes) for _ in range(2))
        initialize(self)

    def features(self, images: Tensor, **inputs: Tensor) -> Tensor:
        mass = self.force.masses(images)
        force = self.force(mass)  # [B, 2, H, W]
        maps = self.geometric(force), self.holistic(torch.cat([force, mass], dim=1))
        return torch.cat([part.mean(dim=(2, 3)) for part in maps], dim=1)  # [B, D]

    def both(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """[B, D] -> logits of the geometric and of the holistic branch, [B, K] each."""
        geometric, holistic = features.chunk(2, dim=1)
        return self.geometric_fc(geometric), self.holistic_fc(holistic)

    def head(self, features: Tensor) -> Tensor:
        return (
            torch.stack([logits.float().softmax(dim=1) for logits in self.both(features)])
            .mean(dim=0)
            .clamp(min=1e-9)
            .log()
        )


def branch(inputs: int, width: int, kernel: int) -> nn.Sequential:
    """Four pairs of convolutions, with pooling between: [B, inputs, H, W] -> [B, 8 * width, H/8, W/8]."""
    layers: list[nn.Module] = []
    for group in range(4):
        if group:
            layers.append(nn.MaxPool2d(2))
        for _ in range(2):
            layers += [*conv_bn(inputs, width << group, kernel), nn.ReLU(inplace=True)]
            inputs = width << group
    return nn.Sequential(*layers)
