"""Models: names, files and metadata that may come from anywhere."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from msanet.classifier import Classifier
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
        {"temperature": 1e-300},
        {"temperature": 10**400},
        {"temperature": [1.5]},
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
        {"inputs": ["landmarks", "landmarks"]},
        {"inputs": "landmarks"},
        {"inputs": {"landmarks": 1}},
        {"expressions": {"neutral": 1, "anger": 2}},
        {"expressions": None},
        {"expressions": [["neutral"], ["anger"]]},
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


@pytest.mark.parametrize("name", ["name", "network", "arguments", "expressions", "preprocessing"])
def test_what_must_be_said_is_named(name):
    values = json.loads(METADATA.to_json())
    del values[name]
    with pytest.raises(InputError, match=f"does not say its {name}"):
        Metadata.from_json(json.dumps(values), "file.onnx")


def test_other_types_are_refused_without_a_file_too():
    with pytest.raises(InputError, match="preprocessing"):
        Metadata("tiny", "msanet", {}, EXPRESSIONS, {"size": 32})  # type: ignore[arg-type]
    with pytest.raises(InputError, match="no list of names"):
        Metadata("tiny", "msanet", {}, list(EXPRESSIONS), Preprocessing())  # type: ignore[arg-type]


@pytest.mark.parametrize("text", [None, "", "[1]", "{", "[" * 100_000, "NaN", '{"name": "x"}'])
def test_text_that_is_no_metadata_is_refused(text):
    with pytest.raises(InputError, match=r"file\.onnx"):
        Metadata.from_json(text, "file.onnx")


# -- files that lie ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def graph(tiny_model: Path):
    """The tiny model as an onnx.ModelProto; copy it before changing it."""
    return pytest.importorskip("onnx").load(tiny_model)


def hostile(graph, **values: object) -> bytes:
    """The bytes of a copy with other metadata."""
    onnx = pytest.importorskip("onnx")
    graph = onnx.ModelProto.FromString(graph.SerializeToString())
    own = json.loads(next(item.value for item in graph.metadata_props if item.key == "msanet"))
    onnx.helper.set_model_props(graph, {"msanet": json.dumps({**own, **values})})
    return bytes(graph.SerializeToString())


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(EXPRESSIONS),
    lambda inner: st.lists(inner, max_size=9) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=12,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(data=st.data())
def test_any_file_is_used_or_refused(graph, data):
    """Whatever a file says of itself, it gives finite probabilities of its labels, or one sentence."""
    own = json.loads(METADATA.to_json())
    values = data.draw(st.dictionaries(st.sampled_from([*own]), ANYTHING, max_size=2))
    if data.draw(st.booleans()):
        some = st.dictionaries(st.sampled_from([*own["preprocessing"]]), ANYTHING, max_size=2)
        values["preprocessing"] = {**own["preprocessing"], **data.draw(some)}
    try:
        classifier = Classifier(hostile(graph, **values), threads=1)
    except InputError as error:
        sentence = str(error)
    else:
        sentence = ""
        probabilities = classifier.classify([np.zeros((40, 30, 3), np.uint8)])
        assert probabilities.shape == (1, len(classifier.expressions))
        assert np.isfinite(probabilities).all()
    assert "\n" not in sentence
    assert len(sentence) < 500


def _rename(graph, old: str, new: str) -> None:
    """Give an input or output of the graph another name."""
    for node in graph.graph.node:
        for names in (node.input, node.output):
            names[:] = [new if name == old else name for name in names]
    for value in (*graph.graph.input, *graph.graph.output):
        value.name = new if value.name == old else value.name


def _after(graph, name: str, operator: str, constant: object = None, kind: int = 1, **attributes: object) -> None:
    """Put a node behind an output, which keeps its name; the output is declared as a tensor of that kind, any shape."""
    onnx = pytest.importorskip("onnx")
    for node in graph.graph.node:
        node.output[:] = [f"{item}_before" if item == name else item for item in node.output]
        node.input[:] = [f"{item}_before" if item == name else item for item in node.input]
    inputs = [f"{name}_before"]
    if constant is not None:
        graph.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(constant), f"{name}_constant"))
        inputs.append(f"{name}_constant")
    graph.graph.node.append(onnx.helper.make_node(operator, inputs, [name], **attributes))
    for value in graph.graph.output:
        if value.name == name:
            value.CopyFrom(onnx.helper.make_tensor_value_info(name, kind, None))


def _side(graph, place: int, side: int | str) -> None:
    """Declare another side of the input."""
    dimension = graph.graph.input[0].type.tensor_type.shape.dim[place]
    dimension.Clear()
    if isinstance(side, str):
        dimension.dim_param = side
    else:
        dimension.dim_value = side


def _further_input(graph, name: str) -> None:
    onnx = pytest.importorskip("onnx")
    graph.graph.input.append(onnx.helper.make_tensor_value_info(name, 1, ["N", 5, 2]))
    graph.graph.node.append(onnx.helper.make_node("Identity", [name], [f"{name}_seen"]))
    graph.graph.output.append(onnx.helper.make_tensor_value_info(f"{name}_seen", 1, ["N", 5, 2]))


def _fill(graph, value: float) -> None:
    """Every weight becomes one number."""
    for item in graph.graph.initializer:
        if item.data_type == 1:
            item.raw_data = np.full(item.dims, value, np.float32).tobytes()


LIES = {
    "no logits": (lambda graph: _rename(graph, "logits", "scores"), "has no output logits"),
    "another input": (lambda graph: _rename(graph, "images", "pixels"), "does not run"),
    "a further input": (lambda graph: _further_input(graph, "sound"), "does not run"),
    "unannounced landmarks": (lambda graph: _further_input(graph, "landmarks"), "does not run"),
    "one picture at a time": (lambda graph: _side(graph, 0, 1), "does not run"),
    "another size": (lambda graph: _side(graph, 2, 48), "does not run on pictures of 32 x 32"),
    "a size of a milliard": (lambda graph: _side(graph, 3, 10**9), "does not run"),
    "one channel": (lambda graph: _side(graph, 1, 1), "cannot be loaded|does not run"),
    "float64": (lambda graph: _after(graph, "logits", "Cast", kind=11, to=11), "float64"),
    "float16": (lambda graph: _after(graph, "embedding", "Cast", kind=10, to=10), "float16"),
    "whole numbers": (lambda graph: _after(graph, "evidence", "Cast", kind=7, to=7), "int64"),
    "words": (lambda graph: _after(graph, "logits", "Cast", kind=8, to=8), "its logits are"),
    "one label fewer": (lambda graph: _after(graph, "logits", "Gather", np.arange(7), axis=1), r"\[2, 7\]"),
    "one picture fewer": (lambda graph: _after(graph, "logits", "Gather", np.arange(1), axis=0), r"\[1, 8\]"),
    "a shape of its own": (lambda graph: _after(graph, "logits", "Reshape", np.array([4, 4])), r"\[4, 4\]"),
    "three dimensions": (lambda graph: _after(graph, "embedding", "Unsqueeze", np.array([2])), r"\[2, 8, 1\]"),
    "flat evidence": (lambda graph: _after(graph, "evidence", "Flatten"), r"\[2, 512\]"),
    "attention of nothing": (lambda graph: _after(graph, "attention", "Gather", np.zeros(0, int), axis=1), "attention"),
    "a shape that fails": (lambda graph: _after(graph, "logits", "Reshape", np.array([5, 5])), "does not run"),
    "no numbers": (lambda graph: _fill(graph, float("nan")), "finite"),
    "numbers that overflow": (lambda graph: _fill(graph, 3e38), "finite"),
    "a sequence": (lambda graph: _after(graph, "logits", "SequenceConstruct"), "cannot be loaded|no array"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_network_that_is_not_what_its_metadata_say_is_one_sentence(graph, lie, capfd):
    change, words = LIES[lie]
    graph = pytest.importorskip("onnx").ModelProto.FromString(graph.SerializeToString())
    change(graph)
    with pytest.raises(InputError, match=words) as caught:
        Classifier(graph.SerializeToString(), threads=1)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""  # nor does onnxruntime say it again


@pytest.mark.parametrize("side", ["height", 32])
def test_free_sides_and_further_outputs_are_no_lies(graph, side):
    graph = pytest.importorskip("onnx").ModelProto.FromString(graph.SerializeToString())
    _side(graph, 2, side)
    graph.graph.output.append(pytest.importorskip("onnx").helper.make_tensor_value_info("pooled", 1, None))
    assert Classifier(graph.SerializeToString(), threads=1).classify([np.zeros((9, 9, 3), np.uint8)]).shape == (1, 8)
