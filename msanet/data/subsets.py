"""The pose and occlusion lists of Wang et al. (RAN, IEEE TIP 2020), read as they are published."""

from __future__ import annotations

import re
import warnings
from collections.abc import Container, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from msanet.data.sample import DataWarning, Sample
from msanet.errors import InputError

SUBSETS = ("pose30", "pose45", "occlusion")


def read_list(path: Path, pattern: str) -> dict[str, int]:
    """Picture name without ending -> the list's own class code, of every line of a list file.

    Of a picture that is listed twice the last line counts; a warning counts these lines.

    Args:
        path: the list.
        pattern: regular expression with the groups `name` and `label`, matched from the start of each line.

    Raises:
        InputError: the file is missing, or a line does not match.
    """
    if not path.is_file():
        raise InputError(f"{path} is missing: put the published list of that name there")
    labels: dict[str, int] = {}
    again: list[str] = []
    for number, line in enumerate(path.read_text(encoding="utf-8-sig", errors="replace").splitlines(), 1):
        if not line.strip():
            continue
        match = re.match(pattern, line)
        if match is None:
            raise InputError(f"{path}, line {number}: {line.strip()!r} is not an entry of this list; correct the line")
        if match["name"] in labels:
            again.append(match["name"])
        labels[match["name"]] = int(match["label"])
    if again:
        sentence = f"{len(again):,} lines of {path} repeat a picture, the first {again[0]}: it counts once"
        warnings.warn(DataWarning(sentence, again), stacklevel=2)
    return labels


def read_subset(
    samples: Sequence[Sample],
    root: Path,
    name: str,
    lists: Mapping[str, tuple[str, str]],
    codes: Sequence[str] | None = None,
    there: Container[str] | None = None,
) -> list[Sample]:
    """The samples whose pictures are in a published list; a warning counts the listed pictures that are not there.

    Args:
        samples: of the test split.
        root: folder of the data set; the lists lie in its folder subsets/.
        name: of the subset.
        lists: subset -> its file and the pattern of its lines, see `read_list`.
        codes: names of the list's own class codes, to take its labels; None keeps the samples' labels.
        there: names without ending of all test pictures, those included that are not scored; None: the samples'.

    Raises:
        InputError: no such subset, or its list is missing or broken.
    """
    if name not in lists:
        raise InputError(f"there is no subset {name!r}: choose one of {', '.join(lists)}")
    file, pattern = lists[name]
    labels = read_list(root / "subsets" / file, pattern)
    chosen = [sample for sample in samples if sample.path.stem in labels]
    if there is None:
        there = {sample.path.stem for sample in samples}
    absent = [listed for listed in labels if listed not in there]
    if absent:
        sentence = f"{len(absent):,} of {len(labels):,} pictures of {file} are not there, the first {absent[0]}"
        warnings.warn(DataWarning(sentence, absent), stacklevel=2)
    if not chosen:
        raise InputError(f"none of the {len(labels):,} pictures of {root / 'subsets' / file} is a test picture here")
    if codes is None:
        return chosen
    return [replace(sample, label=codes[labels[sample.path.stem]], votes=()) for sample in chosen]
