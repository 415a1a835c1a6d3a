"""Name -> data set reader. A new data set is one file in this folder and one line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from msanet.data import affectnet, expw, fer2013, ferplus, folder, listing, rafdb
from msanet.data.sample import SPLITS, Sample
from msanet.data.subsets import SUBSETS
from msanet.errors import InputError
from msanet.labels import EXPRESSIONS, expressions_for

__all__ = ["READERS", "SPLITS", "SUBSETS", "Reader", "expressions_of", "parse", "read", "subsets_of"]


@dataclass(frozen=True)
class Reader:
    """How a data set is read.

    Args:
        read: (root, split, **options) -> samples.
        layout: what it wants on disk, in words.
        license: what its owners ask.
        protocol: which pictures count, in words.
        labels: what its labels tell apart; empty: the labels that it has pictures of.
        read_subset: (root, subset name, **options) -> samples of the test split, for pose and occlusion.
        lists: subset name -> name of its list in the folder subsets/; empty: it has no subsets.
        official_counts: split -> label -> number of pictures, where the owners publish it.
        official_options: named arguments of `read` under which these counts hold.
        held_out: names of the arguments of `read` that decide which training pictures are held out for validation.
        note: what else to know of the counts.
    """

    read: Callable[..., list[Sample]]
    layout: str
    license: str
    protocol: str = "all pictures"
    labels: tuple[str, ...] = EXPRESSIONS
    read_subset: Callable[..., list[Sample]] | None = None
    lists: Mapping[str, str] = field(default_factory=dict)
    official_counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    official_options: Mapping[str, Any] = field(default_factory=dict)
    held_out: tuple[str, ...] = ()
    note: str = ""


READERS: dict[str, Reader] = {
    "ferplus": Reader(
        ferplus.read,
        ferplus.LAYOUT,
        ferplus.LICENSE,
        ferplus.PROTOCOL,
        read_subset=ferplus.read_subset,
        lists={name: file for name, (file, _) in ferplus.LISTS.items()},
        official_counts=ferplus.OFFICIAL_COUNTS,
        official_options={"duplicates": True},
    ),
    "rafdb": Reader(
        rafdb.read,
        rafdb.LAYOUT,
        rafdb.LICENSE,
        rafdb.PROTOCOL,
        expressions_for(7),
        rafdb.read_subset,
        {name: file for name, (file, _) in rafdb.LISTS.items()},
        rafdb.OFFICIAL_COUNTS,
        {"validation": 0},
        ("validation", "seed"),
        rafdb.NOTE,
    ),
    "affectnet": Reader(
        affectnet.read,
        affectnet.LAYOUT,
        affectnet.LICENSE,
        affectnet.PROTOCOL,
        read_subset=affectnet.read_subset,
        lists={name: file for name, (file, _) in affectnet.LISTS.items()},
        official_counts=affectnet.OFFICIAL_COUNTS,
        official_options={"validation": 0},
        held_out=("validation", "seed"),
        note=affectnet.NOTE,
    ),
    "fer2013": Reader(
        fer2013.read,
        fer2013.LAYOUT,
        fer2013.LICENSE,
        fer2013.PROTOCOL,
        expressions_for(7),
        official_counts=fer2013.OFFICIAL_COUNTS,
        official_options={"duplicates": True},
        note=fer2013.NOTE,
    ),
    "expw": Reader(
        expw.read,
        expw.LAYOUT,
        expw.LICENSE,
        expw.PROTOCOL,
        expressions_for(7),
        official_counts=expw.OFFICIAL_COUNTS,
        held_out=("validation", "seed"),
    ),
    "folder": Reader(folder.read, folder.LAYOUT, folder.LICENSE, labels=(), held_out=("validation", "seed")),
    "list": Reader(listing.read, listing.LAYOUT, listing.LICENSE, labels=(), held_out=("validation", "seed")),
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


def subsets_of(source: str) -> list[str]:
    """Names of the subsets of NAME:DIR whose published lists lie in DIR/subsets/."""
    _, reader, root = parse(source)
    return [name for name, file in reader.lists.items() if (root / "subsets" / file).is_file()]


def expressions_of(source: str, samples: Sequence[Sample]) -> tuple[str, ...]:
    """What the labels of a data set tell apart, in the canonical order.

    A plain folder tells apart what it has pictures of, so a CK+ without neutral has seven. A folder of one label
    alone tells it apart from all others.
    """
    _, reader, _ = parse(source)
    shown = {sample.label for sample in samples}
    found = reader.labels or tuple(name for name in EXPRESSIONS if name in shown)
    return found if len(found) > 1 else EXPRESSIONS
