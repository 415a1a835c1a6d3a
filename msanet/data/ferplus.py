"""FERPlus (Barsoum et al., ICMI 2016): FER2013's pictures with the votes of ten annotators."""

from __future__ import annotations

import csv
import warnings
from collections import Counter
from pathlib import Path

import numpy as np

from msanet.data import subsets
from msanet.data.reader import Reader
from msanet.data.sample import DataWarning, Sample, check_split, duplicates_of, open_csv, present, without_duplicates
from msanet.errors import InputError
from msanet.labels import EXPRESSIONS

CODES = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")
"""The order of the csv's columns, and of the class codes in the subset lists."""

COLUMNS = (*CODES, "unknown", "NF")
MOST_VOTES = 1_000_000
"""Of a picture for one class; the official file has up to 10."""

FOLDERS = {"train": "FER2013Train", "validation": "FER2013Valid", "test": "FER2013Test"}
USAGES = {"Training": "train", "PublicTest": "validation", "PrivateTest": "test"}
LISTS = {
    "pose30": ("pose_30_ferplus_list.txt", r"(?P<label>[0-7])/(?P<name>fer\d{7})\.\w+\s*$"),
    "pose45": ("pose_45_ferplus_list.txt", r"(?P<label>[0-7])/(?P<name>fer\d{7})\.\w+\s*$"),
    "occlusion": ("occlusion_ferplus_list.txt", r"(?P<label>[0-7])_(?P<name>fer\d{7})\.\w+(\s|$)"),
}
LAYOUT = "FER2013Train/, FER2013Valid/, FER2013Test/ with ferNNNNNNN.png, fer2013new.csv; subsets/ with the lists"
PROTOCOL = "majority protocol (votes of one annotator alone dropped; the top vote holds more than half of the rest)"
TWICE = ("fer0006953.png", "fer0008403.png", "fer0011785.png", "fer0033120.png")
"""Names that stand twice in the official csv."""

OFFICIAL_COUNTS = {
    "train": dict(zip(CODES, (8739, 7287, 3149, 3013, 2099, 119, 532, 119), strict=True)),
    "validation": dict(zip(CODES, (1182, 865, 415, 351, 287, 24, 62, 13), strict=True)),
    "test": dict(zip(CODES, (1089, 893, 396, 384, 273, 18, 83, 16), strict=True)),
}
"""Pictures of each expression under the majority protocol, duplicates included."""
LICENSE = "labels MIT (Microsoft); pictures FER2013, ICML 2013 challenge: research use, not to be redistributed"


def read(root: Path, split: str, *, protocol: str = "majority", duplicates: bool = False) -> list[Sample]:
    """The samples of a split, `votes` holding the annotators' distribution.

    Votes of one annotator alone are dropped, as in FERPlus's own code. A picture whose top vote is "unknown" or "NF"
    (no face) is left out.

    Args:
        root: folder of the official layout.
        split: "train", "validation" or "test".
        protocol: "majority": the top vote must hold more than half of the votes that remain (25,057 / 3,199 / 3,152
            pictures); "top": it need not (28,386 / 3,553 / 3,545).
        duplicates: keep training pictures that repeat a validation or test picture pixel for pixel. A warning counts
            them. The literature trains with them.

    Raises:
        InputError: the folder is not of the layout, none of its pictures is there, or a line of the csv is broken.
    """
    check_split("ferplus", split)
    if protocol not in ("majority", "top"):
        raise InputError(f"ferplus has no protocol {protocol!r}: choose majority or top")
    votes = {name: row for name, (usage, row) in read_votes(root / "fer2013new.csv").items() if usage == split}
    samples = []
    for name, row in votes.items():
        kept = np.where(row > 1, row, 0)
        top = int(kept.argmax())
        share = kept[top] / max(kept.sum(), 1)
        if top >= len(CODES) or share == 0 or (protocol == "majority" and share <= 0.5):
            continue
        shares = dict(zip(CODES, kept[: len(CODES)] / kept[: len(CODES)].sum(), strict=True))
        distribution = tuple((name, float(shares[name])) for name in EXPRESSIONS if shares[name])
        samples.append(Sample(root / FOLDERS[split] / name, CODES[top], distribution))
    samples = present(samples, root / FOLDERS[split])
    if split != "train":
        return samples
    # Scored or not. FERPlus writes equal pictures as equal files, so files are compared.
    others = [Sample(path, "") for name in ("validation", "test") for path in (root / FOLDERS[name]).glob("*.png")]
    found = duplicates_of(samples, others)
    return without_duplicates(samples, split, found, "validation or the test", duplicates)


def read_votes(path: Path) -> dict[str, tuple[str, np.ndarray]]:
    """Picture name -> (split, votes int64 [10] in the order of `COLUMNS`); of a name that stands twice, the last row.

    Names beyond `TWICE` that do so are warned of.

    Raises:
        InputError: the file is missing or a line is broken.
    """
    if not path.is_file():
        raise InputError(f"{path} is missing: give the folder of FERPlus's official layout ({LAYOUT})")
    votes: dict[str, tuple[str, np.ndarray]] = {}
    rows: Counter[str] = Counter()
    with open_csv(path) as file:
        reader = csv.DictReader(file)
        absent = {"Usage", "Image name", *COLUMNS} - set(reader.fieldnames or ())
        if absent:
            raise InputError(
                f"{path} lacks the columns {', '.join(sorted(absent))}: it is not FERPlus's fer2013new.csv"
            )
        for row in reader:
            try:
                # 173 rows have no name: all NF, and not among the pictures.
                if row["Image name"]:
                    numbers = np.array([int(row[column]) for column in COLUMNS], np.int64)
                    if numbers.min() < 0 or numbers.max() > MOST_VOTES:
                        raise ValueError
                    rows[row["Image name"]] += 1
                    votes[row["Image name"]] = (USAGES[row["Usage"]], numbers)
            except (KeyError, ValueError, TypeError, OverflowError):
                raise InputError(f"{path}, line {reader.line_num}: not a usage and ten numbers; correct it") from None
    again = [name for name, number in rows.items() if number > 1 and name not in TWICE]
    if again:
        sentence = f"{len(again):,} names stand twice in {path}, the first {again[0]}: the last row counts"
        warnings.warn(DataWarning(sentence, again), stacklevel=2)
    return votes


def read_subset(root: Path, name: str, *, own_labels: bool = False) -> list[Sample]:
    """Pose-FERPlus or Occlusion-FERPlus: the test pictures of the list that pass the majority protocol.

    Args:
        root: folder of the official layout, with the published lists in subsets/.
        name: "pose30", "pose45" or "occlusion".
        own_labels: the list's labels in place of the majority protocol's.

    Raises:
        InputError: no such subset, or its list is missing or broken.
    """
    there = {path.stem for path in (root / FOLDERS["test"]).glob("*.png")}
    return subsets.read_subset(read(root, "test"), root, name, LISTS, CODES if own_labels else None, there)


READER = Reader(
    read=read,
    layout=LAYOUT,
    license=LICENSE,
    protocol=PROTOCOL,
    labels=EXPRESSIONS,
    read_subset=read_subset,
    lists={name: file for name, (file, _) in LISTS.items()},
    official_counts=OFFICIAL_COUNTS,
    official_options={"duplicates": True},
)
