"""Faces on their picture: boxes, labels, probability bars, and the reasons for an expression."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

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

TILE = 150
"""Least side, pixels, of a face among the reasons below a picture; narrower pictures show them in two rows."""

EXPLAINED = 8
"""Most faces, the largest ones, whose reasons stand below their picture."""

_DARK = (25, 25, 25)
_TEXT_HEIGHT = 21  # pixels of a capital letter in OpenCV's plain font at scale 1


def draw(picture: np.ndarray, faces: Sequence[Face], bars: bool | None = None) -> np.ndarray:
    """Draw what is known of the faces on a copy of their picture.

    Args:
        picture: RGB uint8 [H, W, 3].
        faces: the faces found in it. Those with evidence get it laid over them, and `reasons` below the picture.
        bars: whether each face's probabilities stand beside it; None: where there are one or two faces.

    Returns:
        RGB uint8 [H, W, 3], or larger by one factor where the picture's long side is under `SMALLEST`; with reasons
        higher than that, and at least three tiles wide.
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
            canvas = lay_over(
                canvas, face.evidence[face.expression], face.corners * factor, _span(face.evidence.values())
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
        _label(canvas, person + _share(face, face.expression), (x1, y1), height, colour)
    explained = [face for face in faces[:EXPLAINED] if face.evidence is not None]
    if not explained:
        return canvas
    return _stack([canvas, *(reasons(picture, face, max(canvas.shape[1], 3 * TILE)) for face in explained)])


def reasons(picture: np.ndarray, face: Face, width: int) -> np.ndarray:
    """Why a face is said to show its expression: tiles of the face, as the network saw it, with maps laid over it.

    First the face by itself, then the evidence for its expression and for the runner-up, on the scale of all
    expressions' evidence; then the attention of each branch, on a scale from 0 to 1.

    Args:
        picture: RGB uint8 [H, W, 3].
        face: a face in it, with evidence.
        width: of the result, pixels, at least three times `TILE`.

    Returns:
        RGB uint8 [h, width, 3]: one row of tiles, or two where one would make them smaller than `TILE`.
    """
    assert face.evidence is not None
    ranking = sorted(face.probabilities, key=face.probabilities.__getitem__, reverse=True)
    maps = [(f"for {_share(face, name)}", face.evidence[name], _span(face.evidence.values())) for name in ranking[:2]]
    attentions = [] if face.attention is None else list(face.attention)
    for number, attention in enumerate(attentions, 1):
        maps.append((f"attention {number} of {len(attentions)}", attention, (0.0, 1.0)))
    columns = len(maps) + 1 if (len(maps) + 1) * TILE <= width else 3
    side = width // columns
    seen = _cut_out(picture, face.corners, side)
    square = np.array([[0, 0], [side, 0], [side, side], [0, side]])
    tiles = [_titled("the face as seen", seen)]
    tiles += [_titled(title, lay_over(seen, values, square, span)) for title, values, span in maps]
    rows = [np.hstack(tiles[start : start + columns]) for start in range(0, len(tiles), columns)]
    return _stack([np.full((max(1, side // 30), width, 3), _DARK, np.uint8), *rows])


def lay_over(
    picture: np.ndarray, values: np.ndarray, corners: np.ndarray, span: tuple[float, float] | None = None
) -> np.ndarray:
    """Lay a map over the square it belongs to: clear where it is low, bright where it is high.

    Args:
        picture: RGB uint8 [H, W, 3].
        values: float32 [h, w].
        corners: float [4, 2], pixels of the picture: the square's corners from its upper left one clockwise.
        span: the values that are wholly clear and wholly bright; None: the map's lowest and highest.

    Returns:
        RGB uint8 [H, W, 3], a new one.
    """
    import cv2

    side = 128
    low, high = _span([values]) if span is None else span
    weights = (values - low) / (high - low) if high > low else np.zeros_like(values)
    weights = cv2.resize(weights.astype(np.float32), (side, side), interpolation=cv2.INTER_CUBIC).clip(0, 1)
    square = np.array([[0, 0], [side, 0], [side, side]], np.float32)
    # only the part of the picture round the square is touched: a large one would take seconds and gigabytes
    left, top = np.floor(corners.min(axis=0)).astype(int).clip(0)
    right, bottom = np.ceil(corners.max(axis=0)).astype(int).clip(0) + 1
    drawn = picture.copy()
    part = drawn[top:bottom, left:right]
    if not part.size:
        return drawn
    matrix = cv2.getAffineTransform(square, (corners[:3] - [left, top]).astype(np.float32))
    weights = cv2.warpAffine(weights, matrix, part.shape[1::-1])
    heat = cv2.applyColorMap((weights * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
    alpha = 0.7 * weights[..., None]
    part[:] = (part * (1 - alpha) + heat * alpha).round().astype(np.uint8)
    return drawn


def _span(maps: Iterable[np.ndarray]) -> tuple[float, float]:
    """The lowest and the highest value of several maps."""
    values = np.stack(list(maps))
    return float(values.min()), float(values.max())


def _share(face: Face, expression: str) -> str:
    return f"{expression} {face.probabilities[expression]:.0%}"


def _cut_out(picture: np.ndarray, corners: np.ndarray, side: int) -> np.ndarray:
    """The square with these corners, level, RGB uint8 [side, side, 3]."""
    import cv2

    detail = round(min(max(float(np.linalg.norm(corners[1] - corners[0])), side), 4 * side))
    square = np.array([[0, 0], [detail, 0], [detail, detail]], np.float32)
    matrix = cv2.getAffineTransform(np.asarray(corners[:3], np.float32), square)
    cut = cv2.warpAffine(picture, matrix, (detail, detail), borderMode=cv2.BORDER_REPLICATE)
    return cv2.resize(cut, (side, side), interpolation=cv2.INTER_AREA)


def _titled(title: str, tile: np.ndarray) -> np.ndarray:
    """A tile with its title above it."""
    side = tile.shape[1]
    room = max(side / 15, 9)
    _, height = _text_size(title, room, side)
    bar = np.full((round(2.4 * room), side, 3), _DARK, np.uint8)
    _write(bar, title, (round(side * 0.05), round(1.7 * room)), height, (255, 255, 255))
    return np.vstack([bar, tile])


def _stack(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """Pictures one below the other, the narrower ones with a dark edge on their right."""
    width = max(picture.shape[1] for picture in pictures)
    canvas = np.full((sum(picture.shape[0] for picture in pictures), width, 3), _DARK, np.uint8)
    top = 0
    for picture in pictures:
        canvas[top : top + picture.shape[0], : picture.shape[1]] = picture
        top += picture.shape[0]
    return canvas


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
