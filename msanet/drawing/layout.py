"""Text on a picture: how large it is, where it fits, and writing it."""

from __future__ import annotations

import math

import numpy as np

TEXT_HEIGHT = 21  # pixels of a capital letter in OpenCV's plain font at scale 1


def text_size(text: str, height: float, limit: int) -> tuple[int, float]:
    """Width of a text and height of its capitals, pixels, once both are small enough for the width `limit`."""
    import cv2

    (width, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, height / TEXT_HEIGHT, stroke(height))
    shrink = min(1.0, limit * 0.9 / max(width, 1))
    return math.ceil(width * shrink), height * shrink


def write_text(
    canvas: np.ndarray, text: str, base: tuple[int, int], height: float, colour: tuple[int, int, int]
) -> None:
    import cv2

    font = cv2.FONT_HERSHEY_SIMPLEX
    cv2.putText(canvas, text, base, font, height / TEXT_HEIGHT, colour, stroke(height), cv2.LINE_AA)


def stroke(height: float) -> int:
    return max(1, round(height / 10))


def inside(start: int, length: int, limit: int) -> int:
    """`start` moved so that `length` from there on ends within `limit`."""
    return max(0, min(start, limit - length))
