"""folder:DIR, the plain layout: one sub-folder per expression, optionally below one folder per split."""

from __future__ import annotations

from pathlib import Path

from msanet import images
from msanet.data.samples import Sample
from msanet.errors import InputError
from msanet.expressions import EXPRESSIONS

SPLITS = ("train", "validation", "test")
LAYOUT = "neutral/, happiness/, ... with pictures; or train/neutral/, ..., validation/, test/"
LICENSE = "yours"


def read(root: Path, split: str) -> list[Sample]:
    """The samples of DIR/SPLIT/EXPRESSION/; without a folder for the split, those of DIR/EXPRESSION/.

    Raises:
        InputError: there is no such folder, a sub-folder is not an expression's name, or there are no pictures.
    """
    if not root.is_dir():
        raise InputError(f"{root} is not a folder: give the folder that holds one sub-folder per expression")
    split_folders = [name for name in SPLITS if (root / name).is_dir()]
    if split_folders and split not in split_folders:
        raise InputError(f"{root} has no split {split!r}: choose one of {', '.join(split_folders)}")
    folder = root / split if split_folders else root
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
    return samples
