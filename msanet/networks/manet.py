"""MA-Net (Zhao et al., TIP 2021): a local branch on the four quarters of a map, and a global multi-scale branch.

Letters: B batch, C channels, h w sides of a map, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from msanet.errors import InputError
from msanet.networks.blocks import Refined, RefinedBlock, Stem, conv_bn, initialize, residual_layer

CHAIN_LENGTH = 4


class TwoWayBlock(nn.Module):
    """3x3 convolution, then two chains over four channel subsets, one each way; their sum and the shortcut.

    a_1 = P_1(s_1), a_i = P_i(relu(a_(i-1)) + s_i), P convolution and BatchNorm; what is put together is the a, without
    their ReLU. The second chain goes from the last subset to the first, with convolutions of its own.

    Args:
        inputs, outputs: channels.
        stride: of the first convolution.
        shortcut: None: the identity.
    """

    def __init__(self, inputs: int, outputs: int, stride: int = 1, shortcut: nn.Module | None = None) -> None:
        super().__init__()
        own = outputs // CHAIN_LENGTH
        self.enter = nn.Sequential(*conv_bn(inputs, outputs, 3, stride), nn.ReLU(inplace=True))
        self.down = nn.ModuleList(nn.Sequential(*conv_bn(own, own, 3)) for _ in range(CHAIN_LENGTH))
        self.up = nn.ModuleList(nn.Sequential(*conv_bn(own, own, 3)) for _ in range(CHAIN_LENGTH))
        self.shortcut = nn.Identity() if shortcut is None else shortcut

    def forward(self, maps: Tensor) -> Tensor:
        """[B, inputs, h, w] -> [B, outputs, h/stride, w/stride]."""
        subsets = self.enter(maps).chunk(CHAIN_LENGTH, dim=1)
        down, up = chain(self.down, subsets), chain(self.up, subsets[::-1])
        return torch.relu(torch.cat(down, dim=1) + torch.cat(up[::-1], dim=1) + self.shortcut(maps))


def chain(steps: nn.ModuleList, subsets: Sequence[Tensor]) -> list[Tensor]:
    """a_1 = P_1(s_1), a_i = P_i(relu(a_(i-1)) + s_i)."""
    answers: list[Tensor] = []
    for step, subset in zip(steps, subsets, strict=True):
        answers.append(step(torch.relu(answers[-1]) + subset if answers else subset))
    return answers


class MANet(Stem):
    """MA-Net (Zhao et al., TIP 2021): a local branch on quarters and a global multi-scale branch, logits added.

    Read from the authors' public code. 50,547,214 parameters with seven classes (published: 50.54 M); the loss on both
    branches is method `manet`.

    Args:
        num_classes: K.
        local_share: of the local branch's logits in the sum.
        stem_width: channels after the first convolution.

    Raises:
        InputError: an argument is out of its range.
    """

    def __init__(self, num_classes: int = 7, *, local_share: float = 0.6, stem_width: int = 64) -> None:
        super().__init__(stem_width)
        if not 0 <= local_share <= 1:
            raise InputError(f"local_share is {local_share}: give 0 to 1")
        self.local_share = local_share
        middle, channels = 4 * stem_width, 8 * stem_width
        attentive = partial(RefinedBlock, attention=Refined)
        self.quarters = nn.ModuleList(
            nn.Sequential(
                residual_layer(middle // 2, middle, 2, attentive), residual_layer(middle, channels, 1, attentive)
            )
            for _ in range(4)
        )
        self.whole = nn.Sequential(
            residual_layer(middle // 2, middle, 2, TwoWayBlock), residual_layer(middle, channels, 2, TwoWayBlock)
        )
        self.local_fc = nn.Linear(channels, num_classes)
        self.whole_fc = nn.Linear(channels, num_classes)
        initialize(self)

    def local_map(self, shared: Tensor) -> Tensor:
        """The pre-extracted map [B, 128, h, w] -> the quarters' maps put together again, [B, 512, h/2, w/2].

        The first half is the larger one where a side is odd.

        Raises:
            InputError: the map has no halves.
        """
        if min(shared.shape[2:]) < 2:
            raise InputError("manet cuts its maps into quarters: give it pictures of 9 pixels or more")
        rows, columns = ((side + 1) // 2 for side in shared.shape[2:])
        halves = [
            part for half in (shared[:, :, :rows], shared[:, :, rows:]) for part in half.tensor_split((columns,), 3)
        ]
        one, two, three, four = (branch(quarter) for branch, quarter in zip(self.quarters, halves, strict=True))
        return torch.cat([torch.cat([one, two], dim=3), torch.cat([three, four], dim=3)], dim=2)

    def features(self, images: Tensor, **inputs: Tensor) -> Tensor:
        shared = self.stem(images)  # [B, 128, H/8, W/8]
        local, whole = self.local_map(shared), self.whole(shared)
        return torch.cat([local.mean(dim=(2, 3)), whole.mean(dim=(2, 3))], dim=1)  # [B, 1024]

    def branch_logits(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Features [B, 1024] -> the local and the global branch's logits, each [B, K]."""
        local, whole = features.chunk(2, dim=1)
        return self.local_fc(local), self.whole_fc(whole)

    def head(self, features: Tensor) -> Tensor:
        local, whole = self.branch_logits(features)
        return self.local_share * local + (1 - self.local_share) * whole
