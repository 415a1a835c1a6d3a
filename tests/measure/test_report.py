"""The page of an evaluation: what it holds, that it needs nothing from elsewhere, and what it shows of a model."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest

from msanet.data import READERS
from msanet.errors import InputError
from msanet.labels import EXPRESSIONS
from msanet.measure.evaluate import Evaluation, examine
from msanet.measure.predict import Model
from msanet.measure.report import MISTAKES, page, surest, views, write
from msanet.measure.scores import score
from tests.conftest import build_weights

pytestmark = pytest.mark.usefixtures("one_thread")

VOID = {"meta", "img", "br", "line", "rect", "circle"}


class Reader(HTMLParser):
    """Collects tags, text and what is not closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data

    def having(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag == name]


@pytest.fixture(scope="module")
def text(evaluation) -> str:
    return page(evaluation)


def test_names_of_labels_and_pictures_run_nothing(evaluation, tmp_path):
    """Labels come from a model or from folders of a data set, names of pictures may hold any bytes."""
    named = {label: f'"<i>{label}</i>&' for label in evaluation.report.labels}
    labels = tuple(named.values())
    paths = [tmp_path / str(number) / "<i>\udcff\n.png" for number in range(len(evaluation.samples))]
    for sample, path in zip(evaluation.samples, paths, strict=True):
        path.parent.mkdir()
        path.write_bytes(sample.path.read_bytes())
    pairs = zip(evaluation.samples, paths, strict=True)
    samples = [replace(sample, path=path, label=named[sample.label]) for sample, path in pairs]
    report = replace(evaluation.report, labels=labels)
    text = page(replace(evaluation, report=report, samples=samples))
    text.encode()
    reader = Reader(text)
    assert not reader.having("i")
    assert all(label in reader.text for label in labels)
    assert r"<i>\xff\n.png" in reader.text
    assert any((attributes.get("title") or "").startswith(labels[0]) for attributes in reader.having("td"))


def test_the_page_is_whole_and_needs_nothing_from_elsewhere(text):
    reader = Reader(text)
    assert reader.open == []
    assert reader.having("html") == [{"lang": "en"}]
    assert not reader.having("script") + reader.having("link")
    assert {str(attributes["src"]).partition(",")[0] for attributes in reader.having("img")} == {
        "data:image/jpeg;base64"
    }
    assert re.findall(r"url\(|@import|https?://", text) == []
    assert "<b>.safetensors" not in text  # names are escaped
    assert "tiny <b>.safetensors" in reader.text


def test_the_page_can_be_read_without_seeing_it(text):
    reader = Reader(text)
    ids = {str(attributes["id"]) for _, attributes in reader.tags if "id" in attributes}
    assert all(attributes["alt"] for attributes in reader.having("img"))
    assert all("aria-label" in item or item.get("aria-hidden") == "true" for item in reader.having("svg"))
    assert all("scope" in attributes for attributes in reader.having("th"))
    assert all(attributes["aria-labelledby"] in ids for attributes in reader.having("section"))
    assert {str(attributes["href"]) for attributes in reader.having("a")} <= {f"#{name}" for name in ids}


def test_the_page_holds_the_scores(evaluation, text):
    report, shown = evaluation.report, Reader(text).text
    for name in ("accuracy", "average_accuracy", "macro_f1"):
        assert f"{100 * getattr(report, name):.2f} %" in shown
    for name, subset in report.subsets.items():
        assert name in shown
        assert f"{100 * subset.accuracy:.2f}" in shown
    for expression, number in zip(EXPRESSIONS, report.confusion.diagonal(), strict=True):
        assert f'title="{expression} predicted as {expression}: {number}"' in text
    assert "This page contains pictures of the data set" in shown
    assert "not to be redistributed" in shown


def test_mistakes_and_attention_are_shown(evaluation, text):
    wrong = int((evaluation.probabilities.argmax(axis=1) != evaluation.targets).sum())
    right = len(surest(evaluation))
    # each mistake: picture, two evidence maps, three branches; each right one: picture, evidence, three branches
    assert text.count("<img") == 6 * min(wrong, MISTAKES) + 5 * right + 4
    for name in ("branch 7x7", "branch 5x5", "branch 3x3"):
        assert name in text


def test_evidence_is_that_of_the_answer(evaluation):
    """The mean of an evidence map is the logit, and the probabilities are those of the scores."""
    places = list(range(len(evaluation.samples)))
    for view in views(evaluation, places):
        logits = np.array([view.evidence[name].mean() for name in EXPRESSIONS])
        np.testing.assert_allclose(
            np.exp(logits) / np.exp(logits).sum(), evaluation.probabilities[view.place], atol=1e-4
        )
        assert view.attention.shape[0] == 3
        assert 0 <= view.attention.min() <= view.attention.max() <= 1


def without_maps(evaluation: Evaluation, **changes: Any) -> Evaluation:
    """The evaluation of a model that gives neither evidence nor attention."""

    class Silent(Model):
        def __init__(self) -> None:
            self.name, self.metadata = evaluation.model.name, evaluation.model.metadata

        def explain(self, crops: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
            nothing = np.empty((len(crops), 0, 1, 1), np.float32)
            return nothing, nothing

    return replace(evaluation, model=Silent(), **changes)


def test_a_network_without_attention_has_a_page_too(ferplus, tmp_path):
    plain = examine(build_weights(tmp_path / "x.safetensors", "resnet18"), f"ferplus:{ferplus}", workers=0)
    reader = Reader(page(plain))
    assert "for neutral" in reader.text
    assert "branch" not in reader.text
    assert {"id": "attention-title"} in reader.having("h2")


def test_sections_that_a_model_has_nothing_for_are_left_out(evaluation):
    reader = Reader(page(without_maps(evaluation, report=replace(evaluation.report, subsets={}))))
    sections = [item["id"] for item in reader.having("section")]
    assert sections == ["confusions", "classes", "calibration", "mistakes", "facts"]
    assert [item["href"] for item in reader.having("a")] == [f"#{name}" for name in sections]
    wrong = int((evaluation.probabilities.argmax(axis=1) != evaluation.targets).sum())
    assert len(reader.having("img")) == min(wrong, MISTAKES)  # the pictures themselves
    assert "Bright" not in reader.text


HOSTILE = "<script>alert(1)</script>\"'&"


def test_no_name_becomes_markup(evaluation, tmp_path, monkeypatch):
    """An ONNX file from anywhere brings names of its own."""
    labels = tuple(f"{HOSTILE} {name}" for name in EXPRESSIONS)
    path = tmp_path / os.fsdecode(f"{HOSTILE.replace('/', '')}\x1b[2J".encode() + b"\xff.png")
    path.write_bytes(evaluation.samples[0].path.read_bytes())
    samples = [replace(item, path=path, label=f"{HOSTILE} {item.label}") for item in evaluation.samples]
    names = {"labels": labels, "model": HOSTILE, "data": HOSTILE, "protocol": HOSTILE}
    metadata = replace(
        evaluation.model.metadata, expressions=labels, network=HOSTILE, name=HOSTILE, arguments={HOSTILE: HOSTILE}
    )
    report = replace(evaluation.report, **names, subsets={HOSTILE: replace(evaluation.report, **names, subsets={})})
    hostile = without_maps(evaluation, samples=samples, report=report)
    hostile.model.metadata = metadata
    monkeypatch.setitem(READERS, HOSTILE, replace(READERS["ferplus"], license=HOSTILE))
    text = page(replace(hostile, source=f"{HOSTILE}:somewhere"))
    assert text.count("&lt;script&gt;") > 30
    reader = Reader(text)
    assert not reader.having("script")
    assert reader.open == []
    assert reader.text.count(HOSTILE) > 20
    assert "\\x1b[2J\\xff.png" in reader.text
    assert text.encode()
    known = {
        "id",
        "class",
        "style",
        "title",
        "href",
        "src",
        "alt",
        "width",
        "height",
        "scope",
        "role",
        "lang",
        "tabindex",
    }
    attributes = {name for tag, item in reader.tags if tag in {"td", "th", "img", "section", "a"} for name in item}
    assert {name for name in attributes if not name.startswith("aria-")} <= known


@pytest.mark.parametrize("number", [3, 20])
def test_pages_for_label_sets_of_any_size(evaluation, number):
    labels = tuple(f"label {place}" for place in range(number))
    rng = np.random.default_rng(0)
    samples = [replace(evaluation.samples[place % 8], label=labels[place % number]) for place in range(2 * number)]
    probabilities = rng.dirichlet(np.ones(number), 2 * number).astype(np.float32)
    report = score(probabilities, np.arange(2 * number) % number, labels, "in words", "own")
    own = without_maps(evaluation, samples=samples, probabilities=probabilities, report=report)
    reader = Reader(page(own))
    assert reader.open == []
    assert len([item for item in reader.having("td") if "--share" in str(item.get("style"))]) == number**2
    assert all(f"label {place}" in reader.text for place in range(number))
    assert f"{number} labels" in reader.text


def test_write_is_whole_or_not_at_all(evaluation, tmp_path):
    write(tmp_path / "deep" / "report.html", evaluation)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["report.html"]
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"):
        write(tmp_path / "file" / "report.html", evaluation)
