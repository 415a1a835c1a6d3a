"""The reasons for an expression: maps laid over the face, and the row of tiles below the picture."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from msanet.drawing.text import DARK, LIGHT, fitting, shown, tag
from msanet.faces.face import Face

TILE = 150
"""Least side, pixels, of a face among the reasons below a picture; narrower pictures show them in two rows."""


def reasons(picture: np.ndarray, face: Face, width: int, number: int | None = None) -> np.ndarray:
    """Why a face is said to show its expression: tiles of the face, as the network saw it, with maps laid over it.

    First the face by itself, then the evidence for its expression and for the runner-up, on the scale of all
    expressions' evidence; then the attention of each branch, on a scale from 0 to 1.

    Args:
        picture: RGB uint8 [H, W, 3].
        face: a face in it, with evidence.
        width: of the result, pixels, at least three times `TILE`.
        number: what the face is called in the picture, if anything.

    Returns:
        RGB uint8 [h, width, 3]: one row of tiles, or two where one would make them smaller than `TILE`.
    """
    assert face.evidence is not None
    ranking = sorted(face.probabilities, key=face.probabilities.__getitem__, reverse=True)
    maps = [(f"for {share(face, name)}", face.evidence[name], extent(face.evidence.values())) for name in ranking[:2]]
    attentions = [] if face.attention is None else list(face.attention)
    for branch, attention in enumerate(attentions, 1):
        maps.append((f"attention {branch} of {len(attentions)}", attention, (0.0, 1.0)))
    columns = len(maps) + 1 if (len(maps) + 1) * TILE <= width else 3
    side = width // columns
    seen = _cut_out(picture, face.corners, side)
    square = np.array([[0, 0], [side, 0], [side, side], [0, side]])
    tiles = [_titled("the face as seen" if number is None else f"face {number} as seen", seen)]
    tiles += [_titled(title, lay_over(seen, values, square, span)) for title, values, span in maps]
    rows = [np.hstack(tiles[start : start + columns]) for start in range(0, len(tiles), columns)]
    return stack([np.full((max(1, side // 30), width, 3), DARK, np.uint8), *rows])


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
    low, high = extent([values]) if span is None else span
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


def extent(maps: Iterable[np.ndarray]) -> tuple[float, float]:
    """The lowest and the highest value of several maps."""
    values = np.stack(list(maps))
    return float(values.min()), float(values.max())


def share(face: Face, expression: str) -> str:
    """An expression and its probability in words."""
    number = list(face.probabilities).index(expression) + 1
    return f"{shown(expression, number)} {face.probabilities[expression]:.0%}"


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
    size = max(side // 12, 11)
    bar = tag(title, fitting(title, size, 0.9 * side), DARK, LIGHT, side)
    return np.vstack([bar[:, :side], tile])


def stack(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """Pictures one below the other, the narrower ones with a dark edge on their right."""
    width = max(picture.shape[1] for picture in pictures)
    canvas = np.full((sum(picture.shape[0] for picture in pictures), width, 3), DARK, np.uint8)
    top = 0
    for picture in pictures:
        canvas[top : top + picture.shape[0], : picture.shape[1]] = picture
        top += picture.shape[0]
    return canvas
