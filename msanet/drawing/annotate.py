"""Faces on their picture: boxes, labels, probability bars."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from msanet.drawing.evidence import DARK, TILE, extent, lay_over, reasons, share, stack
from msanet.drawing.layout import inside, text_size, write_text
from msanet.faces.face import Face

LEAST_SIDE = 480
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

EXPLAINED = 8
"""Most faces, the largest ones, whose reasons stand below their picture."""


def draw(picture: np.ndarray, faces: Sequence[Face], bars: bool | None = None) -> np.ndarray:
    """Draw what is known of the faces on a copy of their picture.

    Args:
        picture: RGB uint8 [H, W, 3].
        faces: the faces found in it. Those with evidence get it laid over them, and `reasons` below the picture.
        bars: whether each face's probabilities stand beside it; None: where there are one or two faces.

    Returns:
        RGB uint8 [H, W, 3], or larger by one factor where the picture's long side is under `LEAST_SIDE`; with reasons
        higher than that, and at least three tiles wide.
    """
    import cv2

    longest = max(picture.shape[:2])
    factor = max(LEAST_SIDE / longest, 1.0)
    canvas = picture.copy()
    if factor > 1:
        canvas = cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
        longest = max(canvas.shape[:2])
    for face in faces:
        if face.evidence is not None:
            canvas = lay_over(
                canvas, face.evidence[face.expression], face.corners * factor, extent(face.evidence.values())
            )

    thickness = max(1, round(longest / 400))
    for face in reversed(faces):  # the largest, which come first, on top
        x1, y1, x2, y2 = (round(value * factor) for value in face.box)
        colour = COLOURS.get(face.expression, COLOURS["neutral"])
        cv2.rectangle(canvas, (x1, y1), (x2, y2), colour, thickness, cv2.LINE_AA)
        height = min(max(math.hypot(x2 - x1, y2 - y1) / 10, longest / 80), longest / 38)
        if len(faces) <= 2 if bars is None else bars:
            _bars(canvas, face, (x1, y1, x2), height)
        person = "" if face.track is None else f"{face.track} "
        _label(canvas, person + share(face, face.expression), (x1, y1), height, colour)
    explained = [face for face in faces[:EXPLAINED] if face.evidence is not None]
    if not explained:
        return canvas
    return stack([canvas, *(reasons(picture, face, max(canvas.shape[1], 3 * TILE)) for face in explained)])


def _label(canvas: np.ndarray, text: str, corner: tuple[int, int], height: float, colour: tuple[int, int, int]) -> None:
    """Text on a coloured ground above a box's upper left corner, moved so that it stays in the picture."""
    import cv2

    limits = canvas.shape[1], canvas.shape[0]
    width, height = text_size(text, height, limits[0])
    pad = round(height * 0.4)
    left = inside(corner[0], width + 2 * pad, limits[0])
    top = inside(corner[1] - round(height) - 2 * pad, round(height) + 2 * pad, limits[1])
    end = (left + width + 2 * pad, top + round(height) + 2 * pad)
    cv2.rectangle(canvas, (left, top), end, colour, cv2.FILLED)
    write_text(canvas, text, (left + pad, end[1] - pad), height, DARK)


def _bars(canvas: np.ndarray, face: Face, box: tuple[int, int, int], height: float) -> None:
    """One bar per expression on a dark ground, right or left of the box (x1, y1, x2), where there is more room."""
    import cv2

    limits = canvas.shape[1], canvas.shape[0]
    x1, y1, x2 = box
    rows = len(face.probabilities)
    # text and bar are about 18 letter heights wide; they shrink to fit beside the face, but not past reading
    room = max(x1, limits[0] - x2)
    height = min(max(min(height * 0.75, room / 18), height * 0.45), limits[1] / (2 * rows + 1))
    text = max(text_size(name, height, limits[0])[0] for name in face.probabilities)
    step, bar = round(height * 2), round(height * 7)
    width, tall = text + bar + 2 * step, step * rows + step // 2
    left = inside(x2 + 1 if limits[0] - x2 >= x1 else x1 - width, width, limits[0])
    top = inside(y1, tall, limits[1])
    ground = canvas[top : top + tall, left : left + width]
    ground[:] = (ground * 0.3 + np.array(DARK) * 0.7).astype(np.uint8)
    for row, (name, probability) in enumerate(face.probabilities.items()):
        base = top + (row + 1) * step
        write_text(canvas, name, (left + step // 2, base), height, (255, 255, 255))
        start = left + text + step
        end = (start + round(bar * probability), base - round(height))
        cv2.rectangle(canvas, (start, base), end, COLOURS.get(name, COLOURS["neutral"]), cv2.FILLED)
