"""The one Dataset over labelled pictures, and its loaders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from msanet.data.augmentation import Augmentation
from msanet.data.sample import Sample
from msanet.data.sampling import EpochSampler
from msanet.preprocessing import Preprocessing


class FaceDataset(Dataset[tuple[Tensor, Tensor]]):
    """Samples -> (network input float32 [3, size, size], target float32 [K] summing to the label's share, usually 1).

    Each picture's augmentation is drawn from (seed, epoch, index), so it depends neither on the number of workers nor
    on where a run was interrupted.

    Args:
        samples: all of whose labels are in `labels`.
        preprocessing: of the network.
        labels: names of the K classes.
        soft: targets are the annotators' votes where there are any.
        augmentation: None for evaluation.
        seed: of the augmentation.
        small: (size, epochs): the first so many epochs come at this smaller size.
        shares: of each sample's target, what its label gives; teachers give the rest. None: all.
        opinions: float32 [N, K], the teachers' probabilities for the first N samples where they are known beforehand:
            their part of the target is then added here. None: it is left to be added.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        preprocessing: Preprocessing,
        labels: Sequence[str],
        *,
        soft: bool = False,
        augmentation: Augmentation | None = None,
        seed: int = 0,
        small: tuple[int, int] = (0, 0),
        shares: Sequence[float] | None = None,
        opinions: np.ndarray | None = None,
    ) -> None:
        self.shares, self.opinions = shares, opinions
        self.samples, self.preprocessing, self.labels = samples, preprocessing, labels
        self.small_epochs = small[1]
        self.small = replace(preprocessing, size=small[0], resize=None) if self.small_epochs else preprocessing
        self.soft, self.augmentation, self.seed = soft, augmentation, seed

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int | tuple[int, int, int]) -> tuple[Tensor, Tensor]:
        epoch, place, index = index if isinstance(index, tuple) else (0, index, index)
        sample = self.samples[index]
        if self.augmentation is None:
            image = self.preprocessing([sample.crop()])[0]
        else:
            # The place in the epoch is in the seed because class balancing shows a rare picture several times.
            rng = np.random.default_rng((self.seed, epoch, place))
            preprocessing = self.small if epoch < self.small_epochs else self.preprocessing
            image = preprocessing.normalize(self.augmentation(sample.crop(), preprocessing, rng)[None])[0]
        share = np.float32(1 if self.shares is None else self.shares[index])
        target = share * sample.target(self.labels, self.soft)
        if self.opinions is not None and index < len(self.opinions):
            target = target + (1 - share) * self.opinions[index]
        return torch.from_numpy(image), torch.from_numpy(target)


def evaluation_loader(
    dataset: FaceDataset, batch_size: int = 64, workers: int = 0
) -> DataLoader[tuple[Tensor, Tensor]]:
    """The whole data set once, in its order."""
    return DataLoader(dataset, batch_size, num_workers=workers)


def training_loader(
    dataset: FaceDataset, sampler: EpochSampler, batch_size: int, workers: int = 0
) -> DataLoader[tuple[Tensor, Tensor]]:
    """An epoch in the sampler's order; a last batch too small to fill is left out."""
    return DataLoader(
        dataset,
        batch_size,
        sampler=sampler,
        num_workers=workers,
        drop_last=len(dataset) > batch_size,
        persistent_workers=workers > 0,
    )
