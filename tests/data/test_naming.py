"""Names of folders, rows and columns as labels."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msanet.data.naming import EXPRESSION_NAMES, labels_by_name
from msanet.errors import InputError
from msanet.labels import EXPRESSIONS


@given(
    st.sets(st.sampled_from(sorted(EXPRESSION_NAMES)), min_size=1), st.sampled_from([str.lower, str.upper, str.title])
)
def test_names_of_expressions_are_expressions_in_any_case(names, case):
    found = labels_by_name([case(name) for name in names], "x")
    assert found == {case(name): EXPRESSION_NAMES[name] for name in names}
    assert set(found.values()) <= set(EXPRESSIONS)


def test_with_one_other_name_all_stand_as_they_are():
    names = ["Happy", "sad", "bored"]
    assert labels_by_name(names, "x") == {name: name for name in names}


def test_an_accent_is_one_letter_however_it_is_written():
    names = [unicodedata.normalize("NFD", "fâché"), "content"]
    assert set(labels_by_name(names, "x").values()) == {"fâché", "content"}
    with pytest.raises(InputError, match="give them one name"):
        labels_by_name([*names, "fâché"], "x")


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["bored"], "place: there is one label: give at least two"),
        (["bored", "Bored"], "place: 'Bored' and 'bored' differ only by case: give them one name"),
        (["straße", "STRASSE"], "differ only by case"),
        (["bored", "x" * 300], "is no label: give 1 to 64 printable characters"),
        (["bored", "a\nb"], "place: 'a\\nb' is no label"),
        (["bored", ""], "place: '' is no label"),
        (["bored", "a\udcff"], "is no label"),
    ],
)
def test_names_that_cannot_be_labels_are_refused(names, words):
    with pytest.raises(InputError) as caught:
        labels_by_name(names, "place")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
