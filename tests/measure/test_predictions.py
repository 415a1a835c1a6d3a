"""The table of predictions agrees with the evaluation, number by number, in both formats."""

from __future__ import annotations

import csv
import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from msanet import weights
from msanet.data.fer2013 import PixelRow
from msanet.data.sample import Sample
from msanet.errors import InputError
from msanet.labels import EXPRESSIONS
from msanet.measure.predict import Model
from msanet.measure.predictions import check_format, columns, place, write
from msanet.recognize.recognizer import Recognizer

pytestmark = pytest.mark.usefixtures("one_thread")

PROBABILITIES = [f"probability_{name}" for name in EXPRESSIONS]


def test_a_csv_file_has_a_row_for_each_picture(evaluation, tmp_path):
    write(tmp_path / "new" / "table.csv", evaluation)
    with (tmp_path / "new" / "table.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["file", "label", "answer", "correct", *PROBABILITIES]
    assert [row["file"] for row in rows] == [str(sample.path) for sample in evaluation.samples]
    assert [row["label"] for row in rows] == [sample.label for sample in evaluation.samples]
    numbers = np.array([[float(row[name]) for name in PROBABILITIES] for row in rows])
    np.testing.assert_allclose(numbers, evaluation.probabilities, atol=1e-6)
    assert [row["answer"] for row in rows] == [EXPRESSIONS[index] for index in numbers.argmax(axis=1)]
    assert sum(row["correct"] == "True" for row in rows) == np.trace(evaluation.report.confusion)
    assert os.listdir(tmp_path / "new") == ["table.csv"]


def test_a_parquet_file_has_the_same_numbers_and_their_types(evaluation, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    write(tmp_path / "table.parquet", evaluation, embedding=True, workers=0)
    table = parquet.read_table(tmp_path / "table.parquet")
    features = evaluation.model.embed(evaluation.samples)
    assert table.column_names[-features.shape[1] :] == [f"embedding_{index}" for index in range(features.shape[1])]
    expected = columns(evaluation, features)
    assert table.column_names == list(expected)
    for name in table.column_names:
        np.testing.assert_array_equal(table[name].to_numpy(), expected[name])
    assert str(table.schema.field("correct").type) == "bool"
    assert str(table.schema.field("probability_fear").type) == "float"


def test_the_embedding_is_that_of_recognition(evaluation, tiny_model):
    embedding = Recognizer(tiny_model).embed([sample.crop() for sample in evaluation.samples])
    np.testing.assert_allclose(Model(tiny_model).embed(evaluation.samples), embedding, rtol=1e-4, atol=1e-5)


@torch.inference_mode()
def test_the_embedding_of_weights_is_the_features_of_both_views(evaluation, tiny_weights):
    network, metadata = weights.load(tiny_weights)
    images = torch.from_numpy(metadata.preprocessing([sample.crop() for sample in evaluation.samples]))
    expected = (network.features(images) + network.features(images.flip(3))) / 2
    np.testing.assert_allclose(evaluation.model.embed(evaluation.samples), expected.numpy(), rtol=1e-4, atol=1e-5)


def test_faces_in_larger_pictures_have_their_boxes(evaluation):
    boxed = [replace(sample, box=(1.0, 2.0, 30.0, 40.5)) for sample in evaluation.samples]
    table = columns(replace(evaluation, samples=[*boxed[1:], evaluation.samples[0]]))
    assert list(table)[:6] == ["file", "x1", "y1", "x2", "y2", "label"]
    assert table["y2"] == [40.5] * (len(boxed) - 1) + [None]


def test_a_picture_within_a_file_has_its_line():
    assert place(PixelRow(Path("data/fer2013.csv"), "fear", line=7)) == "data/fer2013.csv, line 7"
    assert place(Sample(Path(os.fsdecode(b"data/\xff.png")), "fear")) == "data/\\xff.png"


def test_no_cell_is_a_formula(evaluation, tmp_path):
    labels = ("=1+1", *EXPRESSIONS[1:])
    report = replace(evaluation.report, labels=labels)
    samples = [replace(item, label=labels[EXPRESSIONS.index(item.label)]) for item in evaluation.samples]
    write(tmp_path / "table.csv", replace(evaluation, samples=samples, report=report))
    with (tmp_path / "table.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert "'=1+1" in {row["label"] for row in rows}
    assert not any(value.startswith("=") for row in rows for value in row.values())


def test_what_cannot_be_written_is_said_before_the_work(monkeypatch, tmp_path):
    with pytest.raises(InputError, match=r"table\.txt ends in none of \.csv, \.parquet"):
        check_format(tmp_path / "table.txt")
    check_format(tmp_path / "table.csv")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InputError, match="needs pyarrow"):
        check_format(tmp_path / "table.parquet")


def test_the_file_appears_whole_or_not_at_all(evaluation, tmp_path, monkeypatch):
    (tmp_path / "table.csv").write_text("before")
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(InputError, match="No space left on device"):
        write(tmp_path / "table.csv", evaluation)
    assert [path.name for path in tmp_path.iterdir()] == ["table.csv"]
    assert (tmp_path / "table.csv").read_text() == "before"
