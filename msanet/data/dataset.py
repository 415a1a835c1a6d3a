"""The one Dataset over labelled pictures, its batches and its loaders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from msanet.data.augmentation import Augmentation
from msanet.data.sample import Sample
from msanet.data.sampling import EpochSampler
from msanet.preprocessing import MEAN_LANDMARKS, Preprocessing


@dataclass(frozen=True)
class Batch:
    """Labelled pictures on their way into a method. A new field is no new signature.

    Args:
        images: float32 [B, 3, size, size], as the preprocessing makes them.
        targets: float32 [B, K], each row summing to 1.
        index: int64 [B], each picture's place in the training set; those of an extra set come after it.
        inputs: what the network wants beside the pictures, by name ("landmarks" float32 [B, 5, 2] of the picture, whose
            sides are 0..1), and what the method asked for ("unlabelled" float32 [B, 3, size, size]).
        step: epoch and step, both from 0.
        partner: int64 [B], for each picture the row of the one that is mixed into it; None: none is.
        part: of the picture itself in such a mixture.
    """

    images: Tensor
    targets: Tensor
    index: Tensor
    inputs: Mapping[str, Tensor] = field(default_factory=dict)
    step: tuple[int, int] = (0, 0)
    partner: Tensor | None = None
    part: float = 1.0

    @classmethod
    def of(cls, item: Mapping[str, Tensor], step: tuple[int, int] = (0, 0)) -> Batch:
        """From what a loader gives."""
        own = ("images", "targets", "index")
        inputs = {name: value for name, value in item.items() if name not in own}
        images = item["images"].to(memory_format=torch.channels_last)
        return cls(images, item["targets"], item["index"], inputs, step)


class FaceDataset(Dataset[dict[str, Tensor]]):
    """Samples -> "images" float32 [3, size, size], "targets" float32 [K] summing to 1, "index" int64, and `inputs`.

    Each picture's augmentation is drawn from (seed, epoch, place), so it depends neither on the number of workers nor
    on where a run was interrupted.

    Args:
        samples: all of whose labels are in `labels`.
        preprocessing: of the network.
        labels: names of the K classes.
        soft: targets are the annotators' votes where there are any.
        augmentation: None for evaluation.
        seed: of the augmentation.
        small: (size, epochs): the first so many epochs come at this smaller size.
        inputs: further items: "landmarks" float32 [5, 2], the mean face's where a sample has none; "unlabelled", a
            picture as "images" is.
        unlabelled: the samples that "unlabelled" draws from.
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
        inputs: Sequence[str] = (),
        unlabelled: Sequence[Sample] = (),
    ) -> None:
        self.samples, self.preprocessing, self.labels = samples, preprocessing, labels
        self.small_epochs = small[1]
        self.small = preprocessing
        if self.small_epochs:
            # the same part of the crop, so that a face is as large in the picture as later
            resize = preprocessing.resize and round(preprocessing.resize * small[0] / preprocessing.size)
            self.small = replace(preprocessing, size=small[0], resize=resize)
        self.soft, self.augmentation, self.seed = soft, augmentation, seed
        self.inputs, self.unlabelled = inputs, unlabelled

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int | tuple[int, int, int]) -> dict[str, Tensor]:
        epoch, place, index = index if isinstance(index, tuple) else (0, index, index)
        sample = self.samples[index]
        # The place in the epoch is in the seed because class balancing shows a rare picture several times.
        image, landmarks = self.picture(sample, epoch, (self.seed, epoch, place))
        item = {
            "images": torch.from_numpy(image),
            "targets": torch.from_numpy(sample.target(self.labels, self.soft)),
            "index": torch.tensor(index),
        }
        if "landmarks" in self.inputs:
            item["landmarks"] = torch.from_numpy(landmarks)
        if "unlabelled" in self.inputs:
            rng = np.random.default_rng((self.seed, epoch, place, 1))
            other = self.unlabelled[int(rng.integers(len(self.unlabelled)))]
            item["unlabelled"] = torch.from_numpy(self.picture(other, epoch, (self.seed, epoch, place, 2))[0])
        return item

    def picture(self, sample: Sample, epoch: int, seed: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        """The network's input float32 [3, size, size], and the landmarks in it, float32 [5, 2]."""
        points = np.array(sample.landmarks or MEAN_LANDMARKS, np.float64).reshape(5, 2)
        if self.augmentation is None:
            return self.preprocessing([sample.crop()])[0], self.preprocessing.to_input(points).astype(np.float32)
        preprocessing = self.small if epoch < self.small_epochs else self.preprocessing
        rng = np.random.default_rng(seed)
        image, points = self.augmentation.with_points(sample.crop(), points, preprocessing, rng)
        return preprocessing.normalize(image[None])[0], points.astype(np.float32)


def evaluation_loader(dataset: FaceDataset, batch_size: int = 64, workers: int = 0) -> DataLoader[dict[str, Tensor]]:
    """The whole data set once, in its order."""
    return DataLoader(dataset, batch_size, num_workers=workers, pin_memory=torch.cuda.is_available())


def training_loader(
    dataset: FaceDataset, sampler: EpochSampler, batch_size: int, workers: int = 0
) -> DataLoader[dict[str, Tensor]]:
    """An epoch in the sampler's order; a last batch too small to fill is left out."""
    return DataLoader(
        dataset,
        batch_size,
        sampler=sampler,
        num_workers=workers,
        drop_last=len(sampler) > batch_size,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
    )
