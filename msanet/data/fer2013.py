"""FER2013 with the challenge's own labels (Goodfellow et al., ICONIP 2013): its csv, or FERPlus's pictures."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from msanet.data.ferplus import FOLDERS, USAGES
from msanet.data.reader import Reader
from msanet.data.sample import Sample, check_split, duplicates_of, open_csv, present, without_duplicates
from msanet.errors import InputError
from msanet.labels import expressions_for

CODES = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
SIDE = 48
"""Pixels of a picture's side."""

LAYOUT = (
    "fer2013.csv (emotion, pixels, Usage); or FERPlus's folders and fer2013_emotions.csv (Image name, Usage, emotion)"
)
LICENSE = "ICML 2013 challenge (Kaggle): research use, not to be redistributed"
PROTOCOL = "the challenge's single labels, PublicTest as validation split and PrivateTest as test split"
OFFICIAL_COUNTS = {
    "train": dict(zip(CODES, (3995, 436, 4097, 7215, 4830, 3171, 4965), strict=True)),
    "validation": dict(zip(CODES, (467, 56, 496, 895, 653, 415, 607), strict=True)),
    "test": dict(zip(CODES, (491, 55, 528, 879, 594, 416, 626), strict=True)),
}
NOTE = "FERPlus's folders hold 28,558, 3,579 and 3,573 of the 28,709, 3,589 and 3,589 pictures"


@dataclass(frozen=True)
class PixelRow(Sample):
    """A picture inside the csv: `path` is the csv, and the picture is read from its line when it is needed.

    Args:
        line: number of the line, the first being 1.
        offset: where it begins in the file, bytes.
    """

    line: int = 0
    offset: int = 0

    @property
    def name(self) -> str:
        return f"{self.path.name}, line {self.line}"

    def pixels(self) -> bytes:
        """The numbers as they stand in the line: by far its longest field."""
        with self.path.open("rb") as file:
            file.seek(self.offset)
            return max(file.readline().split(b","), key=len).strip(b' "\r\n')

    def picture(self) -> np.ndarray:
        try:
            grey = np.array([int(value) for value in self.pixels().split()], np.uint8).reshape(SIDE, SIDE)
        except (ValueError, OverflowError):
            raise InputError(f"{self.path}, line {self.line}: not {SIDE * SIDE} numbers 0 to 255; correct it") from None
        return np.repeat(grey[:, :, None], 3, axis=2)

    def digest(self) -> bytes:
        return hashlib.blake2b(self.pixels(), digest_size=16).digest()


def read(root: Path, split: str, *, duplicates: bool = False) -> list[Sample]:
    """The samples of a split.

    Args:
        root: folder that holds fer2013.csv; or FERPlus's three folders and fer2013_emotions.csv, which joins the names
            of its pictures with the challenge's labels.
        split: "train", "validation" or "test".
        duplicates: keep training pictures that repeat a validation or test picture pixel for pixel. A warning counts
            them.

    Raises:
        InputError: the folder is of neither layout, none of its pictures is there, or a line is broken.
    """
    check_split("fer2013", split)
    if (root / "fer2013.csv").is_file():
        rows = list(read_csv(root / "fer2013.csv"))
    elif (root / "fer2013_emotions.csv").is_file():
        rows = list(read_names(root, root / "fer2013_emotions.csv"))
    else:
        raise InputError(f"{root} holds neither fer2013.csv nor fer2013_emotions.csv: give the folder of FER2013")
    samples = present([sample for usage, sample in rows if usage == split], root)
    if split != "train":
        return samples
    others = [sample for usage, sample in rows if usage != "train" and sample.path.is_file()]
    found = duplicates_of(samples, others)
    return without_duplicates(samples, split, found, "validation or the test", duplicates)


def read_csv(path: Path) -> Iterator[tuple[str, Sample]]:
    """Split and sample of each line; the csv has 287 MB, of which one line at a time is held."""
    with path.open("rb") as file:
        header = [name.strip().lower() for name in file.readline().decode("utf-8-sig", "replace").split(",")]
        absent = {"emotion", "pixels", "usage"} - set(header)
        if absent:
            raise InputError(f"{path} lacks the columns {', '.join(sorted(absent))}: it is not the challenge's")
        offset = file.tell()
        for number, line in enumerate(file, 2):
            if line.strip():
                fields = dict(zip(header, (field.strip(b' "\r\n') for field in line.split(b",")), strict=False))
                try:
                    split, expression = _labels(fields["usage"].decode(), fields["emotion"].decode())
                    if fields["pixels"].count(b" ") != SIDE * SIDE - 1:
                        raise ValueError
                except (KeyError, ValueError):
                    raise InputError(
                        f"{path}, line {number}: not an emotion 0 to 6, {SIDE * SIDE} pixels and a usage; correct it"
                    ) from None
                yield split, PixelRow(path, expression, line=number, offset=offset)
            offset += len(line)


def read_names(root: Path, path: Path) -> Iterator[tuple[str, Sample]]:
    """Split and sample of each picture that the csv names; of a name that stands twice the last row, as in FERPlus."""
    found: dict[str, tuple[str, Sample]] = {}
    with open_csv(path) as file:
        reader = csv.DictReader(file)
        absent = {"Image name", "Usage", "emotion"} - set(reader.fieldnames or ())
        if absent:
            raise InputError(f"{path} lacks the columns {', '.join(sorted(absent))}: give the csv of names and labels")
        for row in reader:
            try:
                split, expression = _labels(row["Usage"], row["emotion"])
            except (KeyError, ValueError, TypeError):
                raise InputError(
                    f"{path}, line {reader.line_num}: not a usage and an emotion 0 to 6; correct it"
                ) from None
            if row["Image name"]:  # 173 pictures of the challenge are not among FERPlus's
                found[row["Image name"]] = split, Sample(root / FOLDERS[split] / row["Image name"], expression)
    yield from found.values()


def _labels(usage: str, emotion: str) -> tuple[str, str]:
    """Split and expression of a row's codes.

    Raises:
        KeyError, ValueError: one is none.
    """
    code = int(emotion)
    if not 0 <= code < len(CODES):
        raise ValueError
    return USAGES[usage], CODES[code]


READER = Reader(
    read=read,
    layout=LAYOUT,
    license=LICENSE,
    protocol=PROTOCOL,
    labels=expressions_for(7),
    official_counts=OFFICIAL_COUNTS,
    official_options={"duplicates": True},
    note=NOTE,
)
