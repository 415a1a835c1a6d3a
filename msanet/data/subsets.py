"""The pose and occlusion lists of Wang et al. (RAN, IEEE TIP 2020), read as they are published."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from msanet.data.samples import Sample
from msanet.errors import InputError

SUBSETS = ("pose30", "pose45", "occlusion")


def read_list(path: Path, pattern: str) -> dict[str, int]:
    """Picture name without ending -> the list's own class code, of every line of a list file.

    Args:
        path: the list.
        pattern: regular expression with the groups `name` and `label`, matched from the start of each line.

    Raises:
        InputError: the file is missing, or a line does not match.
    """
    if not path.is_file():
        raise InputError(f"{path} is missing: put the published list of that name there")
    labels: dict[str, int] = {}
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if not line.strip():
            continue
        match = re.match(pattern, line)
        if match is None:
            raise InputError(f"{path}, line {number}: {line.strip()!r} is not an entry of this list; correct the line")
        labels[match["name"]] = int(match["label"])
    return labels


def select(samples: Sequence[Sample], labels: dict[str, int]) -> list[Sample]:
    """The samples whose pictures are in the list, with the data set's own labels."""
    return [sample for sample in samples if sample.path.stem in labels]


def relabel(samples: Sequence[Sample], labels: dict[str, int], codes: Sequence[str]) -> list[Sample]:
    """The same samples with the list's labels, `codes` naming its class codes."""
    return [replace(sample, expression=codes[labels[sample.path.stem]], votes=()) for sample in samples]
