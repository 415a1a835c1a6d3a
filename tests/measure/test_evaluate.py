"""Which pictures and which expressions are scored, alone and in subsets, and what the protocol says of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from msanet import data, weights
from msanet.classifier import Classifier
from msanet.data.sample import DataWarning, Sample
from msanet.errors import InputError
from msanet.labels import EXPRESSIONS
from msanet.measure.evaluate import evaluate, examine, held_out
from msanet.measure.predictions import write
from msanet.measure.report import page
from msanet.preprocessing import Preprocessing, softmax
from msanet.train.recipe import Recipe, load_recipe
from msanet.train.run import Run
from tests.conftest import TINY_RECIPE, build_weights, ferplus_name

pytestmark = pytest.mark.usefixtures("one_thread")


def load_recipe_with(folder: Path, **changes: Any) -> Recipe:
    """The tiny recipe of one epoch, changed."""
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump({**TINY_RECIPE, "epochs": 1, **changes}))
    return load_recipe(path)


def test_the_test_split_brings_its_subsets(evaluation, tiny_weights, ferplus):
    subsets = evaluation.report.subsets
    assert list(subsets) == [
        f"{name}{own}" for name in ("pose30", "pose45", "occlusion") for own in ("", ", labels of the list")
    ]
    alone = evaluate(tiny_weights, f"ferplus:{ferplus}", "test", "pose30", workers=0)
    np.testing.assert_array_equal(alone.confusion, subsets["pose30"].confusion)
    own = subsets["pose30, labels of the list"]
    assert own.pictures.tolist() == [2, 0, 1, 0, 0, 0, 0, 0]  # 44's label is another there
    assert evaluate(tiny_weights, f"ferplus:{ferplus}", "validation", workers=0).subsets == {}
    assert alone.subsets == {}
    assert evaluation.report.to_dict()["subsets"]["pose45"]["num_pictures"] == 1
    assert "| pose45 | 1 |" in evaluation.report.to_markdown()


def test_a_face_has_the_same_probabilities_in_evaluation_and_in_recognition(make_model, ferplus):
    """Preprocessing, mirrored view and temperature included."""
    model = make_model(preprocessing=Preprocessing(size=32, resize=36, mirror=True))
    found = examine(model, f"ferplus:{ferplus}", workers=0)
    classifier = Classifier(model)
    assert classifier.metadata.temperature == 1.5
    expected = classifier.classify([sample.crop() for sample in found.samples])
    np.testing.assert_allclose(found.probabilities, expected, atol=1e-5)
    assert np.ptp(expected, axis=1).min() > 0.01  # they differ from each other, so that a temperature shows


def test_the_temperature_of_weights_sharpens_their_evaluation(tiny_weights, ferplus, tmp_path):
    network, metadata = weights.load(tiny_weights)
    weights.save(tmp_path / "cold.safetensors", network.state_dict(), replace(metadata, temperature=0.1))
    found = examine(tmp_path / "cold.safetensors", f"ferplus:{ferplus}", workers=0)
    logits = found.model.logits(found.samples)
    np.testing.assert_allclose(found.probabilities, softmax(logits, 0.1), atol=1e-5)
    assert np.abs(softmax(logits, 0.1) - softmax(logits)).max() > 0.05


def test_the_report_says_in_fields_what_was_scored(evaluation):
    report = evaluation.report
    assert (report.data, report.split, report.subset, report.own_labels) == ("ferplus", "test", None, False)
    assert (report.options, report.aligned, report.without_face) == ({}, 0, 0)
    found = {title: (part.data, part.split, part.subset, part.own_labels) for title, part in report.subsets.items()}
    assert found["pose30"] == ("ferplus", "test", "pose30", False)
    assert found["pose30, labels of the list"] == ("ferplus", "test", "pose30", True)


def test_a_list_that_cannot_be_read_is_left_out_with_a_warning(tiny_weights, own_ferplus):
    (own_ferplus / "subsets" / "pose_45_ferplus_list.txt").write_text("?\n")
    with pytest.warns(UserWarning, match=r"pose45 is left out: .*line 1"):
        report = evaluate(tiny_weights, f"ferplus:{own_ferplus}", workers=0)
    assert not any("pose45" in name for name in report.subsets)


def test_a_subset_says_how_its_own_crops_were_aligned(make_model, own_ferplus, portrait, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    face = Image.fromarray(portrait[130:330, 168:368]).convert("L").resize((48, 48))
    face.save(own_ferplus / "FER2013Test" / ferplus_name(44))
    model = make_model(preprocessing=Preprocessing(size=32, resize=36, align=True))
    report = evaluate(model, f"ferplus:{own_ferplus}", workers=0)
    assert "each crop aligned by the face detector, 7 without a face as they are" in report.protocol
    assert "face detector, 2 without a face as they are" in report.subsets["pose30"].protocol
    assert "face detector, 1 without a face as they are" in report.subsets["pose45"].protocol
    assert (report.aligned, report.without_face) == (1, 7)
    assert (report.subsets["pose30"].aligned, report.subsets["pose30"].without_face) == (1, 2)


def test_eight_expressions_on_a_set_of_seven(tiny_weights, make_faces):
    root = make_faces({"test": 2})
    eight = examine(tiny_weights, f"folder:{root}", workers=0)
    shutil.rmtree(root / "test" / "contempt")
    seven = examine(tiny_weights, f"folder:{root}", workers=0)
    assert seven.report.labels == EXPRESSIONS[:7]
    assert "the model's contempt left out and the rest normalised" in seven.report.protocol
    kept = eight.probabilities[:14, :7]
    np.testing.assert_allclose(seven.probabilities, kept / kept.sum(axis=1, keepdims=True), atol=1e-5)
    np.testing.assert_allclose(seven.probabilities.sum(axis=1), 1, atol=1e-5)


def test_seven_classes_can_be_asked_for(tiny_weights, ferplus):
    report = evaluate(tiny_weights, f"ferplus:{ferplus}", "test", None, 7, workers=0)
    assert report.labels == EXPRESSIONS[:7]
    assert report.num_pictures == 7
    assert "1 pictures of other labels" in report.protocol
    with pytest.raises(InputError, match="num_classes is 5"):
        evaluate(tiny_weights, f"ferplus:{ferplus}", classes=5, workers=0)


def test_seven_expressions_on_a_set_of_eight(ferplus, tmp_path):
    seven = build_weights(tmp_path / "seven.safetensors", "msanet_ms", EXPRESSIONS[:7])
    report = evaluate(seven, f"ferplus:{ferplus}", workers=0)
    assert report.num_pictures == 7
    assert "1 pictures of other labels than the model's are left out" in report.protocol
    assert "normalised" not in report.protocol


def test_options_of_the_reader(tiny_weights, ferplus):
    report = evaluate(tiny_weights, f"ferplus:{ferplus}", options={"protocol": "top"}, workers=0)
    assert report.num_pictures == 9  # with the one that has no majority
    assert report.options == {"protocol": "top"}
    assert report.protocol == "ferplus, test split, read with protocol=top"
    assert report.subsets == {}  # whose lists have the majority protocol
    with pytest.raises(InputError, match="ferplus has no option 'nothing' here"):
        evaluate(tiny_weights, f"ferplus:{ferplus}", options={"nothing": 1}, workers=0)


def test_validation_pictures_are_those_that_the_training_held_out(make_faces, tmp_path):
    """By the reader's own defaults, most of them would have been trained on."""
    source = f"folder:{make_faces({'train': 10, 'test': 2})}"
    recipe = load_recipe_with(tmp_path, data={"validation": 0.3, "seed": 5})
    Run(source, "msanet_ms", recipe, tmp_path / "run").train()
    best = tmp_path / "run" / "best.safetensors"
    found = examine(best, source, "validation", workers=0)
    held_out = data.read(source, "validation", validation=0.3, seed=5)
    assert [sample.path for sample in found.samples] == [sample.path for sample in held_out]
    saved = json.loads((tmp_path / "run" / "best" / "report.json").read_text())
    assert found.report.confusion.tolist() == saved["confusion"]
    assert found.report.options == {"validation": 0.3, "seed": 5}
    assert "read with validation=0.3, seed=5" in found.report.protocol
    trained = {sample.path for sample in examine(best, source, "train", workers=0).samples}
    assert not trained & {sample.path for sample in held_out}
    assert len(trained) == 56
    other = examine(best, source, "validation", options={"seed": 6}, workers=0)
    assert {sample.path for sample in other.samples} & trained


@pytest.mark.parametrize(
    "training",
    [
        {},
        {"data": "rafdb", "recipe": {"data": {"validation": 0.3}}},
        {"data": "folder"},
        {"data": "folder", "recipe": 3},
        {"data": "folder", "recipe": {"data": [1]}},
        {"data": "folder", "recipe": {"data": {"other": 1}}},
    ],
)
def test_other_training_holds_nothing_out(tiny_weights, training):
    _, metadata = weights.load(tiny_weights)
    assert held_out(replace(metadata, training=training), "folder:DIR") == {}


@pytest.fixture
def own_labels(monkeypatch, ferplus) -> Callable[..., str]:
    """Makes own:ferplus, a data set with two pictures of each of the given labels."""

    def make(*names: str) -> str:
        def read(root: Path, split: str) -> list[Sample]:
            paths = sorted((root / "FER2013Test").iterdir())
            return [Sample(path, name) for path, name in zip(paths, 2 * names, strict=False)]

        monkeypatch.setitem(data.READERS, "own", data.Reader(read, "", "", labels=()))
        return f"own:{ferplus}"

    return make


THREE = ("positive", "neutral", "negative")


def test_three_labels_of_ones_own(tmp_path, own_labels):
    model = build_weights(tmp_path / "three.safetensors", "msanet_ms", THREE)
    found = examine(model, own_labels(*THREE), workers=0)
    assert found.report.labels == THREE
    assert found.report.pictures.tolist() == [2, 2, 2]
    page(found)
    write(tmp_path / "table.csv", found)
    two = examine(model, own_labels(*THREE[1:], "other"), workers=0)
    assert two.report.labels == THREE[1:]
    assert "the model's positive left out and the rest normalised" in two.report.protocol
    assert "2 pictures of other labels than the model's are left out" in two.report.protocol


def test_labels_that_the_training_merged_are_merged(tmp_path, ferplus, own_labels):
    model = build_weights(tmp_path / "three.safetensors", "msanet_ms", THREE)
    network, metadata = weights.load(model)
    merged = [{"positive": ["happiness", "surprise"]}, "neutral", {"negative": ["sadness", "anger"]}]
    weights.save(model, network.state_dict(), replace(metadata, training={"recipe": {"labels": merged}}))
    report = evaluate(model, f"ferplus:{ferplus}", workers=0)
    assert report.labels == THREE
    assert report.pictures.tolist() == [2, 1, 2]
    assert "3 pictures of other labels than the model's are left out" in report.protocol
    assert report.subsets["pose30"].pictures.tolist() == [0, 1, 2]
    assert evaluate(model, own_labels(*THREE), workers=0).pictures.tolist() == [2, 2, 2]


def test_labels_that_have_not_two_in_common_are_one_sentence(tmp_path, ferplus):
    own = build_weights(tmp_path / "own.safetensors", "msanet_ms", ("neutral", "yawn", *(f"l{n}" for n in range(12))))
    with pytest.raises(
        InputError, match=r"its labels \(neutral, happiness, .*\) and the model's \(neutral, yawn, l0"
    ) as error:
        evaluate(own, f"ferplus:{ferplus}", workers=0)
    assert "\n" not in str(error.value)
    assert "l7, ...)" in str(error.value)


def test_what_the_reader_warned_of_stands_in_the_protocol(tiny_weights, own_ferplus):
    (own_ferplus / "FER2013Test" / "fer0000047.png").unlink()
    (own_ferplus / "subsets" / "occlusion_ferplus_list.txt").unlink()
    with pytest.warns(DataWarning, match="1 of 8 listed pictures are missing"):
        report = evaluate(tiny_weights, f"ferplus:{own_ferplus}", workers=0)
    assert "1 of 8 listed pictures are missing and left out, the first fer0000047.png" in report.protocol
