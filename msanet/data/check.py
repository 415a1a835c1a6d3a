"""What of a data set is on disk, beside what its owners publish."""

from __future__ import annotations

import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from msanet import data
from msanet.data.sample import DataWarning, Sample, count
from msanet.errors import InputError

AT_ONCE = 1000
"""Pictures handed to the threads at once."""


@dataclass(frozen=True)
class Check:
    """What `check` found.

    Args:
        rows: split, label, number of pictures, official number (None: not published).
        failures: what cannot be read, in sentences.
        warnings: what is left out or counts twice: sentences, each with the names of the pictures.
        note: what else to know of the counts.
    """

    rows: list[tuple[str, str, int, int | None]]
    failures: list[str]
    warnings: list[tuple[str, tuple[str, ...]]]
    note: str

    @property
    def differing(self) -> list[tuple[str, str, int, int | None]]:
        """The rows whose number is not the official one."""
        return [row for row in self.rows if row[3] is not None and row[2] != row[3]]


def check(source: str, decode: bool = True) -> Check:
    """Count the pictures of NAME:DIR, and read each of them.

    Args:
        source: NAME:DIR.
        decode: read each picture, to find the damaged ones.

    Raises:
        InputError: no split can be read.
    """
    _, reader, _ = data.parse(source)
    rows: list[tuple[str, str, int, int | None]] = []
    failures: list[str] = []
    pictures: dict[str, Sample] = {}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", DataWarning)
        for split in reader.official_counts or data.SPLITS:
            try:
                samples = data.read(source, split, **reader.official_options)
            except InputError as error:
                failures.append(str(error))
                continue
            official = reader.official_counts.get(split, {})
            counts = count(samples, data.labels_of(source, samples))
            rows += [(split, label, number, official.get(label)) for label, number in counts.items()]
            rows.append((split, "all", len(samples), sum(official.values()) if official else None))
            pictures |= {f"{sample.path} {sample.name}": sample for sample in samples}
        if not rows:
            raise InputError(failures[0])
        for subset in data.subsets_of(source):
            try:
                rows.append(("test", subset, len(data.read(source, "test", subset)), None))
            except InputError as error:
                failures.append(str(error))
    found = {str(warning.message): getattr(warning.message, "names", ()) for warning in caught}
    if decode:
        samples = list(pictures.values())
        with ThreadPoolExecutor() as pool:
            for start in range(0, len(samples), AT_ONCE):
                failures += [text for text in pool.map(_damage, samples[start : start + AT_ONCE]) if text]
    return Check(rows, failures, list(found.items()), reader.note)


def _damage(sample: Sample) -> str:
    """What is wrong with a picture, in a sentence; empty: nothing."""
    try:
        sample.crop()
    except InputError as error:
        return str(error)
    return ""
