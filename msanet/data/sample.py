"""A labelled picture, and what readers of data sets share."""

from __future__ import annotations

import csv
import hashlib
import os
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np

from msanet import images
from msanet.errors import InputError
from msanet.faces.crops import LEAST, cut
from msanet.labels import in_order
from msanet.preprocessing import is_number, is_whole

SPLITS = ("train", "validation", "test")


def check_split(data_set: str, split: str) -> None:
    """Raise an InputError where `split` is none of `SPLITS`."""
    if split not in SPLITS:
        raise InputError(f"{data_set} has no split {split!r}: choose one of {', '.join(SPLITS)}")


@contextmanager
def open_csv(path: Path) -> Iterator[TextIO]:
    """A csv file to be read by the csv module.

    Raises:
        InputError: it is no csv file, or cannot be read.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
            yield file
    except csv.Error as error:
        raise InputError(f"{path} is no csv file ({error}): look for a quotation mark that is not closed") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): check its permissions") from None


class DataWarning(UserWarning):
    """Pictures that a reader leaves out, or that count twice: the sentence, and all of them in `names`."""

    def __init__(self, sentence: str, names: Iterable[str] = ()) -> None:
        super().__init__(sentence)
        self.names = tuple(names)


class NoSplitWarning(DataWarning):
    """A data set without splits is trained on, whose test split holds the same pictures."""


@dataclass(frozen=True)
class Sample:
    """One labelled face. A reader whose pictures are not files of their own derives from it.

    Args:
        path: the picture.
        label: what the data set says it shows.
        votes: label and share of the annotators' votes, for each label that has some, summing to 1; empty where there
            is but one label.
        box: x1, y1, x2, y2 in pixels of the face in the picture; None: the picture is the face crop.
        placement: where the face lies in that crop, the six numbers of a map [2, 3] (`faces.crops.place`), row by row,
            by which it is cut anew; empty: the crop stays as it is.
        landmarks: x, y of the five landmarks (`Face`'s order), row by row, in the crop that `crop` gives, whose sides
            are 0..1; empty: not known.
        person: who it is, where the data set says so; empty: not known.
    """

    path: Path
    label: str
    votes: tuple[tuple[str, float], ...] = ()
    box: tuple[float, float, float, float] | None = None
    placement: tuple[float, ...] = ()
    landmarks: tuple[float, ...] = ()
    person: str = ""

    @property
    def name(self) -> str:
        """What to call the picture in a message: the end of its path."""
        return self.path.name

    def picture(self) -> np.ndarray:
        """The whole picture, RGB uint8 [H, W, 3].

        Raises:
            InputError: it cannot be read.
        """
        return images.read(self.path)

    def digest(self) -> bytes:
        """Equal for equal files and boxes."""
        return hashlib.blake2b(self.path.read_bytes() + repr(self.box).encode(), digest_size=16).digest()

    def crop(self) -> np.ndarray:
        """The face, RGB uint8 [H, W, 3].

        Raises:
            InputError: the picture cannot be read, or the box lies outside of it.
        """
        crop = self.picture()
        if self.box is not None:
            x1, y1, x2, y2 = (max(round(value), 0) for value in self.box)
            crop = crop[y1:y2, x1:x2]
            if 0 in crop.shape:
                raise InputError(
                    f"{self.path}: the face box {self.box} lies outside the picture; correct the label file"
                )
        return cut(crop, np.reshape(self.placement, (2, 3)), LEAST) if self.placement else crop

    def target(self, labels: Sequence[str], soft: bool) -> np.ndarray:
        """Float32 [len(labels)] summing to 1: the votes if `soft` and there are any, else 1 at the label."""
        if soft and self.votes:
            shares = dict(self.votes)
            votes = np.array([shares.get(name, 0.0) for name in labels], np.float32)
            if votes.sum() > 0:
                return votes / votes.sum()
        return np.array([name == self.label for name in labels], np.float32)


def count(samples: Sequence[Sample], labels: Sequence[str] = ()) -> dict[str, int]:
    """Number of samples of each label; of those that occur, in order, where none are named."""
    counts = Counter(sample.label for sample in samples)
    return {name: counts[name] for name in labels or in_order(list(counts))}


def targets_of(samples: Sequence[Sample], labels: Sequence[str]) -> np.ndarray:
    """int64 [N], the place of each sample's label in `labels`."""
    return np.array([labels.index(sample.label) for sample in samples], np.int64)


def unique(samples: Sequence[Sample], path: Path) -> list[Sample]:
    """The samples without those whose picture and box came before; a warning counts these.

    Args:
        samples: as listed.
        path: of the list, for the warning.
    """
    kept: dict[object, Sample] = {}
    repeats = []
    for sample in samples:
        if kept.setdefault((sample.path, sample.box), sample) is not sample:
            repeats.append(sample)
    _warn(repeats, len(samples), f"rows of {path} repeat a picture and are left out")
    return list(kept.values())


def present(samples: Sequence[Sample], root: Path) -> list[Sample]:
    """The samples whose pictures are on disk; a warning counts the others.

    Each folder is listed once, which is faster than asking for each file.

    Raises:
        InputError: none is there.
    """
    names: dict[Path, set[str]] = {}
    kept: list[Sample] = []
    missing: list[Sample] = []
    for sample in samples:
        folder = sample.path.parent
        if folder not in names:
            names[folder] = set(os.listdir(folder)) if folder.is_dir() else set()
        (kept if sample.path.name in names[folder] else missing).append(sample)
    if not kept:
        raise InputError(f"{root}: none of {len(missing):,} listed pictures is there; unpack the pictures of this set")
    _warn(missing, len(samples), "listed pictures are missing and left out")
    return kept


def duplicates_of(samples: Sequence[Sample], others: Sequence[Sample]) -> list[Sample]:
    """Those of the samples that are, byte for byte, among the others; only files of equal size are opened."""
    sizes = [{os.path.getsize(sample.path) for sample in side} for side in (samples, others)]
    common = sizes[0] & sizes[1]
    digests = {sample.digest() for sample in others if os.path.getsize(sample.path) in common}
    return [sample for sample in samples if os.path.getsize(sample.path) in common and sample.digest() in digests]


def without_duplicates(
    samples: list[Sample], split: str, duplicates: Sequence[Sample], other: str, keep: bool
) -> list[Sample]:
    """A split's samples without those that are in another split too, or all, to `keep` them; a warning counts them.

    Args:
        samples: of the split, after validation pictures were held out, so that the choice of these does not change.
        split: its name.
        duplicates: pictures that are in the other split too, see `duplicates_of`; among them may be more than samples.
        other: name of the other split.
        keep: leave them in.
    """
    found = set(duplicates)
    here = [sample for sample in samples if sample in found]
    words = f"pictures of the {split} split are in the {other} split too"
    _warn(here, len(samples), words if keep else f"{words} and are left out")
    return samples if keep else [sample for sample in samples if sample not in found]


def warn_of_no_split(root: Path) -> None:
    """Warn that what is trained on is all of a data set's pictures, its test split included."""
    warnings.warn(
        NoSplitWarning(
            f"{root} has no split of its own, so its test split holds the training pictures: test elsewhere"
        ),
        stacklevel=3,
    )


def _warn(samples: Sequence[Sample], total: int, words: str) -> None:
    if samples:
        sentence = f"{len(samples):,} of {total:,} {words}, the first {samples[0].name}"
        warnings.warn(DataWarning(sentence, [sample.name for sample in samples]), stacklevel=3)


def hold_out(samples: Sequence[Sample], split: str, part: float, seed: int) -> list[Sample]:
    """The "train" or the "validation" side of a set without a validation split of its own, in the samples' order.

    Where each sample names its person, whole people are held out: at least one, and never all.

    Args:
        samples: the official training set.
        split: "train" or "validation".
        part: of each label's pictures, or of the people, that goes to validation, 0 to below 1; 0: training has all.
        seed: of the choice.

    Raises:
        InputError: `part` or `seed` is out of its range, or validation is asked for and empty.
    """
    if not (is_number(part, 0, 1) and part < 1):
        raise InputError(f"validation is {part!r}: give a part of the training pictures from 0 to below 1")
    if not is_whole(seed, 0, 2**64):
        raise InputError(f"the seed of what is held out is {seed!r}: give a whole number from 0")
    rng, held = np.random.default_rng(seed), set[int]()
    people = sorted({sample.person for sample in samples})
    if "" not in people:
        number = min(max(round(part * len(people)), 1), len(people) - 1) if part else 0
        chosen = set(rng.permutation(people)[:number].tolist())
        held = {index for index, sample in enumerate(samples) if sample.person in chosen}
    else:
        for label in in_order([sample.label for sample in samples]):
            own = [index for index, sample in enumerate(samples) if sample.label == label]
            held |= set(rng.permutation(own)[: round(part * len(own))].tolist())
    if split == "validation" and not held:
        raise InputError(f"no picture is held out for validation with validation={part}: raise it, or add pictures")
    return [sample for index, sample in enumerate(samples) if (index in held) == (split == "validation")]
