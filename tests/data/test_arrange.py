"""A recipe's labels: order, merging, and what is left out."""

from __future__ import annotations

import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from msanet.data.arrange import arrange, default_labels
from msanet.data.sample import DataWarning, Sample
from msanet.errors import InputError
from msanet.labels import EXPRESSIONS


def samples_of(*labels: str) -> list[Sample]:
    return [Sample(Path(f"{number}.png"), label) for number, label in enumerate(labels)]


def test_the_recipe_orders_the_labels():
    samples = samples_of("neutral", "negative", "positive")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kept, labels = arrange(samples, ["positive", "neutral", "negative"])
    assert kept == samples
    assert labels == ("positive", "neutral", "negative")


def test_merged_labels_take_their_votes_along():
    votes = (("happiness", 0.25), ("surprise", 0.25), ("contempt", 0.375), ("fear", 0.125))
    samples = [Sample(Path("a"), "contempt", votes), Sample(Path("b"), "surprise", votes), Sample(Path("c"), "fear")]
    labels = [{"positive": ["happiness", "surprise"]}, {"negative": ["contempt"]}]
    with pytest.warns(DataWarning, match="^1 of 3 pictures are of other labels and left out: 1 of fear$") as caught:
        kept, names = arrange(samples, labels)
    assert names == ("positive", "negative")
    assert [(sample.path.name, sample.label) for sample in kept] == [("a", "negative"), ("b", "positive")]
    assert dict(kept[0].votes) == pytest.approx({"positive": 4 / 7, "negative": 3 / 7})
    np.testing.assert_allclose(kept[0].target(names, soft=True), [4 / 7, 3 / 7], atol=1e-6)
    np.testing.assert_array_equal(kept[1].target(names, soft=False), [1, 0])
    assert caught[0].message.names == ("c",)  # type: ignore[union-attr]


def test_votes_for_labels_that_are_left_out_alone_are_none():
    (sample,), _ = arrange(
        [Sample(Path("a"), "sad", (("angry", 1.0),))], [{"low": ["sad"]}, "calm"], ["sad", "angry", "calm"]
    )
    assert sample == Sample(Path("a"), "low")


def test_what_is_left_out_is_counted_by_label():
    samples = samples_of(*["disgust"] * 3, *["fear"] * 2, "neutral", "anger")
    with pytest.warns(DataWarning, match="5 of 7 pictures are of other labels and left out: 2 of fear, 3 of disgust"):
        kept, _ = arrange(samples, ["neutral", "anger"])
    assert [sample.label for sample in kept] == ["neutral", "anger"]


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ([], "there is no label: give at least two"),
        (["calm"], "there is one label: give at least two"),
        (["calm", "sad", "calm"], "labels name 'calm' twice"),
        (["calm", {"low": ["sad", "calm"]}], "labels name 'calm' twice"),
        (["calm", {"low": ["sad", "sad"]}], "labels name 'sad' twice"),
        ([{"low": ["sad"]}, {"low": ["calm"]}], "the label 'low' stands twice"),
        (["calm", "joy"], "the data set has no label 'joy': it has calm, sad, tired"),
        (["calm", {"high": ["joy"]}], "has no label 'joy'"),
        (["calm", {"low": []}], "give a label, or {name: "),
        (["calm", {"low": "sad"}], "give a label, or {name: "),
        (["calm", {"low": ["sad"], "high": ["tired"]}], "give a label, or {name: "),
        (["calm", 3], "labels hold '3'"),
        (["calm", {"x" * 300: ["sad"]}], "is no label: give 1 to 64 printable characters"),
        (["calm", {"a\nb": ["sad"]}], "is no label"),
        (["calm", {3: ["sad"]}], "is no label"),
        (["calm", {"low": [None]}], "is no label"),
    ],
)
def test_labels_that_cannot_be_used_are_refused(labels, words):
    with pytest.raises(InputError) as caught:
        arrange(samples_of("calm", "sad", "tired"), labels, ["calm", "sad", "tired"])
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_set_without_any_of_them_is_refused():
    with pytest.raises(InputError, match="there is no picture of calm, sad: check labels and data"):
        arrange(samples_of("fear"), ["calm", "sad"])


def test_labels_that_a_test_set_lacks_do_no_harm():
    kept, labels = arrange(samples_of("calm"), ["calm", "sad"])
    assert (len(kept), labels) == (1, ("calm", "sad"))


def test_without_labels_expressions_keep_their_order_and_others_are_sorted():
    assert default_labels(("neutral", "fear"), 7) == EXPRESSIONS[:7]
    assert default_labels(EXPRESSIONS, 8) == EXPRESSIONS
    assert default_labels(("tired", "awake", "neutral"), 7) == ("neutral", "awake", "tired")


NAMES = ("calm", "sad", "tired", "awake")


@given(
    st.lists(st.sampled_from(NAMES), max_size=20),
    st.dictionaries(st.sampled_from(NAMES), st.sampled_from(["low", "high"]), min_size=2),
)
def test_each_sample_goes_to_its_label_or_is_counted(names, merged):
    low, high = ([name for name, side in merged.items() if side == wanted] for wanted in ("low", "high"))
    samples = samples_of(*names)
    known = [sample for sample in samples if sample.label in merged]
    if not (low and high and known):
        return
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        kept, labels = arrange(samples, [{"low": low}, {"high": high}])
    assert labels == ("low", "high")
    assert Counter(sample.label for sample in kept) == Counter(merged[sample.label] for sample in known)
    assert [sample.path for sample in kept] == [sample.path for sample in known]
    left_out = [warning.message for warning in caught if isinstance(warning.message, DataWarning)]
    assert sum(len(message.names) for message in left_out) == len(samples) - len(known)
