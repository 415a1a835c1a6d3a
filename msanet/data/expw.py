"""ExpW, Expression in the Wild (Zhang et al., IJCV 2018): 91,793 faces in photographs of the web."""

from __future__ import annotations

import math
from pathlib import Path

from msanet.data.reader import Reader
from msanet.data.sample import Sample, check_split, hold_out, present, unique, warn_of_no_split
from msanet.errors import InputError
from msanet.labels import expressions_for

CODES = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
LAYOUT = (
    "label/label.lst (lines image_name face_id top left right bottom confidence label) and image/origin/ with the "
    "pictures"
)
LICENSE = "research use (mmlab.ie.cuhk.edu.hk/projects/socialrelation); not to be redistributed"
PROTOCOL = "all faces as test split, since the owners give none; the face boxes of the list"
# Counted from the list by others (rhkb.cn/news/38351.html); the sum is the 91,793 faces of the paper.
OFFICIAL_COUNTS = {"test": dict(zip(CODES, (3671, 3995, 1088, 30537, 10559, 7060, 34883), strict=True))}


def read(root: Path, split: str, *, validation: float = 0.1, seed: int = 0) -> list[Sample]:
    """The samples of a split. The owners give no splits: "test" is all faces, "train" and "validation" share them.

    So train here and evaluate on another set, or the other way round. Listed pictures that are not on disk, and lines
    that repeat a face, are skipped with a warning.

    Args:
        root: folder of the official layout.
        split: "train", "validation" or "test".
        validation: part of each expression's pictures that is held out of training; 0 trains on all.
        seed: of that choice.

    Raises:
        InputError: the list is missing, a line of it is broken, or none of its pictures is there.
    """
    check_split("expw", split)
    path, folder = root / "label" / "label.lst", root / "image" / "origin"
    if not path.is_file():
        raise InputError(f"{path} is missing: give the folder of ExpW ({LAYOUT})")
    samples = []
    for number, line in enumerate(path.read_text(encoding="utf-8-sig", errors="replace").splitlines(), 1):
        if not line.strip():
            continue
        try:
            name, _, *numbers, code = line.rsplit(maxsplit=7)
            top, left, right, bottom, _ = map(float, numbers)
            in_range = -math.inf < top < bottom < math.inf and -math.inf < left < right < math.inf  # NaN is not
            if not in_range or not 0 <= int(code) < len(CODES):
                raise ValueError
            samples.append(Sample(folder / name, CODES[int(code)], box=(left, top, right, bottom)))
        except ValueError:
            raise InputError(
                f"{path}, line {number}: not name, face, top, left, right, bottom, confidence and a label 0 to 6; "
                "correct it"
            ) from None
    samples = present(unique(samples, path), folder)
    if split == "test":
        return samples
    warn_of_no_split(root)
    return hold_out(samples, split, validation, seed)


READER = Reader(
    read=read,
    layout=LAYOUT,
    license=LICENSE,
    protocol=PROTOCOL,
    labels=expressions_for(7),
    official_counts=OFFICIAL_COUNTS,
    held_out=("validation", "seed"),
)
