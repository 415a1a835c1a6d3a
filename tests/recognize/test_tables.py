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


SOURCES = ['a, "b".jpg', 'a, "b".jpg', "nobody.jpg", "c.jpg"]


@pytest.mark.parametrize(("library", "convert"), [("pandas", to_pandas), ("polars", to_polars)])
def test_a_row_for_each_face_and_for_a_picture_without(recognitions, library, convert):
    module = pytest.importorskip(library)
    missing = getattr(module, "NA", None)
    frame = convert(recognitions)
    assert isinstance(frame, module.DataFrame)
    assert list(frame.columns) == columns(EXPRESSIONS)
    assert list(frame["source"]) == SOURCES
    assert [None if number is missing else number for number in frame["face"]] == [1, 2, None, 1]
    assert [x for x in frame["happiness"] if x == x and x is not None] == pytest.approx([0.93, 0.51, 0.72])
    assert list(frame["expression"])[:2] == ["happiness"] * 2
    method = getattr(recognitions[0], f"to_{library}")
    assert list(method()["happiness"]) == pytest.approx([0.93, 0.51])
    nobody = getattr(recognitions[1], f"to_{library}")()
    assert (len(nobody), list(nobody.columns)) == (1, columns(EXPRESSIONS))
    assert list(map(str, nobody.dtypes)) == list(map(str, frame.dtypes))  # so that they can be put together
    assert len(convert([])) == 0


@pytest.mark.parametrize(("library", "convert"), [("pandas", to_pandas), ("polars", to_polars)])
def test_names_in_a_frame_are_texts_and_no_formulas(recognitions, library, convert):
    pytest.importorskip(library)
    names = ["=1+1.jpg", "\udcff.jpg", "\tx.jpg"]
    frame = convert([dataclasses.replace(recognitions[2], source=name) for name in names])
    assert list(frame["source"]) == ["'=1+1.jpg", r"\xff.jpg", r"'\tx.jpg"]


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
    assert [row["happiness"] for row in rows] == ["0.93", "0.51", "", "0.72"]
    assert set(rows[2].values()) == {"nobody.jpg", ""}
    write_csv(tmp_path / "results.csv", results, EXPRESSIONS)
    assert (tmp_path / "results.csv").read_text() == text
    with pytest.raises(msanet.InputError, match="cannot be written"):
        write_csv(tmp_path / "missing" / "results.csv", results, EXPRESSIONS)


def test_the_same_columns_for_other_expressions(recognitions):
    seven = dataclasses.replace(recognitions[1], expressions=EXPRESSIONS[:7])
    header, _ = csv_lines([seven.to_dict()], seven.expressions)
    assert header.strip().split(",") == columns(EXPRESSIONS[:7])


def test_a_line_is_one_line_and_no_formula(recognitions):
    """Whatever is in a name, or in what a model calls its classes."""
    result = dataclasses.replace(recognitions[2], source="@a\n\x1b[31m\udcff").to_dict()
    result["faces"][0] |= {"expression": "=2+2", "probabilities": {"=2+2": 1.0, "-b": 0.0}}
    header, line = csv_lines([result], ["=2+2", "-b"])
    assert header.strip().endswith("expression,'=2+2,'-b")
    assert line.startswith(r"'@a\n\x1b[31m\xff,1,")
    assert ",'=2+2," in line
