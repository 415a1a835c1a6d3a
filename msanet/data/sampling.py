"""The order in which training sees the pictures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
from torch.utils.data import Sampler

from msanet.data.sample import Sample


class EpochSampler(Sampler[tuple[int, int, int]]):
    """Yields (epoch, place, index) in an order drawn from (seed, epoch) alone.

    Args:
        samples: to draw from.
        balance: 0 shows each picture once an epoch; 1 draws, with replacement, each label equally often; between
            them a label of c pictures is drawn in proportion to c ** (1 - balance).
        seed: of the order.
        extra: further samples, whose indices come after; each set is balanced by itself.
        extra_share: part of the draws, all with replacement then, that goes to them. An epoch is as long as without.

    Attributes:
        start: places of the epoch that are left out, since they were seen before an interruption.
        chosen: the indices of this epoch in their order, where a method chooses them; None: as drawn.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        balance: float = 0.0,
        seed: int = 0,
        extra: Sequence[Sample] = (),
        extra_share: float = 0.0,
    ) -> None:
        parts = []
        for members, share in ((samples, 1 - extra_share), (extra, extra_share)):
            counts = Counter(sample.label for sample in members)
            weights = np.array([counts[sample.label] ** -balance for sample in members])
            parts.append(share * weights / weights.sum())
        self.weights, self.size, self.seed, self.epoch = np.concatenate(parts), len(samples), seed, 0
        self.drawn = balance > 0 or extra_share > 0
        self.start = 0
        self.chosen: Sequence[int] | None = None

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return (self.size if self.chosen is None else len(self.chosen)) - self.start

    def __iter__(self) -> Iterator[tuple[int, int, int]]:
        rng = np.random.default_rng((self.seed, self.epoch))
        if self.chosen is not None:
            order = np.asarray(self.chosen)
        elif self.drawn:
            order = rng.choice(len(self.weights), self.size, p=self.weights)
        else:
            order = rng.permutation(self.size)
        return ((self.epoch, place, int(index)) for place, index in enumerate(order) if place >= self.start)
