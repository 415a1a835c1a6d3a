"""What a model says of each picture, as a table."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from msanet.data.sample import Sample
from msanet.errors import InputError
from msanet.files import cell, replacing, valid
from msanet.measure.evaluate import Evaluation

TABLES = (".csv", ".parquet")
DIGITS = 6
"""Of the numbers in a CSV file; Parquet keeps them as they are."""


def check_format(path: Path) -> None:
    """Before the work is done: whether `write` can write such a file.

    Raises:
        InputError: its ending is none of `TABLES`, or pyarrow is not installed.
    """
    if path.suffix not in TABLES:
        raise InputError(f"{path} ends in none of {', '.join(TABLES)}: choose one of them for --predictions")
    if path.suffix == ".parquet":
        _pyarrow()


def write(path: Path, evaluation: Evaluation, embedding: bool = False, workers: int = 2) -> None:
    """A row for each picture, in the data set's order; the file appears whole or not at all.

    Args:
        path: .csv or .parquet.
        evaluation: what to write.
        embedding: with the pooled features, for which the model runs once more.
        workers: loading processes.

    Raises:
        InputError: the file cannot be written, or pyarrow is not installed.
    """
    check_format(path)
    features = evaluation.model.embed(evaluation.samples, workers) if embedding else None
    table = columns(evaluation, features)
    with replacing(path) as temporary:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".csv":
            with temporary.open("w", encoding="utf-8", newline="") as file:
                writer = csv.writer(file, lineterminator="\n")
                writer.writerow(map(cell, table))
                writer.writerows(zip(*map(_cells, table.values()), strict=True))
        else:
            pa, parquet = _pyarrow()
            parquet.write_table(pa.table(table), temporary)


def columns(evaluation: Evaluation, features: np.ndarray | None = None) -> dict[str, Any]:
    """Name of each column -> its N values.

    They are file (where it lies, and the line in it where that holds many), x1, y1, x2, y2 where faces have boxes in
    larger pictures, label, answer, correct, probability_LABEL for each of the report's labels, and embedding_0,
    embedding_1, ...

    Args:
        evaluation: of N pictures.
        features: float32 [N, D], the embedding; None: without.
    """
    labels, predicted = evaluation.report.labels, evaluation.probabilities.argmax(axis=1)
    table: dict[str, Any] = {"file": [place(sample) for sample in evaluation.samples]}
    if any(sample.box for sample in evaluation.samples):
        boxes = [sample.box or (None,) * 4 for sample in evaluation.samples]
        table |= dict(zip(("x1", "y1", "x2", "y2"), map(list, zip(*boxes, strict=True)), strict=True))
    table |= {
        "label": [labels[target] for target in evaluation.targets],
        "answer": [labels[index] for index in predicted],
        "correct": (predicted == evaluation.targets).tolist(),
    }
    table |= {f"probability_{label}": evaluation.probabilities[:, index] for index, label in enumerate(labels)}
    if features is not None:
        table |= {f"embedding_{index}": values for index, values in enumerate(features.T)}
    return table


def place(sample: Sample) -> str:
    """The path of a sample's picture; of one within a larger file, the folder and the sample's own name."""
    return valid(str(sample.path.parent / sample.name))


def _cells(values: Sequence[Any] | np.ndarray) -> list[Any]:
    if isinstance(values, np.ndarray):
        return [f"{value:.{DIGITS}g}" for value in values]
    return [cell(value) if isinstance(value, str) else value for value in values]


def _pyarrow() -> tuple[Any, Any]:
    """pyarrow is in no extra but dev: with 170 MB it would be the largest part of an installation."""
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ModuleNotFoundError:
        raise InputError(
            "Parquet needs pyarrow, which is not installed: run pip install pyarrow, or choose a .csv file"
        ) from None
    return pa, parquet
