"""Results as tables: a row for each face."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

from msanet.errors import require
from msanet.files import replacing


class Tabular(Protocol):
    """What a table is made of; `msanet.Recognition` is one."""

    @property
    def expressions(self) -> tuple[str, ...]: ...

    def to_dict(self) -> dict[str, Any]: ...


def columns(expressions: Sequence[str]) -> list[str]:
    """The names of the columns: source, face (1 is the largest), box, score, expression, and its probabilities."""
    return ["source", "face", "x1", "y1", "x2", "y2", "score", "expression", *expressions]


def rows(result: Mapping[str, Any], expressions: Sequence[str]) -> Iterator[list[Any]]:
    """A row for each face of a result as `to_dict` gives it, in the order of `columns`."""
    for number, face in enumerate(result["faces"], 1):
        probabilities = [face["probabilities"][name] for name in expressions]
        yield [result["source"], number, *face["box"], face["score"], face["expression"], *probabilities]


def csv_lines(results: Iterable[Mapping[str, Any]], expressions: Sequence[str]) -> Iterator[str]:
    """A header, and a line for each face of results as `to_dict` gives them."""
    line = io.StringIO()
    writer = csv.writer(line, lineterminator="\n")
    for row in chain([columns(expressions)], (row for result in results for row in rows(result, expressions))):
        writer.writerow(row)
        yield line.getvalue()
        line.seek(0)
        line.truncate()


def write_csv(path: Path, results: Iterable[Mapping[str, Any]], expressions: Sequence[str]) -> None:
    """Write `csv_lines` into a file, whole or not at all.

    Raises:
        InputError: the file cannot be written.
    """
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        file.writelines(csv_lines(results, expressions))


def to_pandas(results: Iterable[Tabular]) -> Any:
    """One pandas DataFrame of one or several recognitions, with the numbers of their `to_dict`.

    Raises:
        InputError: pandas is not installed.
    """
    return require("pandas").DataFrame(_by_column(results))


def to_polars(results: Iterable[Tabular]) -> Any:
    """One polars DataFrame of one or several recognitions, with the numbers of their `to_dict`.

    Raises:
        InputError: polars is not installed.
    """
    return require("polars").DataFrame(_by_column(results))


def _by_column(results: Iterable[Tabular]) -> dict[str, list[Any]]:
    """Name of each column -> its values; without faces the columns are there all the same."""
    results = list(results)
    expressions = results[0].expressions if results else ()
    names = columns(expressions)
    table = [row for result in results for row in rows(result.to_dict(), expressions)]
    return {name: [row[index] for row in table] for index, name in enumerate(names)}
