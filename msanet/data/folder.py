"""folder:DIR, the plain layout: one sub-folder per label, optionally below one folder per split."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from msanet import images
from msanet.data.folds import take_fold, with_person
from msanet.data.naming import labels_by_name
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
from msanet.labels import in_order

SPLIT_NAMES = {"train": "train", "validation": "validation", "valid": "validation", "val": "validation", "test": "test"}
LAYOUT = (
    "a folder of pictures for each label, such as neutral/, happiness/ (or happy/), ... or any other names; or "
    "train/neutral/, ..., validation/, test/"
)
LICENSE = "yours"


def read(
    root: Path,
    split: str,
    *,
    validation: float = 0.1,
    seed: int = 0,
    duplicates: bool = False,
    fold: str = "",
    person: str = "",
) -> list[Sample]:
    """The samples of DIR/SPLIT/LABEL/.

    Where all sub-folders of all splits are names of expressions, these are the labels, else the names as they stand.
    Without DIR/validation/, a part of the training pictures is held out for it. Where DIR holds the labels themselves,
    "test" is all of its pictures, and "train" and "validation" share them, with a warning: train on one folder,
    evaluate on another, or use folds.

    Args:
        root: DIR.
        split: "train", "validation" or "test".
        validation: part of each label's training pictures that is held out where there is no such folder, or of the
            people where they are known; 0 trains on all.
        seed: of that choice.
        duplicates: keep training pictures whose file is in the validation or the test split too, and validation
            pictures whose file is in the test split too. A warning counts them.
        fold: "3/10": the third of ten folds by person, see `folds.take_fold`, of a DIR that holds the labels.
        person: regular expression with one group: the person in a file name, such as (S[0-9]+)_ for CK+.

    Raises:
        InputError: there is no such folder, split or fold, a name cannot be a label or stands for the same as another,
            or a folder has no pictures.
    """
    check_split("folder", split)
    folders = split_folders(root)
    labels = labels_in(root, folders)
    if fold:
        if folders:
            raise InputError(f"{root} has splits of its own: leave fold away, or put all pictures into one folder each")
        if not person:
            raise InputError("folds are by person: give person, a regular expression that finds it in a file name")
        return take_fold(pictures(root, labels, person), split, fold, validation, seed)
    shared = "validation" not in folders and split != "test"  # train and validation share one folder
    wanted = "train" if shared else split
    if folders and wanted not in folders:
        raise InputError(f"{root} has no split {split!r}: choose one of {', '.join(folders)}")
    samples = pictures(folders.get(wanted, root), labels, person)
    if shared and not folders:
        warn_of_no_split(root)
    if shared:
        samples = hold_out(samples, split, validation, seed)
    for other in SPLITS[SPLITS.index(wanted) + 1 :]:
        if other in folders:
            found = duplicates_of(samples, pictures(folders[other], labels))
            samples = without_duplicates(samples, split, found, other, duplicates)
    return samples


def find_labels(root: Path) -> tuple[str, ...]:
    """The labels of DIR, in any of its splits."""
    return in_order(list(labels_in(root, split_folders(root)).values()))


def split_folders(root: Path) -> dict[str, Path]:
    """Split -> its folder, of a DIR that has splits."""
    if not root.is_dir():
        raise InputError(f"{root} is not a folder: give the folder that holds one sub-folder per label")
    paths = sorted(path for path in root.iterdir() if path.is_dir())
    return {SPLIT_NAMES[path.name]: path for path in paths if path.name in SPLIT_NAMES}


def label_folders(folder: Path) -> list[Path]:
    """The sub-folders that are not hidden, sorted."""
    return sorted(path for path in folder.iterdir() if path.is_dir() and path.name[0] != ".")


def labels_in(root: Path, folders: Mapping[str, Path]) -> dict[str, str]:
    """Name of a label's folder -> label, for the folders of all splits together."""
    names = [path.name for folder in folders.values() or [root] for path in label_folders(folder)]
    if not names:
        raise InputError(f"{root} holds no pictures in sub-folders: put those of each label into one of its name")
    return labels_by_name(names, root)


def pictures(folder: Path, labels: Mapping[str, str], person: str = "") -> list[Sample]:
    """All pictures below the labels' sub-folders, in the order of the labels and then of the paths."""
    found: dict[str, Path] = {}
    for path in label_folders(folder):
        other = found.setdefault(labels[path.name], path)
        if other != path:
            raise InputError(f"{folder}: {other.name} and {path.name} are the same label: put all into one of them")
    samples = []
    for label in in_order(list(found)):
        own = [
            Sample(path, label)
            for path in sorted(found[label].rglob("*"))
            if path.suffix.lower() in images.PICTURE_SUFFIXES and path.name[0] != "."
        ]
        if not own:
            raise InputError(f"{found[label]} holds no pictures: put some there, or delete the folder")
        samples += own
    if not samples:
        raise InputError(f"{folder} holds no pictures in sub-folders: put those of each label into one of its name")
    return with_person(samples, person) if person else samples


READER = Reader(
    read=read,
    layout=LAYOUT,
    license=LICENSE,
    find_labels=find_labels,
    held_out=("validation", "seed", "fold", "person"),
)
