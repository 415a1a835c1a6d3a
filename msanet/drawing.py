"""Faces on their picture: boxes, labels, probability bars, evidence maps."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from msanet.faces import Face

SMALLEST = 480
"""Smaller pictures are enlarged to this long side, pixels, before they are drawn on: text needs the room."""

COLOURS: dict[str, tuple[int, int, int]] = {
    "neutral": (200, 200, 200),
    "happiness": (255, 200, 40),
    "sadness": (90, 150, 255),
    "surprise": (255, 140, 30),
    "fear": (190, 120, 255),
    "disgust": (120, 200, 80),
    "anger": (255, 85, 75),
    "contempt": (60, 200, 190),
}
"""RGB of each expression; others are drawn like neutral."""

_DARK = (25, 25, 25)
_TEXT_HEIGHT = 21  # pixels of a capital letter in OpenCV's plain font at scale 1


def draw(picture: np.ndarray, faces: Sequence[Face], bars: bool | None = None) -> np.ndarray:
    """Draw what is known of the faces on a copy of their picture.

    Args:
        picture: RGB uint8 [H, W, 3].
        faces: the faces found in it; those with evidence get it laid over them.
        bars: whether each face's probabilities stand beside it; None: where there are one or two faces.

    Returns:
        RGB uint8 [H, W, 3], or larger by one factor where the picture's long side is under `SMALLEST`.
    """
    import cv2

    longest = max(picture.shape[:2])
    factor = max(SMALLEST / longest, 1.0)
    canvas = picture.copy()
    if factor > 1:
        canvas = cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
        longest = max(canvas.shape[:2])
    for face in faces:
        if face.evidence is not None:
            canvas = lay_over(canvas, face.evidence, face.corners * factor)

    thickness = max(1, round(longest / 400))
    for face in reversed(faces):  # the largest, which come first, on top
        x1, y1, x2, y2 = (round(value * factor) for value in face.box)
        colour = COLOURS.get(face.expression, COLOURS["neutral"])
        cv2.rectangle(canvas, (x1, y1), (x2, y2), colour, thickness, cv2.LINE_AA)
        height = min(max(math.hypot(x2 - x1, y2 - y1) / 10, longest / 80), longest / 38)
        if len(faces) <= 2 if bars is None else bars:
            _bars(canvas, face, (x1, y1, x2), height)
        _label(canvas, f"{face.expression} {face.probabilities[face.expression]:.0%}", (x1, y1), height, colour)
    return canvas


def lay_over(picture: np.ndarray, evidence: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Lay an evidence map over the square it belongs to: clear where it is lowest, bright where it is highest.

    Args:
        picture: RGB uint8 [H, W, 3].
        evidence: float32 [h, w].
        corners: float [4, 2], pixels of the picture: the square's corners from its upper left one clockwise.

    Returns:
        RGB uint8 [H, W, 3], a new one.
    """
    import cv2

    side = 128
    spread = float(np.ptp(evidence))
    weights = (evidence - evidence.min()) / spread if spread > 0 else np.zeros_like(evidence)
    weights = cv2.resize(weights.astype(np.float32), (side, side), interpolation=cv2.INTER_CUBIC).clip(0, 1)
    square = np.array([[0, 0], [side, 0], [side, side]], np.float32)
    matrix = cv2.getAffineTransform(square, np.asarray(corners[:3], np.float32))
    height, width = picture.shape[:2]
    weights = cv2.warpAffine(weights, matrix, (width, height))
    heat = cv2.applyColorMap((weights * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
    alpha = 0.7 * weights[..., None]
    return (picture * (1 - alpha) + heat * alpha).round().astype(np.uint8)


def _label(canvas: np.ndarray, text: str, corner: tuple[int, int], height: float, colour: tuple[int, int, int]) -> None:
    """Text on a coloured ground above a box's upper left corner, moved so that it stays in the picture."""
    import cv2

    limits = canvas.shape[1], canvas.shape[0]
    width, height = _text_size(text, height, limits[0])
    pad = round(height * 0.4)
    left = _inside(corner[0], width + 2 * pad, limits[0])
    top = _inside(corner[1] - round(height) - 2 * pad, round(height) + 2 * pad, limits[1])
    end = (left + width + 2 * pad, top + round(height) + 2 * pad)
    cv2.rectangle(canvas, (left, top), end, colour, cv2.FILLED)
    _write(canvas, text, (left + pad, end[1] - pad), height, _DARK)


def _bars(canvas: np.ndarray, face: Face, box: tuple[int, int, int], height: float) -> None:
    """One bar per expression on a dark ground, right or left of the box (x1, y1, x2), where there is more room."""
    import cv2

    limits = canvas.shape[1], canvas.shape[0]
    x1, y1, x2 = box
    rows = len(face.probabilities)
    # text and bar are about 18 letter heights wide; they shrink to fit beside the face, but not past reading
    room = max(x1, limits[0] - x2)
    height = min(max(min(height * 0.75, room / 18), height * 0.45), limits[1] / (2 * rows + 1))
    text = max(_text_size(name, height, limits[0])[0] for name in face.probabilities)
    step, bar = round(height * 2), round(height * 7)
    width, tall = text + bar + 2 * step, step * rows + step // 2
    left = _inside(x2 + 1 if limits[0] - x2 >= x1 else x1 - width, width, limits[0])
    top = _inside(y1, tall, limits[1])
    ground = canvas[top : top + tall, left : left + width]
    ground[:] = (ground * 0.3 + np.array(_DARK) * 0.7).astype(np.uint8)
    for row, (name, probability) in enumerate(face.probabilities.items()):
        base = top + (row + 1) * step
        _write(canvas, name, (left + step // 2, base), height, (255, 255, 255))
        start = left + text + step
        end = (start + round(bar * probability), base - round(height))
        cv2.rectangle(canvas, (start, base), end, COLOURS.get(name, COLOURS["neutral"]), cv2.FILLED)


def _text_size(text: str, height: float, limit: int) -> tuple[int, float]:
    """Width of a text and height of its capitals, pixels, once both are small enough for the width `limit`."""
    import cv2

    (width, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, height / _TEXT_HEIGHT, _stroke(height))
    shrink = min(1.0, limit * 0.9 / max(width, 1))
    return math.ceil(width * shrink), height * shrink


def _write(canvas: np.ndarray, text: str, base: tuple[int, int], height: float, colour: tuple[int, int, int]) -> None:
    import cv2

    font = cv2.FONT_HERSHEY_SIMPLEX
    cv2.putText(canvas, text, base, font, height / _TEXT_HEIGHT, colour, _stroke(height), cv2.LINE_AA)


def _stroke(height: float) -> int:
    return max(1, round(height / 10))


def _inside(start: int, length: int, limit: int) -> int:
    """`start` moved so that `length` from there on ends within `limit`."""
    return max(0, min(start, limit - length))
