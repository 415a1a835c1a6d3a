"""The benchmark: what it measures, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from msanet.cli.app import app
from msanet.errors import InputError
from msanet.images import write
from msanet.recognize.benchmark import BATCHES, Benchmark, benchmark, clock, machine


@pytest.fixture(scope="module")
def portrait_file(portrait, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("picture") / "portrait.png"
    write(path, portrait)
    return path


@pytest.fixture(scope="module")
def result(tiny_model, portrait_file) -> Benchmark:
    return benchmark([str(portrait_file)], [str(tiny_model)], threads=[1, 2], repeats=2, size=320)


def test_every_stage_of_every_number_of_threads_is_measured(result):
    stages = ["decode, a picture", "detect, a picture", "crop, a face", "preprocess, a face"]
    stages += [f"classify, a batch of {batch}" for batch in BATCHES] + ["draw, a picture"]
    for threads in (1, 2):
        units = {figure.what: figure.unit for figure in result.figures if figure.threads == threads}
        assert units == {
            **dict.fromkeys(stages, "ms"),
            "faces, cut out": "1/s",
            "pictures, one at a time": "1/s",
        }
    assert [figure.what for figure in result.figures if figure.threads is None] == ["cold start", "peak memory"]
    assert all(0 < figure.lowest <= figure.median <= figure.highest for figure in result.figures)
    assert (result.pictures, result.faces, result.repeats) == (1, 1, 2)


def test_the_whole_takes_as_long_as_its_parts(result):
    """Decoding, detection and one face's way, measured apart, add up to about what one picture takes in all."""
    figures = {figure.what: figure for figure in result.figures if figure.threads == 1}
    parts = ("decode, a picture", "detect, a picture", "crop, a face", "preprocess, a face", "classify, a batch of 1")
    together = sum(figures[part].lowest for part in parts)
    whole = 1000 / figures["pictures, one at a time"].highest
    assert 0.4 < whole / together < 2.5  # wide, since other processes disturb


def test_a_cold_start_is_a_process_of_its_own(result):
    cold = {figure.what: figure.median for figure in result.figures if figure.threads is None}
    assert 0.05 < cold["cold start"] < 60
    assert cold["peak memory"] > 30


def test_the_machine_is_described():
    told = machine()
    assert {"processor", "threads", "system", "python", "msanet", "onnxruntime", "numpy"} <= set(told)
    assert all(told.values())


def test_the_clock_repeats_and_warms_up():
    calls = []
    values = clock(lambda: calls.append(1), repeats=3)
    assert len(values) == 3
    assert len(calls) > 5
    assert 0 < max(values) < 0.01


def test_wrong_input_is_one_sentence(tiny_model, portrait_file, tmp_path):
    from PIL import Image

    empty = tmp_path / "empty.png"
    Image.new("RGB", (64, 64)).save(empty)
    with pytest.raises(InputError, match="no face was found"):
        benchmark([str(empty)], [str(tiny_model)], threads=[1], repeats=1)
    with pytest.raises(InputError, match="repeats is 0"):
        benchmark([str(portrait_file)], [str(tiny_model)], repeats=0)
    with pytest.raises(InputError, match="nothing to measure"):
        benchmark([str(portrait_file)], [])
    with pytest.raises(InputError, match="there is no model"):
        benchmark([str(portrait_file)], ["nobody"])
    with pytest.raises(InputError, match=r"missing\.jpg"):
        benchmark([str(tmp_path / "missing.jpg")], [str(tiny_model)], repeats=1)


def test_the_command_prints_a_table_and_json(result, monkeypatch):
    monkeypatch.setattr("msanet.recognize.benchmark.benchmark", lambda *_: result)
    printed = CliRunner().invoke(app, ["benchmark", "photo.jpg"])
    assert printed.exit_code == 0
    assert result.machine["processor"] in printed.output
    assert "classify, a batch of 64" in printed.output
    told = json.loads(CliRunner().invoke(app, ["benchmark", "photo.jpg", "--format", "json"]).output)
    assert told["machine"] == result.machine
    assert len(told["figures"]) == len(result.figures)
