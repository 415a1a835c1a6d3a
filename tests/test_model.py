"""Models: names, files and metadata that may come from anywhere."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msanet.errors import InputError
from msanet.labels import EXPRESSIONS
from msanet.model import Metadata, model_names, model_path
from msanet.preprocessing import Preprocessing

METADATA = Metadata("tiny", "msanet", {"channels": [8]}, EXPRESSIONS, Preprocessing(size=32), 1.5)


def changed(**values: object) -> str:
    return json.dumps({**json.loads(METADATA.to_json()), **values})


def test_metadata_come_back_from_their_json():
    assert Metadata.from_json(METADATA.to_json(), "x") == METADATA


def test_shipped_models_have_both_files():
    assert model_names() == model_names(".safetensors") == ["accurate", "fast"]
    assert model_path("fast").is_file()
    assert model_path("fast", ".safetensors").is_file()


def test_an_unknown_name_is_refused():
    with pytest.raises(InputError, match="there is no model 'slow': choose one of the shipped"):
        model_path("slow")


@pytest.mark.parametrize(
    "values",
    [
        {"temperature": 0},
        {"temperature": -1},
        {"temperature": float("nan")},
        {"temperature": float("inf")},
        {"temperature": "1"},
        {"temperature": None},
        {"temperature": True},
        {"expressions": []},
        {"expressions": ["neutral"]},
        {"expressions": ["neutral", "neutral"]},
        {"expressions": ["neutral", 3]},
        {"expressions": "neutral"},
        {"expressions": ["neutral", "x" * 300]},
        {"expressions": ["neutral", "a\nb"]},
        {"name": 3},
        {"network": None},
        {"arguments": []},
        {"training": "x"},
        {"scores": 1},
        {"inputs": ["audio"]},
        {"preprocessing": 3},
        {"preprocessing": {"size": 1}},
        {"something": 1},
    ],
)
def test_metadata_that_lie_are_one_sentence(values):
    with pytest.raises(InputError, match=r"file\.onnx"):
        Metadata.from_json(changed(**values), "file.onnx")


@given(st.dictionaries(st.sampled_from([*json.loads(METADATA.to_json())]), st.none() | st.integers() | st.text()))
def test_any_metadata_are_read_or_refused(values):
    with suppress(InputError):
        assert Metadata.from_json(changed(**values), "file.onnx").expressions == EXPRESSIONS


@pytest.mark.parametrize("text", [None, "", "[1]", "{", "[" * 100_000, "NaN", '{"name": "x"}'])
def test_text_that_is_no_metadata_is_refused(text):
    with pytest.raises(InputError, match=r"file\.onnx"):
        Metadata.from_json(text, "file.onnx")
