"""Results as tables: a row for each face, and one for a picture without any."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

from msanet.errors import require
from msanet.files import cell, replacing


class Tabular(Protocol):
    """What a table is made of; `msanet.Recognition` is one."""

    @property
    def expressions(self) -> tuple[str, ...]: ...

    def to_dict(self) -> dict[str, Any]: ...


def columns(expressions: Sequence[str]) -> list[str]:
    """The names of the columns: source, face (1 is the largest), box, score, expression, and its probabilities."""
    return ["source", "face", "x1", "y1", "x2", "y2", "score", "expression", *expressions]


def rows(result: Mapping[str, Any], expressions: Sequence[str]) -> Iterator[list[Any]]:
    """A row for each face of a result as `to_dict` gives it, in the order of `columns`; of a picture without a face one
    row with its source alone, the rest None. Texts are as `msanet.files.cell` has them."""
    source = cell(result["source"])
    for number, face in enumerate(result["faces"], 1):
        probabilities = [face["probabilities"][name] for name in expressions]
        yield [source, number, *face["box"], face["score"], cell(face["expression"]), *probabilities]
    if not result["faces"]:
        yield [source, *[None] * (len(columns(expressions)) - 1)]


def csv_lines(results: Iterable[Mapping[str, Any]], expressions: Sequence[str]) -> Iterator[str]:
    """A header, and a line for each of the `rows` of results as `to_dict` gives them."""
    line = io.StringIO()
    writer = csv.writer(line, lineterminator="\n")
    header = list(map(cell, columns(expressions)))
    for row in chain([header], (row for result in results for row in rows(result, expressions))):
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
    """One pandas DataFrame of one or several recognitions, with the numbers of their `to_dict`; face is an Int64, which
    may be missing.

    Raises:
        InputError: pandas is not installed.
    """
    pandas = require("pandas")
    table = _by_column(results)
    kinds = {"source": "object", "face": "Int64", "expression": "object"}
    return pandas.DataFrame(
        {name: pandas.Series(values, dtype=kinds.get(name, "float64")) for name, values in table.items()}
    )


def to_polars(results: Iterable[Tabular]) -> Any:
    """One polars DataFrame of one or several recognitions, with the numbers of their `to_dict`.

    Raises:
        InputError: polars is not installed.
    """
    polars = require("polars")
    table = _by_column(results)
    kinds = {"source": polars.String, "face": polars.Int64, "expression": polars.String}
    return polars.DataFrame(table, schema={name: kinds.get(name, polars.Float64) for name in table})


def _by_column(results: Iterable[Tabular]) -> dict[str, list[Any]]:
    """Name of each column -> its values; without recognitions the columns are there all the same."""
    results = list(results)
    expressions = results[0].expressions if results else ()
    names = columns(expressions)
    table = [row for result in results for row in rows(result.to_dict(), expressions)]
    return {name: [row[index] for row in table] for index, name in enumerate(names)}
