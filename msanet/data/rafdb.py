"""RAF-DB, the basic expressions (Li et al., CVPR 2017), officially aligned pictures."""

from __future__ import annotations

from pathlib import Path

from msanet.data import subsets
from msanet.data.reader import Reader
from msanet.data.sample import Sample, check_split, duplicates_of, hold_out, present, unique, without_duplicates
from msanet.errors import InputError
from msanet.labels import expressions_for

CODES = ("surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral")
"""Of the official codes 1 to 7, and of the codes 0 to 6 in the subset lists."""

LISTS = {
    "pose30": ("val_raf_db_list.txt", r"(?P<label>[0-6])/(?P<name>test_\d{4}_aligned)\.\w+\s*$"),
    "pose45": ("val_raf_db_list_45.txt", r"(?P<label>[0-6])/(?P<name>test_\d{4}_aligned)\.\w+\s*$"),
    "occlusion": ("rafdb_occlusion_list.txt", r"(?P<name>test_\d{4}_aligned) (?P<label>[0-6]) \d+\s*$"),
}
LAYOUT = (
    "basic/EmoLabel/list_patition_label.txt and basic/Image/aligned/train_00001_aligned.jpg; or "
    "DATASET/{train,test}/{1..7}/train_00001_aligned.jpg; subsets/ with the lists"
)
LICENSE = "on signed agreement with the owners (whdeng.cn/RAF); not to be redistributed"
PROTOCOL = "single labels, officially aligned pictures"
NOTE = "the paper prints 12,264 training and 3,061 test pictures, seven fewer than each official list"
OFFICIAL_COUNTS = {
    "train": dict(zip(CODES, (1290, 281, 717, 4772, 1982, 705, 2524), strict=True)),
    "test": dict(zip(CODES, (329, 74, 160, 1185, 478, 162, 680), strict=True)),
}


def read(root: Path, split: str, *, validation: float = 0.1, seed: int = 0, duplicates: bool = False) -> list[Sample]:
    """The samples of a split.

    Listed pictures that are not on disk, and rows that repeat one, are skipped with a warning.

    Args:
        root: folder of the official or of the repackaged layout.
        split: "train", "validation" or "test"; validation is held out of the official training list.
        validation: part of each expression's training pictures that is held out; 0 trains on all.
        seed: of that choice.
        duplicates: keep training pictures whose file is in the test split too. A warning counts them.

    Raises:
        InputError: the folder is not of a known layout, none of its pictures is there, a line is broken, or the list
            is that of the compound expressions.
    """
    check_split("rafdb", split)
    test = read_part(root, "test")
    if split == "test":
        return test
    training = read_part(root, "train")
    side = hold_out(training, split, validation, seed)
    return without_duplicates(side, split, duplicates_of(side, test), "test", duplicates)


def read_part(root: Path, part: str) -> list[Sample]:
    """The official "train" or "test" pictures, in either layout."""
    repackaged = root / "DATASET"
    return read_folders(repackaged / part) if repackaged.is_dir() else read_list(root / "basic", part)


def read_list(basic: Path, part: str) -> list[Sample]:
    """The official layout."""
    path = basic / "EmoLabel" / "list_patition_label.txt"
    if not path.is_file():
        raise InputError(f"{path} is missing: give the folder of RAF-DB ({LAYOUT})")
    folder, samples = basic / "Image" / "aligned", []
    for number, line in enumerate(path.read_text(encoding="utf-8-sig", errors="replace").splitlines(), 1):
        name, _, code = line.strip().partition(" ")
        if code in ("8", "9", "10", "11"):
            raise InputError(f"{path} lists the compound expressions: give the folder of the basic ones")
        if code not in map(str, range(1, len(CODES) + 1)) or not name.startswith(("train_", "test_")):
            raise InputError(f"{path}, line {number}: {line.strip()!r} is not a picture and a code 1 to 7; correct it")
        if name.startswith(part):
            samples.append(Sample(folder / f"{Path(name).stem}_aligned.jpg", CODES[int(code) - 1]))
    return present(unique(samples, path), folder)


def read_folders(folder: Path) -> list[Sample]:
    """The widespread repackaging: a folder for each code."""
    known = {str(code) for code in range(1, len(CODES) + 1)}
    other = sorted(path.name for path in folder.glob("*/") if path.name not in known)
    if other:
        raise InputError(f"{folder} holds the folders {', '.join(other)}: RAF-DB's basic codes are 1 to 7")
    samples = [
        Sample(path, expression)
        for code, expression in enumerate(CODES, 1)
        for path in sorted((folder / str(code)).glob("*_aligned.jpg"))
    ]
    if not samples:
        raise InputError(f"{folder} holds no folders 1 to 7 with pictures: give the folder above DATASET")
    return samples


def read_subset(root: Path, name: str, *, own_labels: bool = False) -> list[Sample]:
    """Pose-RAF-DB or Occlusion-RAF-DB: the test pictures of the published list in subsets/.

    Args:
        root: as for `read`.
        name: "pose30", "pose45" or "occlusion".
        own_labels: the list's labels in place of the data set's.

    Raises:
        InputError: no such subset, or its list is missing or broken.
    """
    return subsets.read_subset(read(root, "test"), root, name, LISTS, CODES if own_labels else None)


READER = Reader(
    read=read,
    layout=LAYOUT,
    license=LICENSE,
    protocol=PROTOCOL,
    labels=expressions_for(7),
    read_subset=read_subset,
    lists={name: file for name, (file, _) in LISTS.items()},
    official_counts=OFFICIAL_COUNTS,
    official_options={"validation": 0, "duplicates": True},
    held_out=("validation", "seed"),
    note=NOTE,
)
