"""folder:DIR, the plain layout: one sub-folder per expression, optionally below one folder per split."""

from __future__ import annotations

from pathlib import Path

from msanet import images
from msanet.data.samples import SPLITS, Sample, check_split, hold_out
from msanet.errors import InputError
from msanet.expressions import EXPRESSIONS

LAYOUT = "neutral/, happiness/, ... with pictures; or train/neutral/, ..., validation/, test/"
LICENSE = "yours"


def read(root: Path, split: str, *, validation: float = 0.1, seed: int = 0) -> list[Sample]:
    """The samples of DIR/SPLIT/EXPRESSION/.

    Without DIR/validation/, a part of the training pictures is held out for it. Where DIR holds the expressions
    themselves, "test" is all of its pictures, and "train" and "validation" share them: train on one folder, evaluate
    on another.

    Args:
        root: DIR.
        split: "train", "validation" or "test".
        validation: part of each expression's training pictures that is held out where there is no such folder.
        seed: of that choice.

    Raises:
        InputError: there is no such folder, a sub-folder is not an expression's name, or there are no pictures.
    """
    if not root.is_dir():
        raise InputError(f"{root} is not a folder: give the folder that holds one sub-folder per expression")
    check_split("folder", split)
    folders = [name for name in SPLITS if (root / name).is_dir()]
    shared = "validation" not in folders and split != "test"  # train and validation share one folder
    wanted = "train" if shared else split
    if folders and wanted not in folders:
        raise InputError(f"{root} has no split {split!r}: choose one of {', '.join(folders)}")
    folder = root / wanted if folders else root
    unknown = [path.name for path in folder.iterdir() if path.is_dir() and path.name not in EXPRESSIONS]
    if unknown:
        raise InputError(f"{folder}: {', '.join(sorted(unknown))} is no expression; rename to {', '.join(EXPRESSIONS)}")
    samples = [
        Sample(path, expression)
        for expression in EXPRESSIONS
        if (folder / expression).is_dir()
        for path in sorted((folder / expression).rglob("*"))
        if path.suffix.lower() in images.SUFFIXES
    ]
    if not samples:
        raise InputError(f"{folder} holds no pictures in folders named {', '.join(EXPRESSIONS)}")
    return hold_out(samples, split, validation, seed) if shared else samples
