"""Crops -> probabilities, embedding, evidence, by onnxruntime alone."""

from __future__ import annotations

import numpy as np
import pytest

from msanet.classifier import Classifier
from msanet.errors import InputError
from msanet.preprocessing import Preprocessing

RNG = np.random.default_rng(0)
CROPS = [RNG.integers(0, 256, (40 + 9 * number, 50, 3), np.uint8) for number in range(5)]


def test_what_comes_out_has_its_shape_and_the_batch_does_not_matter(tiny_model, monkeypatch):
    classifier = Classifier(tiny_model, threads=1)
    together = classifier.explain(CROPS)
    assert together.probabilities.shape == (5, 8)
    assert together.evidence.shape[:2] == (5, 8)
    assert together.attention.shape[:2] == (5, 3)
    np.testing.assert_allclose(together.probabilities.sum(axis=1), 1, rtol=1e-6)
    monkeypatch.setattr("msanet.classifier.CHUNK", 2)
    np.testing.assert_allclose(classifier.classify(CROPS), together.probabilities, atol=1e-6)
    np.testing.assert_allclose(classifier.embed(CROPS[:1]), classifier.embed(CROPS)[:1], atol=1e-5)
    assert classifier.classify([]).shape == (0, 8)
    assert classifier.embed([]).shape[0] == 0


def test_bytes_are_as_good_as_a_file(tiny_model):
    np.testing.assert_array_equal(
        Classifier(tiny_model.read_bytes(), 1).classify(CROPS), Classifier(tiny_model, 1).classify(CROPS)
    )


def test_evidence_is_refused_where_there_is_none(make_model):
    classifier = Classifier(make_model(preprocessing=Preprocessing(size=32), outputs=("logits", "embedding")))
    with pytest.raises(InputError, match="gives no evidence"):
        classifier.explain(CROPS)


def test_metadata_of_others_are_missing(make_model):
    with pytest.raises(InputError, match="no msanet metadata"):
        Classifier(make_model(preprocessing=Preprocessing(size=32), metadata={}))


def test_a_model_without_an_embedding_says_so(make_model):
    classifier = Classifier(make_model(preprocessing=Preprocessing(size=32), outputs=("logits",)))
    with pytest.raises(InputError, match="gives no embedding"):
        classifier.embed([np.zeros((9, 9, 3), np.uint8)])
