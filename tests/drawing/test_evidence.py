"""Maps laid over faces, and the tiles below a picture."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from msanet.drawing.evidence import TILE, lay_over, reasons
from msanet.labels import EXPRESSIONS


def test_evidence_shines_where_it_is_highest():
    evidence = np.zeros((4, 4), np.float32)
    evidence[0, 3] = 5  # the upper right of the square
    picture = np.full((400, 400, 3), 60, np.uint8)
    corners = np.array([[100, 100], [300, 100], [300, 300], [100, 300]])
    change = np.abs(lay_over(picture, evidence, corners).astype(int) - 60).sum(axis=2)
    row, column = np.unravel_index(change.argmax(), change.shape)
    assert row < 170
    assert column > 230
    assert change[:95].max() == change[310:].max() == 0
    # the same square seen by a face lying on its side: its upper right is elsewhere in the picture
    change = np.abs(lay_over(picture, evidence, np.roll(corners, -1, axis=0)).astype(int) - 60).sum(axis=2)
    row, column = np.unravel_index(change.argmax(), change.shape)
    assert row > 230
    assert column > 230


def test_flat_evidence_changes_nothing():
    picture = np.full((500, 500, 3), 60, np.uint8)
    corners = np.array([[100, 100], [300, 100], [300, 300], [100, 300]])
    assert np.array_equal(lay_over(picture, np.ones((2, 2), np.float32), corners), picture)


def test_a_map_is_drawn_on_the_scale_that_is_given():
    picture, values = np.full((64, 64, 3), 60, np.uint8), np.full((2, 2), 0.5, np.float32)
    corners = np.array([[0, 0], [64, 0], [64, 64], [0, 64]])
    change = [np.abs(lay_over(picture, values, corners, (0, high)).astype(int) - 60).sum() for high in (0.6, 1, 10)]
    assert change[0] > change[1] > change[2] > 0
    assert np.array_equal(lay_over(picture, values, corners, (0.5, 1)), picture)


@pytest.mark.parametrize("width", [200, 500, 1000])
def test_reasons_are_tiles_of_the_face(face, width):
    """The evidence for the expression, and for the runner-up on the same scale; the branches' attention."""
    random = np.random.default_rng(0)
    picture = random.integers(0, 256, (480, width, 3), np.uint8)
    evidence = {name: np.zeros((4, 4), np.float32) for name in EXPRESSIONS}
    evidence["happiness"] += 8
    attention = np.stack([np.zeros((4, 4), np.float32), np.ones((4, 4), np.float32)])
    one = dataclasses.replace(face((50, 100, 150, 200)), evidence=evidence, attention=attention)
    width = max(width, 3 * TILE)
    below = reasons(picture, one, width)
    assert below.shape[1] == width
    columns = 5 if width == 1000 else 3
    side = width // columns
    assert side >= TILE
    height = (below.shape[0] - max(1, side // 30)) // (1 if columns == 5 else 2)
    tiles = [
        below[top : top + height, left : left + side][-side:].astype(int)
        for top in range(below.shape[0] - height * (1 if columns == 5 else 2), below.shape[0], height)
        for left in range(0, side * columns, side)
    ]
    seen, named, runner_up, low, high = tiles[:5]
    assert np.array_equal(seen, runner_up)  # no evidence for it: nothing is laid over the face
    assert np.array_equal(seen, low)
    assert np.abs(named - seen).mean() > 20
    assert np.array_equal(named, high)
    assert (np.array(tiles[5:]) == 25).all()
    assert not np.array_equal(reasons(picture, one, width, number=3), below)
