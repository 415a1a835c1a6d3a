"""Weights as ONNX: the same probabilities, the same metadata, nothing half-written."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from msanet import data, weights
from msanet.classifier import Classifier
from msanet.errors import InputError
from msanet.export import OPSET, TOLERANCE, Proof, export, foldable, to_onnx
from msanet.labels import EXPRESSIONS, expressions_for
from msanet.measure.evaluate import evaluate
from msanet.measure.predict import predict
from msanet.model import Metadata
from msanet.networks import NETWORKS, create_network
from msanet.networks.network import Explains, example_inputs
from msanet.preprocessing import Preprocessing, softmax
from msanet.recognize.recognizer import Recognizer
from msanet.runtime import Session
from tests.conftest import SMALL

SIZE = 32


def save(path: Path, network: str = "msanet_ms") -> Metadata:
    torch.manual_seed(0)
    arguments = SMALL.get(network, {})
    metadata = Metadata("tiny", network, arguments, expressions_for(7), Preprocessing(size=SIZE), 1.5)
    weights.save(path, create_network(network, 7, **arguments).state_dict(), metadata)
    return metadata


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> tuple[Path, Metadata]:
    """A folder with model.safetensors and its model.onnx: exporting takes seconds, so most tests share it."""
    folder = tmp_path_factory.mktemp("exported")
    metadata = save(folder / "model.safetensors")
    export(folder / "model.safetensors", folder / "model.onnx")
    return folder, metadata


@pytest.mark.parametrize("name", NETWORKS)
def test_onnx_gives_all_outputs_of_pytorch(name, tmp_path):
    save(tmp_path / "model.safetensors", name)
    proof = export(tmp_path / "model.safetensors", tmp_path / "model.onnx")
    assert proof.difference <= TOLERANCE
    assert proof.agreement == 1
    assert proof.accuracies is None

    images = np.random.default_rng(1).standard_normal((3, 3, SIZE, SIZE)).astype(np.float32)
    network, _ = weights.load(tmp_path / "model.safetensors")
    _, inputs = example_inputs(network, len(images), SIZE)
    with torch.inference_mode():
        if isinstance(network, Explains):
            expected = network.explain(torch.from_numpy(images), **inputs)._asdict()
            expected = {name: value for name, value in expected.items() if value.numel()}
        else:
            features = network.features(torch.from_numpy(images), **inputs)
            expected = {"logits": network.head(features), "embedding": features}
    session = Session(tmp_path / "model.onnx", threads=1)
    assert session.outputs == list(expected)
    given = {name: value.numpy() for name, value in inputs.items()}
    for output in session.outputs:
        actual = session.run([output], {"images": images, **given})[0]
        np.testing.assert_allclose(actual, expected[output].numpy(), rtol=1e-3, atol=1e-3)


def test_any_number_of_pictures_runs(exported):
    session = Session(exported[0] / "model.onnx", threads=1)
    for number in (1, 2, 5):
        images = np.zeros((number, 3, SIZE, SIZE), np.float32)
        assert session.run(["logits"], {"images": images})[0].shape == (number, 7)


def test_metadata_travel(exported):
    folder, metadata = exported
    assert Classifier(folder / "model.onnx").metadata == metadata
    recognizer = Recognizer(folder / "model.onnx", threads=1)
    assert recognizer.expressions == expressions_for(7)
    assert recognizer.preprocessing == metadata.preprocessing


def test_no_path_of_this_machine_is_in_the_file(exported):
    assert str(Path(weights.__file__).parent).encode() not in (exported[0] / "model.onnx").read_bytes()


def test_half_precision_halves_the_file_and_keeps_the_probabilities(exported, tmp_path):
    full_file, half_file = exported[0] / "model.onnx", tmp_path / "half.onnx"
    export(exported[0] / "model.safetensors", half_file, half=True)
    assert half_file.stat().st_size < 0.6 * full_file.stat().st_size
    crops = list(np.random.default_rng(2).integers(0, 256, (4, 40, 40, 3), np.uint8))
    full, half = (Recognizer(file, threads=1).classify(crops) for file in (full_file, half_file))
    np.testing.assert_allclose(half, full, atol=0.01)
    assert not np.array_equal(half, full)


def test_a_network_that_onnx_gets_wrong_is_not_written(tmp_path, monkeypatch):
    save(tmp_path / "model.safetensors")
    monkeypatch.setattr("msanet.export.prove", lambda *_: Proof(16, 0.1, 1.0))
    with pytest.raises(RuntimeError, match="differ"):
        export(tmp_path / "model.safetensors", tmp_path / "model.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]


def test_wrong_names_are_refused(exported, tmp_path):
    model = exported[0] / "model.safetensors"
    with pytest.raises(InputError, match=r"does not end in \.onnx"):
        export(model, tmp_path / "model.bin")
    with pytest.raises(InputError, match="there is no model"):
        export("nobody", tmp_path / "model.onnx")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"):
        export(model, tmp_path / "file" / "model.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(("hierarchy", "kernels"), [("equation", (3,)), ("res2net", (3,)), ("equation", (5, 3, 1))])
def test_folding_keeps_the_outputs_and_the_network(hierarchy, kernels):
    torch.manual_seed(0)
    network = create_network("msanet", 7, kernels=kernels, num_subsets=3, hierarchy=hierarchy).eval()
    for name, value in network.state_dict().items():  # each branch's own, so that none can stand for another
        if ".spatial.1." in name and value.is_floating_point():
            value.uniform_(0.5, 1.5)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    images = torch.randn(2, 3, SIZE, SIZE)
    with torch.inference_mode():
        folded = foldable(network)
        assert isinstance(network, Explains)
        assert isinstance(folded, Explains)
        for expected, actual in zip(network.explain(images), folded.explain(images), strict=True):
            torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)
    assert before.keys() == network.state_dict().keys()


@pytest.mark.parametrize("half", [False, True])
def test_onnxruntime_joins_every_normalisation_and_sum_when_it_loads(tmp_path, half):
    onnx, onnxruntime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    metadata = Metadata("tiny", "msanet", {}, expressions_for(7), Preprocessing(size=SIZE))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    content = to_onnx(create_network("msanet", 7, kernels=(3, 1)), metadata, half=half)
    onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    assert [item.version for item in onnx.load_from_string(content).opset_import if not item.domain] == [OPSET]
    left = {node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node}
    assert left.isdisjoint({"BatchNormalization", "CumSum", "Expand", "Cast"})


@pytest.fixture(scope="module")
def quantized(faces_folder, tmp_path_factory) -> tuple[Path, Path, Proof]:
    """A model and its int8 file."""
    folder = tmp_path_factory.mktemp("int8")
    torch.manual_seed(0)
    preprocessing = Preprocessing(size=SIZE, mirror=True)
    metadata = Metadata("tiny", "msanet", {"kernels": [3]}, EXPRESSIONS, preprocessing, 1.5, scores={"test": 1})
    weights.save(folder / "model.safetensors", create_network("msanet", 8, kernels=(3,)).state_dict(), metadata)
    source = f"folder:{faces_folder}"
    proof = export(folder / "model.safetensors", folder / "int8.onnx", quantize="int8", source=source)
    return folder / "model.safetensors", folder / "int8.onnx", proof


def test_int8_keeps_outputs_and_metadata_and_has_its_own_scores(quantized, faces_folder):
    model, file, proof = quantized
    session, metadata = Session(file, threads=1), weights.load(model)[1]
    told = json.loads(session.custom_metadata["msanet"])
    assert session.outputs == ["logits", "embedding", "evidence", "attention"]
    assert told["expressions"] == list(metadata.expressions)
    assert told["preprocessing"] == json.loads(metadata.to_json())["preprocessing"]
    assert told["temperature"] == metadata.temperature
    assert told["name"] == "tiny-int8"
    assert told["training"]["quantization"] == {
        "type": "int8", "data": "folder", "split": "train", "pictures": 32, "seed": 0
    }  # fmt: skip
    assert list(told["scores"]) == ["validation"]  # the float32 network's are not int8's
    report = evaluate(file, f"folder:{faces_folder}", "validation")
    assert told["scores"]["validation"]["confusion"] == report.to_dict()["confusion"]
    assert proof.accuracies is not None
    assert proof.accuracies[1] == report.accuracy
    assert proof.pictures == report.num_pictures


def test_int8_is_small_and_near(quantized):
    model, file, proof = quantized
    assert file.stat().st_size < 0.4 * model.stat().st_size
    assert 0 < proof.difference < 0.3
    assert proof.agreement >= 0.75


def test_int8_weights_have_seven_bits(quantized):
    """With eight, x86 processors without VNNI overflow; the newer ones, such as CI's, would show nothing."""
    onnx = pytest.importorskip("onnx")
    values = [onnx.numpy_helper.to_array(item) for item in onnx.load(quantized[1]).graph.initializer]
    largest = [int(np.abs(value.astype(int)).max()) for value in values if value.dtype == np.int8 and value.ndim == 4]
    assert len(largest) > 3
    assert 60 <= max(largest) <= 64


def test_int8_leaves_attention_and_head_in_float32(quantized):
    onnx = pytest.importorskip("onnx")
    pooled: set[str] = set()
    for node in onnx.load(quantized[1]).graph.node:
        if node.op_type in ("ReduceMean", "ReduceMax") or pooled & set(node.input):
            assert node.op_type != "QuantizeLinear"
            pooled |= set(node.output)
    assert {"logits", "attention"} <= pooled


def test_int8_evidence_still_sums_to_the_logits(quantized):
    session = Session(quantized[1], threads=1)
    images = np.random.default_rng(3).standard_normal((5, 3, SIZE, SIZE)).astype(np.float32)
    logits, evidence = session.run(["logits", "evidence"], {"images": images})
    np.testing.assert_allclose(evidence.mean(axis=(2, 3)), logits, atol=1e-4)


def test_int8_needs_faces_and_says_so(exported, tmp_path):
    model = exported[0] / "model.safetensors"
    with pytest.raises(InputError, match="--data NAME:DIR"):
        export(model, tmp_path / "model.onnx", quantize="int8")
    with pytest.raises(InputError, match="choose int8"):
        export(model, tmp_path / "model.onnx", quantize="int4", source="folder:.")
    with pytest.raises(InputError, match="ask for one"):
        export(model, tmp_path / "model.onnx", half=True, quantize="int8", source="folder:.")
    with pytest.raises(InputError):
        export(model, tmp_path / "model.onnx", quantize="int8", source=f"folder:{tmp_path / 'nowhere'}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mirror", [False, True])
def test_recognition_gives_what_evaluation_gives_picture_by_picture(faces_folder, tmp_path, mirror):
    torch.manual_seed(0)
    preprocessing = Preprocessing(size=SIZE, resize=36, gray=True, mirror=mirror)
    metadata = Metadata("tiny", "msanet_ms", {}, EXPRESSIONS, preprocessing, 1.5)
    weights.save(tmp_path / "model.safetensors", create_network("msanet_ms", 8).state_dict(), metadata)
    export(tmp_path / "model.safetensors", tmp_path / "model.onnx")
    samples = data.read(f"folder:{faces_folder}", "test")
    network, _ = weights.load(tmp_path / "model.safetensors")
    evaluated = softmax(predict(network, samples, preprocessing, EXPRESSIONS), metadata.temperature)
    recognized = Recognizer(tmp_path / "model.onnx", threads=1).classify([sample.crop() for sample in samples])
    np.testing.assert_allclose(recognized, evaluated, atol=TOLERANCE)
