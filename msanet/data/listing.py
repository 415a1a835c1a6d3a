"""list:FILE.csv, any pictures with a label or votes: one row a picture."""

from __future__ import annotations

import csv
import math
from pathlib import Path

from msanet.data.reader import Reader
from msanet.data.sample import SPLITS, Sample, check_split, hold_out, open_csv, present, unique, warn_of_no_split
from msanet.errors import InputError
from msanet.labels import EXPRESSIONS

LAYOUT = (
    "FILE.csv with the columns picture (a path, relative to the file's folder) and expression, or picture and a column "
    f"of votes for each of {', '.join(EXPRESSIONS)} (absent: 0); with a column split (train, validation, test) or not"
)
LICENSE = "yours"


def read(path: Path, split: str, *, validation: float = 0.1, seed: int = 0) -> list[Sample]:
    """The samples of a split. With votes, the label is the expression that has the most, the first of equals.

    Without a column split, "test" is all pictures, and "train" and "validation" share them, with a warning. Listed
    pictures that are not on disk, and rows that repeat a picture, are skipped with a warning.

    Args:
        path: FILE.csv.
        split: "train", "validation" or "test".
        validation: part of each expression's pictures that is held out of training where there is no column split.
        seed: of that choice.

    Raises:
        InputError: no such file, a column is missing, a row is broken, or none of the split's pictures is there.
    """
    check_split("list", split)
    if not path.is_file():
        raise InputError(f"{path} is missing: give a csv file with {LAYOUT}")
    samples = []
    with open_csv(path) as file:
        rows = csv.DictReader(file)
        columns = set(rows.fieldnames or ())
        voted = [name for name in EXPRESSIONS if name in columns]
        if "picture" not in columns or ("expression" not in columns and not voted):
            raise InputError(f"{path} lacks columns: give {LAYOUT}")
        for row in rows:
            try:
                if "split" in columns and row["split"] not in SPLITS:
                    raise ValueError
                sample = _sample(path.parent, row, voted)
            except (ValueError, TypeError):
                raise InputError(
                    f"{path}, line {rows.line_num}: not a picture with an expression of ours, or votes of which one "
                    "is above 0, and its split; correct it"
                ) from None
            if row.get("split", split) == split:
                samples.append(sample)
    samples = present(unique(samples, path), path.parent)
    if "split" in columns or split == "test":
        return samples
    warn_of_no_split(path)
    return hold_out(samples, split, validation, seed)


def _sample(folder: Path, row: dict[str, str], voted: list[str]) -> Sample:
    """A row's sample; a ValueError or TypeError where it cannot be."""
    if not row["picture"]:
        raise ValueError
    picture = folder / row["picture"]
    if not voted:
        EXPRESSIONS.index(row["expression"])
        return Sample(picture, row["expression"])
    votes = [float(row[name] or 0) if name in voted else 0.0 for name in EXPRESSIONS]
    if min(votes) < 0 or not 0 < sum(votes) < math.inf:  # false where a vote is not a number, too
        raise ValueError
    shares = tuple((name, vote / sum(votes)) for name, vote in zip(EXPRESSIONS, votes, strict=True) if vote)
    return Sample(picture, EXPRESSIONS[votes.index(max(votes))], shares)


READER = Reader(read=read, layout=LAYOUT, license=LICENSE, labels=(), held_out=("validation", "seed"))
