"""folder:DIR, the plain layout: one sub-folder per expression, optionally below one folder per split."""

from __future__ import annotations

from pathlib import Path

from msanet import images
from msanet.data.reader import Reader
from msanet.data.sample import (
    SPLITS,
    Sample,
    check_split,
    duplicates_of,
    hold_out,
    warn_of_no_split,
    without_duplicates,
)
from msanet.errors import InputError
from msanet.labels import EXPRESSIONS

NAMES = {name: name for name in EXPRESSIONS} | {
    "happy": "happiness",
    "sad": "sadness",
    "surprised": "surprise",
    "fearful": "fear",
    "afraid": "fear",
    "scared": "fear",
    "disgusted": "disgust",
    "angry": "anger",
    "contemptuous": "contempt",
}
"""What a sub-folder may be called, in any case -> the expression. CK+, FER2013 and others use the adjectives."""

SPLIT_NAMES = {"train": "train", "validation": "validation", "valid": "validation", "val": "validation", "test": "test"}
LAYOUT = "neutral/, happiness/ (or happy/), ... with pictures, such as CK+; or train/neutral/, ..., validation/, test/"
LICENSE = "yours"


def read(root: Path, split: str, *, validation: float = 0.1, seed: int = 0, duplicates: bool = False) -> list[Sample]:
    """The samples of DIR/SPLIT/EXPRESSION/.

    Without DIR/validation/, a part of the training pictures is held out for it. Where DIR holds the expressions
    themselves, "test" is all of its pictures, and "train" and "validation" share them, with a warning: train on one
    folder, evaluate on another.

    Args:
        root: DIR.
        split: "train", "validation" or "test".
        validation: part of each expression's training pictures that is held out where there is no such folder.
        seed: of that choice.
        duplicates: keep training pictures whose file is in the validation or the test split too, and validation
            pictures whose file is in the test split too. A warning counts them.

    Raises:
        InputError: there is no such folder, a sub-folder is not an expression's name, or there are no pictures.
    """
    if not root.is_dir():
        raise InputError(f"{root} is not a folder: give the folder that holds one sub-folder per expression")
    check_split("folder", split)
    folders = {SPLIT_NAMES[path.name]: path for path in root.iterdir() if path.is_dir() and path.name in SPLIT_NAMES}
    shared = "validation" not in folders and split != "test"  # train and validation share one folder
    wanted = "train" if shared else split
    if folders and wanted not in folders:
        raise InputError(f"{root} has no split {split!r}: choose one of {', '.join(folders)}")
    samples = pictures(folders.get(wanted, root))
    if shared and not folders:
        warn_of_no_split(root)
    if shared:
        samples = hold_out(samples, split, validation, seed)
    for other in SPLITS[SPLITS.index(wanted) + 1 :]:
        if other in folders:
            found = duplicates_of(samples, pictures(folders[other]))
            samples = without_duplicates(samples, split, found, other, duplicates)
    return samples


def pictures(folder: Path) -> list[Sample]:
    """All pictures below the expressions' sub-folders, in the order of the expressions and then of the paths."""
    found = {path: NAMES.get(path.name.lower(), "") for path in sorted(folder.iterdir()) if path.is_dir()}
    unknown = [path.name for path, expression in found.items() if not expression]
    if unknown:
        raise InputError(f"{folder}: {', '.join(unknown)} is no expression; rename to {', '.join(EXPRESSIONS)}")
    samples = [
        Sample(path, expression)
        for own, expression in sorted(found.items(), key=lambda item: EXPRESSIONS.index(item[1]))
        for path in sorted(own.rglob("*"))
        if path.suffix.lower() in images.PICTURE_SUFFIXES
    ]
    if not samples:
        raise InputError(f"{folder} holds no pictures in folders named {', '.join(EXPRESSIONS)}")
    return samples


READER = Reader(read=read, layout=LAYOUT, license=LICENSE, labels=(), held_out=("validation", "seed"))
