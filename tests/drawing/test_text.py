"""Text as pixels: any name can be drawn, none is too wide."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msanet.drawing import text
from msanet.drawing.text import DARK, LONGEST_NAME, fitting, ink, line_height, shown, tag, tag_width, width
from msanet.labels import EXPRESSIONS


@pytest.fixture
def only_pillows_font(monkeypatch):
    """A machine without fonts."""
    monkeypatch.setattr(text, "FONTS", ())
    caches = (text._fonts, text._best_font, text.shown, text.width)
    for cached in caches:
        cached.cache_clear()
    yield
    for cached in caches:
        cached.cache_clear()


@pytest.mark.parametrize("name", [*EXPRESSIONS, "joy", "very happy", "0", "a/b (c)"])
def test_ordinary_names_are_drawn_as_they_are(name):
    assert shown(name, 1) == name


def test_long_names_end_in_an_ellipsis():
    name = "an expression of which nobody has heard before"
    assert shown(name, 1).startswith("an expression of")
    assert shown(name, 1).endswith("…")
    assert len({shown(f"{letter} {name}", 1) for letter in "abc"}) == 3


@settings(max_examples=50)
@given(st.text(min_size=1, max_size=64), st.integers(1, 9))
def test_any_name_has_a_form_that_fits(name, number):
    words = shown(name, number)
    assert words.isprintable()
    assert width(words, 20) <= 20 * LONGEST_NAME
    letters = ink(words, 20)
    assert letters.dtype == np.uint8
    assert letters.shape[0] == line_height(20)
    assert letters.any() or not words.strip()


def test_names_no_font_can_write_lose_their_accents_or_are_numbered(only_pillows_font):
    assert shown("Überraschung", 4) == "Uberraschung"
    assert shown("dégoût", 6) == "degout"
    assert shown("счастье", 2) == "label 2"
    assert shown("高兴", 3) == "label 3"


def test_letters_of_other_fonts_are_drawn_where_there_is_such_a_font():
    if shown("счастье", 2) == "label 2":
        pytest.skip("no font here has Cyrillic letters")
    assert shown("счастье", 2) == "счастье"
    one, other = ink("а б", 20), ink("а в", 20)  # boxes that stand for missing letters would be alike
    assert one.shape != other.shape or (one != other).any()


def test_a_tag_is_its_text_on_a_ground():
    drawn = tag("fear 12%", 20, (255, 200, 40))
    assert drawn.shape == (line_height(20), tag_width("fear 12%", 20), 3)
    assert (drawn[0, 0] == (255, 200, 40)).all()
    assert (drawn == DARK).all(axis=2).sum() > 20
    assert tag("fear 12%", 20, (255, 200, 40), least=300).shape[1] == 300
    # capitals stand in the middle
    rows = np.flatnonzero(ink("H", 40).max(axis=1) > 128)
    assert abs((rows[0] + rows[-1]) / 2 - line_height(40) / 2) < 1.5


def test_text_is_made_small_enough():
    assert fitting("happiness", 20, 1000) == 20
    size = fitting("happiness", 20, 50)
    assert width("happiness", size) <= 50 < width("happiness", size + 1)
