"""Name -> data set. A new one is one file in this folder and one line here; a plug-in writes to `READERS`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from msanet.data import affectnet, expw, fer2013, ferplus, folder, listing, rafdb
from msanet.data.reader import Reader, check_options
from msanet.data.sample import SPLITS, Sample
from msanet.data.subsets import SUBSETS
from msanet.errors import InputError
from msanet.labels import EXPRESSIONS, check_labels, in_order

__all__ = ["READERS", "SPLITS", "SUBSETS", "Reader", "labels_of", "parse", "read", "subsets_of"]

READERS: dict[str, Reader] = {
    "ferplus": ferplus.READER,
    "rafdb": rafdb.READER,
    "affectnet": affectnet.READER,
    "fer2013": fer2013.READER,
    "expw": expw.READER,
    "folder": folder.READER,
    "list": listing.READER,
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
    if subset is None:
        check_options(name, reader.read, options)
        return reader.read(root, split, **options)
    if reader.read_subset is None or split != "test":
        raise InputError(f"{name} has no subset {subset!r} of its {split} split")
    check_options(name, reader.read_subset, options)
    return reader.read_subset(root, subset, **options)


def subsets_of(source: str) -> list[str]:
    """Names of the subsets of NAME:DIR whose published lists lie in DIR/subsets/."""
    _, reader, root = parse(source)
    return [name for name, file in reader.lists.items() if (root / "subsets" / file).is_file()]


def labels_of(source: str, samples: Sequence[Sample]) -> tuple[str, ...]:
    """What a data set tells apart, in order: the expressions first, then other labels by the alphabet.

    A plain folder tells apart what it has pictures of, in any of its splits, so a CK+ without neutral has seven. One
    expression alone is told apart from all others.

    Args:
        source: NAME:DIR.
        samples: of any of its splits.

    Raises:
        InputError: it has one label, which is no expression, so that there is nothing to tell apart.
    """
    _, reader, root = parse(source)
    if reader.labels:
        return reader.labels
    found = in_order([sample.label for sample in samples] if reader.find_labels is None else reader.find_labels(root))
    return EXPRESSIONS if len(found) < 2 and set(found) <= set(EXPRESSIONS) else check_labels(found)
