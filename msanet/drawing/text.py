"""Text as pixels: which font, how wide, what stands for a name that is too long or that no font can write."""

from __future__ import annotations

import math
import unicodedata
from contextlib import suppress
from functools import cache, lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL import ImageFont

DARK = (25, 25, 25)
LIGHT = (240, 240, 240)

LONGEST_NAME = 11
"""Width of a label's name at most, in letter sizes; longer ones end in an ellipsis."""

LINE = 1.45
"""Height of a line of text, in letter sizes."""

FONTS = (
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
    "arial.ttf",
    "Arial Unicode.ttf",
    "NotoSansCJK-Regular.ttc",
    "msyh.ttc",
    "malgun.ttf",
    "Nirmala.ttf",
)
"""Fonts of Linux, macOS and Windows, one of which may know letters that are not English; Pillow's own does not."""


@lru_cache(maxsize=1024)
def shown(name: str, number: int) -> str:
    """A label's name as it is drawn, at most `LONGEST_NAME` wide.

    Where no font here has its letters they lose their accents, and where that is not enough, label `number` is named
    by its number.
    """
    name = printable(name)
    if _best_font(name)[1]:
        plain = "".join(letter for letter in unicodedata.normalize("NFKD", name) if not unicodedata.combining(letter))
        name = plain if plain.isascii() else f"label {number}"
    size, whole = 20, len(name)
    while width(name[:whole] + "…" * (whole < len(name)), size) > LONGEST_NAME * size:
        whole -= 1
    return name if whole == len(name) else name[:whole].rstrip() + "…"


def printable(text: str) -> str:
    """A text with spaces for what is no letter: line breaks, halves of letters in names that are not Unicode."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


@lru_cache(maxsize=4096)
def width(text: str, size: int) -> int:
    """Width of a text in letters of a size, pixels."""
    return math.ceil(font_of(text, size).getlength(text))


def line_height(size: int) -> int:
    return round(LINE * size)


@lru_cache(maxsize=2048)
def ink(text: str, size: int) -> np.ndarray:
    """A line of text, uint8 [line_height, width]: 255 where the letters are, 0 where they are not."""
    from PIL import Image, ImageDraw

    image = Image.new("L", (max(width(text, size), 1), line_height(size)))
    # capitals are 0.7 letter sizes high: they stand in the middle of the line
    base = (image.height + 0.7 * size) / 2
    ImageDraw.Draw(image).text((0, round(base)), text, 255, font_of(text, size), anchor="ls")
    return np.asarray(image)


@lru_cache(maxsize=2048)
def tag(
    text: str, size: int, ground: tuple[int, int, int], colour: tuple[int, int, int] = DARK, least: int = 0
) -> np.ndarray:
    """A line of text on a ground of one colour.

    Args:
        text: what to write.
        size: of the letters, pixels.
        ground: RGB.
        colour: of the letters, RGB.
        least: width at least, pixels.

    Returns:
        RGB uint8 [line_height(size), tag_width(text, size) or `least`, 3], to be read only.
    """
    letters = ink(text, size)
    start = pad(size)
    drawn = np.empty((letters.shape[0], max(tag_width(text, size), least), 3), np.uint8)
    drawn[:] = ground
    part = drawn[:, start : start + letters.shape[1]]
    alpha = letters[..., None].astype(np.float32) / 255
    part[:] = (part * (1 - alpha) + np.array(colour, np.float32) * alpha).round()
    drawn.flags.writeable = False
    return drawn


def tag_width(text: str, size: int) -> int:
    return width(text, size) + 2 * pad(size)


def pad(size: int) -> int:
    """Room left and right of a text."""
    return round(0.4 * size)


def fitting(text: str, size: int, limit: float) -> int:
    """The size of letters, `size` at most, at which a text is no wider than `limit`."""
    while size > 1 and width(text, size) > limit:
        size -= 1
    return size


def font_of(text: str, size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The font that a text is written in: the one here that lacks the fewest of its letters."""
    return _font(_best_font(text)[0], size)


@lru_cache(maxsize=1024)
def _best_font(text: str) -> tuple[str, int]:
    """The first font that lacks the fewest letters of a text, "" for Pillow's own, and how many it lacks."""
    best = ("", len(text) + 1)
    for file in _fonts():
        font = _font(file, 20)
        missing = bytes(font.getmask("\uffff"))
        lacks = sum(not letter.isspace() and bytes(font.getmask(letter)) == missing for letter in text)
        if lacks < best[1]:
            best = file, lacks
        if lacks == 0:
            break
    return best


@cache
def _fonts() -> tuple[str, ...]:
    """The fonts that are on this machine, Pillow's own first."""
    found = [""]
    for file in FONTS:
        with suppress(OSError):
            _font(file, 20)
            found.append(file)
    return tuple(found)


@lru_cache(maxsize=256)
def _font(file: str, size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    from PIL import ImageFont

    return ImageFont.truetype(file, size) if file else ImageFont.load_default(size)
