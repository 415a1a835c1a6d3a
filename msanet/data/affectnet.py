"""AffectNet, manually annotated (Mollahosseini et al., IEEE TAC 2017), in both forms that its owners gave out."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np

from msanet.data import subsets
from msanet.data.reader import Reader
from msanet.data.sample import Sample, check_split, hold_out, open_csv, present, unique, without_duplicates
from msanet.errors import InputError
from msanet.labels import EXPRESSIONS

CODES = ("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger", "contempt")
"""Of the codes 0 to 7; 8 none, 9 uncertain and 10 no face are left out."""

COLUMNS = ("subDirectory_filePath", "face_x", "face_y", "face_width", "face_height", "facial_landmarks", "expression")
LISTS = {
    "pose30": ("pose_30_affectnet_list.txt", r"(?P<label>[0-7])/(?P<name>[0-9a-f]+)\.\w+\s*$"),
    "pose45": ("pose_45_affectnet_list.txt", r"(?P<label>[0-7])/(?P<name>[0-9a-f]+)/\S+\s*$"),
    "occlusion": ("occlusion_affectnet_list.txt", r"val/(?P<label>[0-7])/(?P<name>[0-9a-f]+)/?\s*$"),
}
LAYOUT = (
    "Manually_Annotated_file_lists/{training,validation}.csv and Manually_Annotated_Images/; or "
    "{train,val}_set/images/N.jpg and {train,val}_set/annotations/N_exp.npy; subsets/ with the lists"
)
LICENSE = "on signed agreement with the owners (mohammadmahoor.com/affectnet); not to be redistributed"
PROTOCOL = "single labels, the official validation set as test set"
NOTE = (
    "the paper prints 283,901 training pictures (seven classes, as here) and 2,992 test pictures (the official: 3,500)"
)
OFFICIAL_COUNTS = {
    "train": dict(zip(CODES, (74874, 134415, 25459, 14090, 6378, 3803, 24882, 3750), strict=True)),
    "test": dict.fromkeys(CODES, 500),
}


def read(root: Path, split: str, *, validation: float = 0.1, seed: int = 0, duplicates: bool = False) -> list[Sample]:
    """The samples of a split, eight expressions; a network of seven leaves contempt out.

    The official validation set is the test split, as in the literature. Listed pictures that are not on disk, and rows
    that repeat a picture, are skipped with a warning.

    Args:
        root: folder of either form.
        split: "train", "validation" or "test"; validation is held out of the official training set.
        validation: part of each expression's training pictures that is held out; 0 trains on all.
        seed: of that choice.
        duplicates: keep training pictures that the test list names too. A warning counts them.

    Raises:
        InputError: the folder is of neither form, a line or an annotation is broken, or no picture is there.
    """
    check_split("affectnet", split)
    found: list[Sample] = []
    lists, arrays = root / "Manually_Annotated_file_lists", root / ("val_set" if split == "test" else "train_set")
    if lists.is_dir():
        images = root / "Manually_Annotated_Images"
        path = lists / ("validation.csv" if split == "test" else "training.csv")
        samples = unique(list(read_csv(path, images)), path)
        if split != "test" and (lists / "validation.csv").is_file():
            test = {sample.path for sample in read_csv(lists / "validation.csv", images)}
            found = [sample for sample in samples if sample.path in test]
    elif arrays.is_dir():
        samples = list(read_arrays(arrays))
    else:
        raise InputError(f"{root} is not of AffectNet's layout: {LAYOUT}")
    samples = present(samples, root)
    if split == "test":
        return samples
    side = hold_out(samples, split, validation, seed)
    return without_duplicates(side, split, found, "test", duplicates)


def read_csv(path: Path, images: Path) -> Iterator[Sample]:
    """The first form: a table with a box for each face; its header may be missing."""
    if not path.is_file():
        raise InputError(f"{path} is missing: give the folder of AffectNet ({LAYOUT})")
    with open_csv(path) as file:
        rows = csv.reader(file)
        for row in rows:
            if rows.line_num == 1 and row[:1] == [COLUMNS[0]]:
                if tuple(row[: len(COLUMNS)]) != COLUMNS:
                    raise InputError(f"{path} has other columns than AffectNet's: {', '.join(COLUMNS)}, ...")
                continue
            try:
                code = int(row[6])
                if not 0 <= code <= 10:
                    raise ValueError
                if code < len(CODES):
                    x, y, width, height = map(float, row[1:5])
                    if not math.isfinite(x + y + width + height):
                        raise ValueError
                    yield Sample(images / row[0], CODES[code], box=(x, y, x + width, y + height))
            except (ValueError, IndexError):
                raise InputError(
                    f"{path}, line {rows.line_num}: not a picture, a box, landmarks and a code 0 to 10; correct it"
                ) from None


def read_arrays(folder: Path) -> Iterator[Sample]:
    """The later form: cut pictures, and an array (a number or its digits) for each label."""
    for path in sorted((folder / "annotations").glob("*_exp.npy"), key=lambda path: (len(path.name), path.name)):
        try:
            content = path.read_bytes()
            end = 10 + int.from_bytes(content[8:10], "little")  # of the header, in version 1 of the format
            code = int(np.frombuffer(content[end:], scalar_type(content[:end]))[0])
        except (ValueError, OSError, IndexError, OverflowError):  # the last of infinity
            raise InputError(f"{path} does not hold one number: copy it again") from None
        if not 0 <= code <= 10:
            raise InputError(f"{path} holds {code}, which is no code of AffectNet (0 to 10): copy it again")
        if code < len(CODES):
            yield Sample(folder / "images" / f"{path.name.removesuffix('_exp.npy')}.jpg", CODES[code])


@cache
def scalar_type(header: bytes) -> np.dtype[np.generic]:
    """Type of the one value in an .npy file. Its header is parsed once for all equal ones: np.load takes 50 us a file.

    Raises:
        ValueError: it is no header, or one of several values or of Python objects.
    """
    file = io.BytesIO(header)
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError
    shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    if shape not in ((), (1,)) or dtype.hasobject:
        raise ValueError
    return dtype


def read_subset(root: Path, name: str, *, own_labels: bool = False) -> list[Sample]:
    """Pose-AffectNet or Occlusion-AffectNet: the test pictures of the published list in subsets/.

    Args:
        root: folder of the first form: the lists name pictures by its hashes, and no map to the later form is known.
        name: "pose30", "pose45" or "occlusion".
        own_labels: the list's labels in place of the data set's.

    Raises:
        InputError: no such subset, its list is missing or broken, or the folder is of the later form.
    """
    if not (root / "Manually_Annotated_file_lists").is_dir():
        raise InputError(f"{root}: the subset lists name the pictures of AffectNet's first form; give a folder of that")
    return subsets.read_subset(read(root, "test"), root, name, LISTS, CODES if own_labels else None)


READER = Reader(
    read=read,
    layout=LAYOUT,
    license=LICENSE,
    protocol=PROTOCOL,
    labels=EXPRESSIONS,
    read_subset=read_subset,
    lists={name: file for name, (file, _) in LISTS.items()},
    official_counts=OFFICIAL_COUNTS,
    official_options={"validation": 0, "duplicates": True},
    held_out=("validation", "seed"),
    note=NOTE,
)
