"""The vocabulary."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from msanet.errors import InputError
from msanet.labels import EXPRESSIONS, LONGEST_LABEL, check_label, check_labels, expressions_for, restrict


def test_the_order_is_fixed():
    assert EXPRESSIONS == (
        "neutral",
        "happiness",
        "sadness",
        "surprise",
        "fear",
        "disgust",
        "anger",
        "contempt",
    )


def test_seven_classes_are_the_first_seven():
    assert expressions_for(8) == EXPRESSIONS
    assert expressions_for(7) == EXPRESSIONS[:-1]
    assert "contempt" not in expressions_for(7)


@pytest.mark.parametrize("number", [-1, 0, 1, 6, 9])
def test_other_numbers_of_classes_are_refused(number):
    with pytest.raises(InputError, match=f"num_classes is {number}: choose 7 .* or 8"):
        expressions_for(number)


@pytest.mark.parametrize("label", ["a", "Glück", "very happy", "x" * LONGEST_LABEL])
def test_a_label_is_any_short_printable_text(label):
    assert check_label(label) == label


@pytest.mark.parametrize(
    "label", ["", "a\nb", "\x1b[31m", "\ud800", "x" * (LONGEST_LABEL + 1), 3, None, ["a"], "\0" * 999]
)
def test_what_is_no_label_is_said_shortly(label):
    with pytest.raises(InputError, match="is no label: give 1 to 64 printable characters") as caught:
        check_label(label)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 130


def test_labels_are_two_or_more_and_differ():
    assert check_labels(["b", "a"]) == ("b", "a")
    assert len(check_labels([str(number) for number in range(20_000)])) == 20_000  # at once, though anybody's file may
    for labels, words in ((["a"], "one label"), ([], "no label"), (["b", "a", "c", "b"], "the label 'b' stands twice")):
        with pytest.raises(InputError, match=words):
            check_labels(labels)


probabilities = st.lists(st.lists(st.floats(1e-3, 1), min_size=8, max_size=8), min_size=1, max_size=4).map(
    lambda rows: np.array(rows, np.float32) / np.array(rows, np.float32).sum(axis=1, keepdims=True)
)


@given(probabilities, st.lists(st.sampled_from(EXPRESSIONS), min_size=1, unique=True))
def test_restrict_picks_by_name_and_keeps_the_ratios(source, target):
    result = restrict(source, EXPRESSIONS, target)
    assert result.shape == (len(source), len(target))
    np.testing.assert_allclose(result.sum(axis=1), 1, atol=1e-5)
    for column, name in enumerate(target):
        # p'_a / p'_b = p_a / p_b, written without a division
        before, first = source[:, EXPRESSIONS.index(name)], source[:, EXPRESSIONS.index(target[0])]
        np.testing.assert_allclose(result[:, column] * first, result[:, 0] * before, rtol=1e-4, atol=1e-6)


def test_restrict_to_the_same_names_changes_nothing():
    source = np.array([[0.1, 0.2, 0.3, 0.4]], np.float32)
    np.testing.assert_allclose(restrict(source, list("abcd"), list("abcd")), source, rtol=1e-6)
    np.testing.assert_allclose(restrict(source, list("abcd"), list("dcba")), source[:, ::-1], rtol=1e-6)


def test_restrict_gives_numbers_even_where_all_the_mass_is_left_out():
    source = np.eye(8, dtype=np.float32)[7:]
    result = restrict(source, EXPRESSIONS, EXPRESSIONS[:7])
    assert np.isfinite(result).all()


def test_restrict_refuses_names_that_the_model_does_not_know():
    with pytest.raises(InputError, match="does not know contempt; it knows neutral"):
        restrict(np.full((1, 7), 1 / 7, np.float32), EXPRESSIONS[:7], EXPRESSIONS)
