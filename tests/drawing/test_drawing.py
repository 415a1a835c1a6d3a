"""What is drawn, on pictures and faces of many sizes."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from msanet.drawing.annotate import EXPLAINED, LEAST_SIDE, draw
from msanet.drawing.evidence import TILE, lay_over, reasons
from msanet.faces.face import Face
from msanet.labels import EXPRESSIONS


def face(box: tuple[float, float, float, float]) -> Face:
    x1, y1, x2, y2 = box
    return Face(
        box=box,
        score=0.9,
        landmarks=np.zeros((5, 2), np.float32),
        expression="happiness",
        probabilities={name: 0.93 if name == "happiness" else 0.01 for name in EXPRESSIONS},
        corners=np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]], np.float32),
    )


def test_the_picture_itself_stays_as_it_was():
    picture = np.full((500, 600, 3), 128, np.uint8)
    drawn = draw(picture, [face((100, 100, 300, 300))])
    assert (picture == 128).all()
    assert drawn.shape == picture.shape
    assert (drawn != picture).any()
    assert np.array_equal(draw(picture, []), picture)


@pytest.mark.parametrize("shape", [(48, 48), (480, 640), (3000, 4000), (300, 2000), (1200, 160)])
@pytest.mark.parametrize("place", [(0, 0), (0.7, 0.7), (-0.3, -0.2)])
@pytest.mark.parametrize("bars", [True, False])
def test_labels_stay_on_pictures_of_any_shape(shape, place, bars):
    height, width = shape
    x, y, side = place[0] * width, place[1] * height, min(shape) * 0.5
    drawn = draw(np.full((*shape, 3), 128, np.uint8), [face((x, y, x + side, y + side))], bars)
    assert max(drawn.shape[:2]) == max(*shape, LEAST_SIDE)
    # the label's ground has the expression's colour: there is plenty of it, more than the thin box alone has
    ground = (drawn == (255, 200, 40)).all(axis=2)
    rows = ground.sum(axis=1)
    assert (rows > 20).sum() >= 9


def test_bars_stand_beside_one_or_two_faces():
    picture = np.full((600, 900, 3), 128, np.uint8)
    one = [face((100, 100, 300, 300))]
    assert np.array_equal(draw(picture, one), draw(picture, one, bars=True))
    assert np.array_equal(draw(picture, one * 3), draw(picture, one * 3, bars=False))


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
def test_reasons_stand_below_the_picture(width):
    """The evidence for the expression, and for the runner-up on the same scale; the branches' attention."""
    random = np.random.default_rng(0)
    picture = random.integers(0, 256, (480, width, 3), np.uint8)
    evidence = {name: np.zeros((4, 4), np.float32) for name in EXPRESSIONS}
    evidence["happiness"] += 8
    attention = np.stack([np.zeros((4, 4), np.float32), np.ones((4, 4), np.float32)])
    one = dataclasses.replace(face((50, 100, 150, 200)), evidence=evidence, attention=attention)
    drawn = draw(picture, [one])
    assert drawn.shape[1] == max(width, 3 * TILE)
    below = reasons(picture, one, drawn.shape[1])
    assert np.array_equal(drawn[480:], below)
    columns = 5 if width == 1000 else 3
    side = drawn.shape[1] // columns
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


def test_reasons_are_drawn_for_the_largest_faces_only():
    picture = np.full((480, 640, 3), 60, np.uint8)
    evidence = {name: np.eye(2, dtype=np.float32) for name in EXPRESSIONS}
    one = dataclasses.replace(face((100, 100, 300, 300)), evidence=evidence)
    heights = [draw(picture, [one] * number).shape[0] - 480 for number in (0, 1, 2, EXPLAINED, EXPLAINED + 3)]
    assert heights == [0, heights[1], 2 * heights[1], EXPLAINED * heights[1], EXPLAINED * heights[1]]
