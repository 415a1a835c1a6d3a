"""Name -> data set reader. A new data set is one file in this folder and one line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from msanet.data import affectnet, ferplus, folder, rafdb
from msanet.data.samples import SPLITS, Sample, count
from msanet.data.subsets import SUBSETS
from msanet.errors import InputError

__all__ = ["READERS", "SPLITS", "SUBSETS", "Reader", "count_splits", "parse", "read"]


@dataclass(frozen=True)
class Reader:
    """How a data set is read.

    Args:
        read: (root, split, **options) -> samples.
        layout: what it wants on disk, in words.
        license: what its owners ask.
        read_subset: (root, subset name) -> samples of the test split, for pose and occlusion; None: it has none.
        protocol: which pictures count, in words.
        official_counts: split -> expression -> number of pictures, where the owners publish it.
        official_options: named arguments of `read` under which these counts hold.
        held_out: names of the arguments of `read` that decide which training pictures are held out for validation.
    """

    read: Callable[..., list[Sample]]
    layout: str
    license: str
    read_subset: Callable[..., list[Sample]] | None = None
    protocol: str = "all pictures"
    official_counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    official_options: Mapping[str, Any] = field(default_factory=dict)
    held_out: tuple[str, ...] = ()


READERS: dict[str, Reader] = {
    "ferplus": Reader(
        ferplus.read,
        ferplus.LAYOUT,
        ferplus.LICENSE,
        ferplus.read_subset,
        ferplus.PROTOCOL,
        ferplus.OFFICIAL_COUNTS,
        {"duplicates": True},
    ),
    "rafdb": Reader(
        rafdb.read,
        rafdb.LAYOUT,
        rafdb.LICENSE,
        rafdb.read_subset,
        rafdb.PROTOCOL,
        rafdb.OFFICIAL_COUNTS,
        {"validation": 0},
        ("validation", "seed"),
    ),
    "affectnet": Reader(
        affectnet.read,
        affectnet.LAYOUT,
        affectnet.LICENSE,
        affectnet.read_subset,
        affectnet.PROTOCOL,
        affectnet.OFFICIAL_COUNTS,
        {"validation": 0},
        ("validation", "seed"),
    ),
    "folder": Reader(folder.read, folder.LAYOUT, folder.LICENSE, held_out=("validation", "seed")),
}


def parse(source: str) -> tuple[str, Reader, Path]:
    """NAME:DIR -> the data set's name, its reader and the folder.

    Raises:
        InputError: no such data set, or no folder given.
    """
    name, colon, root = source.partition(":")
    if not colon or not root or name not in READERS:
        raise InputError(f"{source!r} is not NAME:DIR with a NAME of {', '.join(READERS)}, such as ferplus:~/ferplus")
    return name, READERS[name], Path(root).expanduser()


def read(source: str, split: str, subset: str | None = None, **options: Any) -> list[Sample]:
    """Samples of NAME:DIR.

    Args:
        source: NAME:DIR.
        split: "train", "validation" or "test".
        subset: "pose30", "pose45" or "occlusion" of the test split; None: the whole split.
        options: named arguments of the data set's reader.

    Raises:
        InputError: whatever the user has to mend in the name, the options or the files.
    """
    name, reader, root = parse(source)
    try:
        if subset is None:
            return reader.read(root, split, **options)
        if reader.read_subset is None or split != "test":
            raise InputError(f"{name} has no subset {subset!r} of its {split} split")
        return reader.read_subset(root, subset, **options)
    except TypeError as error:
        if "keyword argument" not in str(error):
            raise
        raise InputError(f"the reader of {name} has no option of that name: {error}") from None


def count_splits(source: str) -> list[tuple[str, str, int, int | None]]:
    """Split, expression, number of pictures and the official number (None: not published), for all of NAME:DIR.

    Raises:
        InputError: no split can be read.
    """
    _, reader, _ = parse(source)
    rows, failures = [], []
    for split in SPLITS:
        try:
            counts = count(read(source, split, **reader.official_options))
        except InputError as error:
            failures.append(error)
            continue
        official = reader.official_counts.get(split, {})
        rows += [(split, expression, number, official.get(expression)) for expression, number in counts.items()]
    if not rows:
        raise failures[0]
    return rows
