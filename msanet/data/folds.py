"""Folds by person: each person is tested once, by a network that never saw them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from msanet.data.sample import Sample, hold_out
from msanet.errors import InputError


def take_fold(samples: Sequence[Sample], split: str, fold: str, part: float, seed: int) -> list[Sample]:
    """The samples of a split of one fold. Nobody is in two splits.

    People are sorted by name, and fold i of n tests the i-th of them and each n-th after, which is how CK+ is divided
    in the literature. Of the others some are held out for validation.

    Args:
        samples: all of the data set, each with its person.
        split: "train", "validation" or "test".
        fold: "i/n", i counting from 1.
        part: of the people beside the fold's who are held out for validation, see `hold_out`.
        seed: of that choice.

    Raises:
        InputError: there is no such fold, nobody is in it, or nobody is held out and validation is asked for.
    """
    match = re.fullmatch(r"([1-9]\d{0,5})/([1-9]\d{0,5})", fold) if isinstance(fold, str) else None
    if match is None or not 2 <= (number := int(match[2])) >= int(match[1]):
        raise InputError(f"there is no fold {str(fold)[:40]!r}: give i/n, such as 3/10, with i from 1 to n")
    people = sorted({sample.person for sample in samples})
    if number > len(people):
        raise InputError(f"{fold} is no fold of {len(people)} people: some of {number} folds would be empty")
    tested = set(people[int(match[1]) - 1 :: number])
    if split == "test":
        return [sample for sample in samples if sample.person in tested]
    return hold_out([sample for sample in samples if sample.person not in tested], split, part, seed)


def with_person(samples: Sequence[Sample], pattern: str) -> list[Sample]:
    """The samples with the person whom their file names tell.

    Args:
        samples: whose pictures are files.
        pattern: regular expression with one group, which is the person, searched for in each file name.

    Raises:
        InputError: it is no such expression, or a file name does not match.
    """
    try:
        expression = re.compile(pattern)
    except (re.error, TypeError):
        raise InputError(f"person {str(pattern)[:80]!r} is no regular expression: correct it") from None
    if expression.groups != 1:
        raise InputError(f"person {pattern[:80]!r} has {expression.groups} groups: put one around the person's name")
    found = []
    for sample in samples:
        match = expression.search(sample.path.name)
        if match is None or not match[1]:
            raise InputError(f"{sample.path} names no person by {pattern[:80]!r}: correct the expression or the name")
        found.append(replace(sample, person=match[1]))
    return found
