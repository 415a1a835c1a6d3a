"""What is drawn, on pictures and faces of many sizes."""

from __future__ import annotations

import numpy as np
import pytest

from msanet.drawing import SMALLEST, draw, lay_over
from msanet.expressions import EXPRESSIONS
from msanet.faces import Face


def face(box: tuple[float, float, float, float], evidence: np.ndarray | None = None) -> Face:
    x1, y1, x2, y2 = box
    return Face(
        box=box,
        score=0.9,
        landmarks=np.zeros((5, 2), np.float32),
        expression="happiness",
        probabilities={name: 0.93 if name == "happiness" else 0.01 for name in EXPRESSIONS},
        corners=np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]], np.float32),
        evidence=evidence,
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
    assert max(drawn.shape[:2]) == max(*shape, SMALLEST)
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
    with_evidence = draw(picture, [face((100, 100, 300, 300), np.eye(2, dtype=np.float32))])
    assert not np.array_equal(with_evidence, draw(picture, [face((100, 100, 300, 300))]))
