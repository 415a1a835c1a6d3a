"""Results as tables, where the libraries are installed and where they are not."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import sys

import numpy as np
import pytest

import msanet
from msanet.faces.face import Face
from msanet.labels import EXPRESSIONS
from msanet.recognize.recognizer import Recognition
from msanet.recognize.tables import columns, csv_lines, to_pandas, to_polars, write_csv


def face(happiness: float) -> Face:
    rest = (1 - happiness) / (len(EXPRESSIONS) - 1)
    return Face(
        box=(1.0, 2.0, 30.0, 40.5),
        score=0.9,
        landmarks=np.zeros((5, 2), np.float32),
        expression="happiness",
        probabilities={name: happiness if name == "happiness" else rest for name in EXPRESSIONS},
        corners=np.zeros((4, 2), np.float32),
    )


@pytest.fixture
def recognitions() -> list[Recognition]:
    """Two faces, none, one; a name that CSV must quote."""
    picture = np.zeros((50, 60, 3), np.uint8)
    numbers = {'a, "b".jpg': [0.93, 0.51], "nobody.jpg": [], "c.jpg": [0.72]}
    return [Recognition(tuple(map(face, values)), picture, name, EXPRESSIONS) for name, values in numbers.items()]


SOURCES = ['a, "b".jpg', 'a, "b".jpg', "c.jpg"]


@pytest.mark.parametrize(("library", "convert"), [("pandas", to_pandas), ("polars", to_polars)])
def test_a_row_for_each_face(recognitions, library, convert):
    frame_type = pytest.importorskip(library).DataFrame
    frame = convert(recognitions)
    assert isinstance(frame, frame_type)
    assert list(frame.columns) == columns(EXPRESSIONS)
    assert list(frame["source"]) == SOURCES
    assert list(frame["face"]) == [1, 2, 1]
    assert list(frame["happiness"]) == pytest.approx([0.93, 0.51, 0.72])
    assert list(frame["y2"]) == [40.5] * 3
    method = getattr(recognitions[0], f"to_{library}")
    assert list(method()["happiness"]) == pytest.approx([0.93, 0.51])
    nobody = getattr(recognitions[1], f"to_{library}")()
    assert (len(nobody), list(nobody.columns)) == (0, columns(EXPRESSIONS))
    assert len(convert([])) == 0


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_a_missing_library_is_named(recognitions, library, monkeypatch):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(msanet.InputError, match=rf"needs {library}.*'msanet\[{library}\]'"):
        getattr(recognitions[0], f"to_{library}")()


def test_csv_says_what_the_results_say(recognitions, tmp_path):
    results = [json.loads(json.dumps(recognition.to_dict())) for recognition in recognitions]
    text = "".join(csv_lines(results, EXPRESSIONS))
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["source"] for row in rows] == SOURCES
    assert [float(row["happiness"]) for row in rows] == [0.93, 0.51, 0.72]
    write_csv(tmp_path / "results.csv", results, EXPRESSIONS)
    assert (tmp_path / "results.csv").read_text() == text
    with pytest.raises(msanet.InputError, match="cannot be written"):
        write_csv(tmp_path / "missing" / "results.csv", results, EXPRESSIONS)


def test_the_same_columns_for_other_expressions(recognitions):
    seven = dataclasses.replace(recognitions[1], expressions=EXPRESSIONS[:7])
    assert list("".join(csv_lines([seven.to_dict()], seven.expressions)).strip().split(",")) == columns(EXPRESSIONS[:7])
