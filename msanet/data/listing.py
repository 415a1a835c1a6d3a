"""list:FILE.csv, any pictures with a label or votes: one row a picture."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from msanet.data.folds import take_fold
from msanet.data.naming import labels_by_name
from msanet.data.reader import Reader
from msanet.data.sample import (
    SPLITS,
    Sample,
    check_split,
    duplicates_of,
    hold_out,
    open_csv,
    present,
    unique,
    warn_of_no_split,
    without_duplicates,
)
from msanet.errors import InputError
from msanet.labels import check_label, in_order

LAYOUT = (
    "FILE.csv with the columns picture (a path, relative to the file's folder) and label (or expression), or picture "
    "and a column of votes for each label, named by it; with a column split (train, validation, test) and a column "
    "person or not"
)
LICENSE = "yours"


def read(
    path: Path,
    split: str,
    *,
    validation: float = 0.1,
    seed: int = 0,
    duplicates: bool = False,
    fold: str = "",
) -> list[Sample]:
    """The samples of a split. With votes, the label is the one that has the most, the first in order of equals.

    Where all labels of all splits are names of expressions, these are the labels, else the names as they stand. Beside
    a column label (or expression), columns of other names are ignored; without, they are votes. Without a column
    split, "test" is all pictures, and "train" and "validation" share them, with a warning, unless there are folds.
    Listed pictures that are not on disk, and rows that repeat a picture, are skipped with a warning.

    Args:
        path: FILE.csv.
        split: "train", "validation" or "test".
        validation: part of each label's pictures that is held out of training where there is no column split, or of
            the people where there is a column person; 0 trains on all.
        seed: of that choice.
        duplicates: where there is a column split, keep training pictures whose file is in the validation or the test
            split too, and validation pictures whose file is in the test split too. A warning counts them.
        fold: "3/10": the third of ten folds by person, see `folds.take_fold`; not where there is a column split.

    Raises:
        InputError: no such file or fold, a column is missing, a row is broken, a name cannot be a label, or none of
            the split's pictures is there.
    """
    check_split("list", split)
    columns, rows = read_rows(path)
    if fold:
        if "split" in columns:
            raise InputError(f"{path} has splits of its own: leave fold away, or take the column split out")
        if "person" not in columns:
            raise InputError(f"{path} has no column person, by which folds are made: add it")
    samples = present(unique([sample for own, sample in rows if own in ("", split)], path), path.parent)
    if fold:
        return take_fold(samples, split, fold, validation, seed)
    if "split" in columns:
        for other in SPLITS[SPLITS.index(split) + 1 :]:
            others = [sample for own, sample in rows if own == other and sample.path.is_file()]
            samples = without_duplicates(samples, split, duplicates_of(samples, others), other, duplicates)
        return samples
    if split == "test":
        return samples
    warn_of_no_split(path)
    return hold_out(samples, split, validation, seed)


def find_labels(path: Path) -> tuple[str, ...]:
    """The labels of all rows."""
    return in_order([sample.label for _, sample in read_rows(path)[1]])


def read_rows(path: Path) -> tuple[list[str], list[tuple[str, Sample]]]:
    """The columns; and split, "" where there is no such column, and sample of each row."""
    if not path.is_file():
        raise InputError(f"{path} is missing: give a csv file with {LAYOUT}")
    with open_csv(path) as file:
        reader = csv.DictReader(file)
        columns = list(reader.fieldnames or ())
        named = next((name for name in ("label", "expression") if name in columns), "")
        voted = [] if named else [name for name in columns if name not in ("picture", "split", "person")]
        if "picture" not in columns or not (named or voted):
            raise InputError(f"{path} lacks columns: give {LAYOUT}")
        for name in columns:
            if columns.count(name) > 1:
                raise InputError(f"{path} has two columns {name!r}: name each once")
        found = labels_by_name(voted, path)
        votes = {label: name for name, label in found.items()}
        if len(votes) < len(found):
            raise InputError(f"{path} has two columns for one label ({', '.join(voted)}): add them up")
        votes = {label: votes[label] for label in in_order(list(votes))}
        rows = []
        for row in reader:
            place = f"{path}, line {reader.line_num}"
            if named and row[named]:
                try:
                    check_label(row[named])
                except InputError as error:
                    raise InputError(f"{place}: {error}") from None
            try:
                rows.append((_split(row), _sample(path.parent, row, named, votes)))
            except (ValueError, TypeError):
                raise InputError(
                    f"{place}: not a picture with a label, or votes of which one is above 0, and its split and person "
                    "where there are such columns; correct it"
                ) from None
    if named:
        labels = labels_by_name((sample.label for _, sample in rows), path)
        rows = [(split, replace(sample, label=labels[sample.label])) for split, sample in rows]
    return columns, rows


def _split(row: Mapping[str, str]) -> str:
    """A row's split; a ValueError where it is none."""
    if "split" in row and row["split"] not in SPLITS:
        raise ValueError
    return row.get("split", "")


def _sample(folder: Path, row: Mapping[str, str], named: str, votes: Mapping[str, str]) -> Sample:
    """A row's sample; a ValueError or TypeError where it cannot be. `votes`: label, in order -> its column."""
    if not row["picture"] or not row.get("person", "-"):
        raise ValueError
    picture, person = folder / row["picture"], row.get("person", "")
    if named:
        if not row[named]:
            raise ValueError
        return Sample(picture, row[named], person=person)
    numbers = {label: float(row[name] or 0) for label, name in votes.items()}
    total = sum(numbers.values())
    if min(numbers.values()) < 0 or not 0 < total < math.inf:  # false where a vote is not a number, too
        raise ValueError
    shares = tuple((label, number / total) for label, number in numbers.items() if number)
    return Sample(picture, max(numbers, key=numbers.__getitem__), shares, person=person)


READER = Reader(
    read=read,
    layout=LAYOUT,
    license=LICENSE,
    find_labels=find_labels,
    held_out=("validation", "seed", "fold"),
)
