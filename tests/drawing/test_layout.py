"""No text over a face, none over another, none off the canvas: on random faces, and where it stands on plain ones."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msanet.drawing.layout import ABOVE, BELOW, LEFT, RIGHT, Box, Rectangle, Size, Spot, arrange, legend

LENGTH = st.integers(1, 120)
SIZE = st.tuples(LENGTH, LENGTH)


@st.composite
def scenes(draw: st.DrawFn) -> tuple[Size, list[Box], list[Size | None]]:
    """A canvas, faces on it, over its edge, beside it and over each other, and the sizes of their texts."""
    canvas = draw(st.tuples(st.integers(1, 500), st.integers(1, 500)))
    faces, sizes = [], []
    for _ in range(draw(st.integers(0, 8))):
        x, y = (draw(st.floats(-0.3 * length - 50, 1.1 * length)) for length in canvas)
        width, height = draw(st.floats(0, 250)), draw(st.floats(0, 250))
        faces.append((x, y, x + width, y + height))
        sizes.append(draw(st.one_of(st.none(), SIZE, SIZE)))
    return canvas, faces, sizes


def meet(one: Box | Rectangle, other: Box | Rectangle, gap: float = 0) -> bool:
    return one[0] < other[2] + gap and other[0] < one[2] + gap and one[1] < other[3] + gap and other[1] < one[3] + gap


@given(scenes(), st.integers(0, 6), st.sampled_from([0, 30, math.inf]), st.booleans(), st.lists(st.integers(0, 11)))
def test_no_text_meets_a_face_or_another_text(scene, gap, reach, beside, before):
    canvas, faces, sizes = scene
    before = before[: len(faces)]
    taken = [(5, 5, 60, 25)]
    spots = arrange(faces, sizes, canvas, gap, reach, beside, before, taken)
    assert len(spots) == len(faces)
    found = [(spot.rectangle, size) for spot, size in zip(spots, sizes, strict=True) if spot is not None]
    for number, (rectangle, size) in enumerate(found):
        assert size is not None
        assert (rectangle[2] - rectangle[0], rectangle[3] - rectangle[1]) == size
        assert rectangle[0] >= 0
        assert rectangle[1] >= 0
        assert rectangle[2] <= canvas[0]
        assert rectangle[3] <= canvas[1]
        assert not any(meet(rectangle, face) for face in faces)
        others = [*(other for other, _ in found[:number]), *taken]
        assert not any(meet(rectangle, other, gap) for other in others)
    assert all(spot is None for spot, size in zip(spots, sizes, strict=True) if size is None)


@given(scenes(), st.integers(0, 6), st.booleans())
def test_a_text_stands_at_its_face_or_has_a_line_to_it(scene, gap, beside):
    """The line ends at the face's box and passes no face that does not touch this one."""
    canvas, faces, sizes = scene
    for number, spot in enumerate(arrange(faces, sizes, canvas, gap, beside=beside)):
        if spot is None:
            continue
        # the part of the box on the canvas, of a face beside it the nearest edge
        limits = (*canvas, *canvas)
        box = [min(max(value, 0), limit) for value, limit in zip(faces[number], limits, strict=True)]
        if spot.line is None:
            # whole pixels round the box, hence two more
            assert meet(spot.rectangle, tuple(box), gap + 2)
        else:
            x1, y1, x2, y2 = spot.line
            line = (min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2))
            assert meet(line, tuple(box), 2)
            crossed = [face for face in faces if meet(line, face, -1) and not meet(face, faces[number], 2)]
            assert crossed == []


def spots_of(*arguments: Any, **options: Any) -> list[Spot]:
    """Of an arrangement in which each text has its place."""
    spots = arrange(*arguments, **options)
    assert None not in spots
    return [spot for spot in spots if spot is not None]


def test_one_face_has_its_text_where_it_is_expected():
    face = (100, 100, 200, 220)
    assert spots_of([face], [(80, 20)], (600, 400), 2)[0].rectangle == (100, 78, 180, 98)
    # bars: where there is more room
    assert spots_of([face], [(80, 90)], (600, 400), 2, beside=True)[0].rectangle == (202, 100, 282, 190)
    face = (400, 100, 500, 220)
    assert spots_of([face], [(80, 90)], (600, 400), 2, beside=True)[0].rectangle == (318, 100, 398, 190)


def test_two_faces_have_their_bars_on_their_outer_sides():
    faces = [(400, 100, 500, 220), (150, 90, 250, 200)]
    left, right = (150, 90), (150, 90)
    spots = spots_of(faces, [left, right], (800, 400), 0, beside=True)
    assert spots[0].rectangle[0] == 500
    spots = spots_of(faces, [(120, 90), (120, 90)], (800, 400), 0, beside=True)
    assert spots[0].rectangle == (500, 100, 620, 190)
    assert spots[1].rectangle == (30, 90, 150, 180)


@pytest.mark.parametrize(
    ("face", "side"),
    [
        ((100, -50, 200, 80), BELOW),  # past the upper edge
        ((100, 100, 250, 420), ABOVE),
        ((50, -20, 150, 420), RIGHT),  # from the upper to the lower edge
        ((450, -20, 620, 420), LEFT),
    ],
)
def test_text_of_a_face_at_the_edge_stands_where_there_is_room(face, side):
    spot = spots_of([face], [(90, 20)], (600, 400))[0]
    assert spot.place // 3 == side
    assert spot.line is None


def test_a_face_that_fills_the_canvas_has_no_place():
    assert arrange([(-10, -10, 700, 500)], [(10, 10)], (600, 400)) == [None]
    assert arrange([(10, 10, 20, 20)], [(601, 10)], (600, 400)) == [None]


def test_a_face_within_another_has_a_line_to_its_text():
    outer, inner = (100, 100, 300, 300), (150, 150, 200, 200)
    spots = arrange([outer, inner], [None, (40, 20)], (400, 400))
    assert spots[1] is not None
    assert spots[1].rectangle == (150, 80, 190, 100)
    assert spots[1].line == (170, 100, 170, 150)
    assert arrange([outer, inner], [None, (40, 20)], (400, 400), reach=30) == [None, None]


def test_no_line_crosses_a_face_within_a_face_that_is_passed():
    outer, inner, small = (0, 0, 100, 100), (40, 60, 60, 90), (40, 20, 60, 40)
    spots = arrange([outer, inner, small], [None, (20, 20), None], (100, 200))
    assert spots[1] is not None
    assert spots[1].rectangle == (40, 100, 60, 120)
    assert arrange([outer, inner, (30, 92, 70, 98)], [None, (20, 20), None], (100, 200)) == [None] * 3


def test_no_line_crosses_another_face():
    """The upper face has no room but beyond the lower one."""
    faces = [(0, 0, 100, 100), (0, 110, 100, 200)]
    assert arrange(faces, [(50, 20), None], (100, 300)) == [None, None]


def test_text_moves_along_its_face_where_the_corners_are_taken():
    taken = [(90, 70, 130, 95), (170, 70, 210, 95), (90, 205, 210, 225), (60, 90, 95, 210), (205, 90, 240, 210)]
    spot = spots_of([(100, 100, 200, 200)], [(30, 20)], (400, 400), taken=taken)[0]
    assert spot.rectangle == (130, 80, 160, 100)


def test_the_face_with_fewest_places_comes_first():
    """The second face can have its text only between the two, where the first would rather have its own."""
    faces = [(0, 150, 100, 250), (0, 0, 100, 130)]
    spots = spots_of(faces, [(100, 20), (100, 20)], (100, 300))
    assert [spot.rectangle[1] for spot in spots] == [250, 130]


def test_text_stays_where_it_was_in_the_frame_before():
    face, size, canvas = (100, 100, 200, 220), (60, 20), (400, 400)
    first = spots_of([face], [size], canvas, taken=[(90, 70, 220, 90)])[0]
    assert first.place // 3 == BELOW
    assert spots_of([face], [size], canvas)[0].place // 3 == ABOVE
    again = spots_of([face], [size], canvas, before=[first.place])[0]
    assert again == first
    # it moves where it has to
    assert spots_of([face], [size], canvas, before=[first.place], taken=[(0, 220, 400, 400)])[0].place // 3 == ABOVE


@given(
    st.lists(SIZE, min_size=1, max_size=60), st.tuples(st.integers(1, 2000), st.integers(1, 2000)), st.integers(0, 9)
)
def test_a_legend_stands_beside_its_picture(sizes, picture, gap):
    rectangles, canvas = legend(sizes, picture, gap)
    assert canvas[0] >= picture[0]
    assert canvas[1] >= picture[1]
    for number, (rectangle, size) in enumerate(zip(rectangles, sizes, strict=True)):
        assert (rectangle[2] - rectangle[0], rectangle[3] - rectangle[1]) == size
        assert not meet(rectangle, (0, 0, *picture))
        assert min(rectangle) >= 0
        assert rectangle[2] <= canvas[0]
        assert rectangle[3] <= canvas[1]
        assert not any(meet(rectangle, other, gap) for other in rectangles[:number])


def test_a_legend_makes_the_canvas_no_longer_than_need_be():
    assert legend([(30, 40)], (400, 100))[1] == (430, 100)
    assert legend([(50, 40)], (100, 400))[1] == (100, 440)
    rectangles, canvas = legend([(90, 20)] * 40, (400, 100))
    assert canvas == (400, 300)
    assert rectangles[4] == (0, 120, 90, 140)
