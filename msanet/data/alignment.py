"""Faces in the crops of data sets, found and cut as recognition finds and cuts them in photographs."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from msanet.data.sample import Sample
from msanet.errors import InputError
from msanet.faces.aligner import ALIGNED, MARGINS, Aligner
from msanet.faces.crops import place, to_crop
from msanet.faces.detector import YUNET_SHA256
from msanet.files import replacing
from msanet.preprocessing import Framing, Preprocessing

PART = 2048
"""Pictures looked at between two writes of what was found, so that a search cut short goes on from there."""


def aligned(
    samples: Sequence[Sample], preprocessing: Preprocessing, workers: int = 0, landmarks: bool = False
) -> list[Sample]:
    """The samples, with a `placement` if the preprocessing says `align`, and then or if asked for with `landmarks`.

    A crop in which no face is found stays as it is, and so does a sample that has a placement. Looking takes about
    40 ms a picture and processor core, so what was found is kept in `cache_folder()`.

    Args:
        samples: of any data set.
        preprocessing: of the network.
        workers: processes that look for faces; 0: this one.
        landmarks: they are wanted even where crops are not aligned.

    Raises:
        InputError: a picture cannot be read.
    """
    if not preprocessing.align and not landmarks:
        return list(samples)
    result = list(samples)
    waiting = [index for index, sample in enumerate(samples) if not sample.placement]
    rows = _found([samples[index] for index in waiting], workers)
    for index, row in zip(waiting, rows, strict=True):
        if not np.isfinite(row).all():
            continue
        box, points, sides = row[:4], row[4:14].reshape(5, 2), row[14:]
        if preprocessing.align:
            placement = place(box, points, preprocessing.framing)
            own, points = tuple(placement.ravel().tolist()), to_crop(placement, points)
        else:
            own, points = (), points / sides
        result[index] = replace(samples[index], placement=own, landmarks=tuple(points.ravel().tolist()))
    return result


def cache_folder() -> Path:
    """Where found faces are kept: msanet in $XDG_CACHE_HOME, or in ~/.cache. It may be deleted at any time."""
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "msanet"
    except RuntimeError:  # a container's user without a home
        return Path(tempfile.gettempdir()) / "msanet"


def _found(samples: Sequence[Sample], workers: int) -> np.ndarray:
    """float64 [N, 16]: box and landmarks of each sample's face, NaN without one, and width and height of its crop."""
    how = repr((MARGINS, ALIGNED, YUNET_SHA256))
    path = cache_folder() / f"faces-{hashlib.blake2b(how.encode(), digest_size=8).hexdigest()}.npz"
    known = _read(path)
    digests = [sample.digest() for sample in samples]
    new = {digest: sample for digest, sample in zip(digests, samples, strict=True) if digest not in known}
    for start in range(0, len(new), PART):
        part = list(new)[start : start + PART]
        batches = DataLoader(_Search([new[digest] for digest in part]), 64, num_workers=workers)
        rows = np.concatenate([batch.numpy() for batch in batches])
        known = _read(path) | known | dict(zip(part, rows, strict=True))  # others may have written meanwhile
        _write(path, known)
    return np.array([known[digest] for digest in digests]).reshape(-1, 16)


def _read(path: Path) -> dict[bytes, np.ndarray]:
    """`Sample.digest` -> row of `_found`; nothing where there is no such file or it is damaged."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return {digest.tobytes(): row for digest, row in zip(file["digests"], file["faces"], strict=True)}
    except (OSError, ValueError, KeyError, BadZipFile):
        return {}


def _write(path: Path, known: dict[bytes, np.ndarray]) -> None:
    digests = np.frombuffer(b"".join(known), np.uint8).reshape(len(known), -1)
    with suppress(InputError), replacing(path) as temporary:  # a folder that cannot be written costs time, no more
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            np.savez(file, digests=digests, faces=np.array(list(known.values())))


class _Search(Dataset[Tensor]):
    """Samples -> float64 [16], see `_found`."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self.samples = samples

    @cached_property
    def aligner(self) -> Aligner:
        return Aligner(Framing())  # made at first use, in the loading process that uses it

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Tensor:
        crop = self.samples[index].crop()
        found = self.aligner.find(crop)
        row = np.full(14, np.nan) if found is None else found.ravel()
        return torch.from_numpy(np.concatenate([row, crop.shape[1::-1]]))
