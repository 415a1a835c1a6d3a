"""What is drawn, on pictures and faces of many sizes."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msanet.drawing import annotate
from msanet.drawing.annotate import COLOURS, EXPLAINED, LEAST_SIDE, colour_of, draw
from msanet.drawing.evidence import TILE, reasons
from msanet.labels import EXPRESSIONS

OTHERS = ("счастье", "高兴", "joy", "a state of mind that has a very long name indeed", "=1+1", "\u202eevil")


def plain(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), 128, np.uint8)


def inside(drawn: np.ndarray, box: tuple[float, float, float, float], edge: int = 6) -> np.ndarray:
    """What is seen of a face within its outline."""
    x1, y1, x2, y2 = (round(value) for value in box)
    return drawn[max(y1 + edge, 0) : max(y2 - edge, 0), max(x1 + edge, 0) : max(x2 - edge, 0)]


def test_the_picture_itself_stays_as_it_was(face):
    picture = plain(500, 600)
    drawn = draw(picture, [face((100, 100, 200, 200))])
    assert (picture == 128).all()
    assert drawn.shape == picture.shape
    assert (drawn != picture).any()
    assert np.array_equal(draw(picture, []), picture)


@pytest.mark.parametrize("shape", [(48, 48), (480, 640), (3000, 4000), (300, 2000), (1200, 160)])
@pytest.mark.parametrize("place", [(0, 0), (0.7, 0.7), (-0.3, -0.2)])
@pytest.mark.parametrize("bars", [True, False])
def test_a_face_is_seen_and_its_label_read_on_pictures_of_any_shape(face, shape, place, bars):
    height, width = shape
    factor = max(LEAST_SIDE / max(shape), 1)
    x, y, side = place[0] * width, place[1] * height, min(shape) * 0.5
    drawn = draw(plain(*shape), [face((x, y, x + side, y + side))], bars)
    assert drawn.shape[0] >= round(height * factor)
    assert drawn.shape[1] >= round(width * factor)
    seen = inside(drawn, tuple(value * factor for value in (x, y, x + side, y + side)), max(shape) // 100 + 4)
    assert (seen == 128).all()
    # the label's ground has the expression's colour: there is plenty of it, more than the thin box alone has
    rows = (drawn == COLOURS["happiness"]).all(axis=2).sum(axis=1)
    assert (rows > 20).sum() >= 9


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(-60, 700), st.integers(-60, 500), st.integers(40, 400)), min_size=1, max_size=7),
    st.sampled_from([None, True, False]),
    st.booleans(),
)
def test_no_text_is_drawn_over_a_face(face, places, bars, video):
    """The middle of each face is as it was but for outlines, and lines that pass from a face through its neighbour."""
    picture = plain(480, 720)
    boxes = [(x, y, x + side, y + side) for x, y, side in places]
    faces = [face(box, track=number if video else None) for number, box in enumerate(boxes, 1)]
    drawn = draw(picture, faces, bars)
    for box in boxes:
        seen = inside(drawn[:480, :720], box)
        assert not (seen == 25).all(axis=2).any()  # neither letters nor the ground of bars
        assert ((seen == 128) | (seen == COLOURS["happiness"])).all()
    assert not video or drawn.shape == picture.shape


def test_bars_stand_beside_one_or_two_faces(face):
    picture = plain(600, 900)
    one = face((100, 100, 300, 300))
    three = [face((100 + 250 * number, 100, 200 + 250 * number, 200)) for number in range(3)]
    assert np.array_equal(draw(picture, [one]), draw(picture, [one], bars=True))
    assert not np.array_equal(draw(picture, [one]), draw(picture, [one], bars=False))
    assert np.array_equal(draw(picture, three), draw(picture, three, bars=False))


def test_the_length_of_a_bar_is_its_probability(face):
    picture = plain(600, 900)
    drawn = draw(picture, [face((100, 100, 300, 300), "fear", ("anger", "fear", "sadness"))])
    left = (drawn == 75).all(axis=2).sum(axis=1)  # what the bar leaves
    fear = (drawn[:, 310:] == COLOURS["fear"]).all(axis=2).sum(axis=1)
    row = np.flatnonzero((left > 0) & (fear > 0))[0]
    assert fear[row] / (fear[row] + left[row]) == pytest.approx(0.93, abs=0.01)
    assert left.max() / (fear[row] + left[row]) == pytest.approx(0.965, abs=0.01)


def test_of_many_labels_the_most_probable_have_bars(face):
    labels = tuple(f"label {letter}" for letter in "abcdefghijklmnopqrstuvwxyz")
    picture = plain(900, 1200)
    drawn = draw(picture, [face((100, 100, 300, 300), "label z", labels)])
    few = draw(picture, [face((100, 100, 300, 300), "label z", labels[-10:])])
    assert drawn.shape == few.shape
    assert (np.flatnonzero((drawn != 128).any(axis=(1, 2))) == np.flatnonzero((few != 128).any(axis=(1, 2)))).all()


def test_a_face_that_fills_the_picture_has_its_text_beside_it(face):
    picture = plain(600, 500)
    drawn = draw(picture, [face((-10, -20, 520, 600))])
    assert drawn.shape[0] > 600 or drawn.shape[1] > 500
    assert (drawn[10:590, 10:490] == 128).all()
    text = drawn[600:] if drawn.shape[0] > 600 else drawn[:, 500:]
    assert (text == COLOURS["happiness"]).all(axis=2).sum() > 500


def test_two_faces_without_room_are_numbered(face):
    """Each number stands in the colour of its face above it, the text in the same order beside the picture."""
    boxes = [(20, 40, 380, 470), (410, 40, 780, 470)]
    drawn = draw(plain(480, 800), [face(boxes[0], "fear"), face(boxes[1], "anger")])
    assert drawn.shape[1] > 800
    for box in boxes:
        assert (inside(drawn, box) == 128).all()
    assert (drawn[:36, 20:60] == COLOURS["fear"]).all(axis=2).sum() > 50
    assert (drawn[:36, 410:450] == COLOURS["anger"]).all(axis=2).sum() > 50
    first = [
        np.flatnonzero((drawn[:, 800:] == COLOURS[name]).all(axis=2).sum(axis=1) > 60)[0] for name in ("fear", "anger")
    ]
    assert first[0] < first[1]


def test_where_many_labels_find_no_room_all_faces_are_numbered(face):
    """There is room for one label of two, above the right face; of twenty-one one is left out."""
    picture = plain(480, 800)
    two = draw(picture, [face((-10, -10, 640, 490)), face((660, 30, 790, 470), "fear")], bars=False)
    text = two.copy()
    text[:480, :800] = 0
    assert min((text == COLOURS[name]).all(axis=2).sum() for name in ("happiness", "fear")) > 100

    picture = plain(1000, 1600)
    faces = [
        face((40 + 220 * (n % 7), 60 + 200 * (n // 7), 140 + 220 * (n % 7), 160 + 200 * (n // 7))) for n in range(20)
    ]
    drawn = draw(picture, [*faces, face((-10, 650, 1610, 1010), "fear"), face((700, 750, 800, 850), "anger")])
    text = drawn.copy()
    text[:1000, :1600] = 0
    assert (text == COLOURS["anger"]).all(axis=2).sum() > 100
    assert not (text == COLOURS["happiness"]).all(axis=2).any()


def test_the_people_of_a_video_have_text_of_one_size(face):
    """Between the two there is room for small bars only."""
    spots: dict[int, tuple[int, int]] = {}
    faces = [face((500, 100, 600, 400), track=1), face((-10, -10, 340, 490), track=2)]
    draw(plain(480, 800), faces[:1], True, spots)
    assert spots[1][0] == 0
    draw(plain(480, 800), faces, True, spots)
    assert spots[1][0] == spots[2][0]
    assert spots[1][0] in (1, 2)


def test_texts_of_a_video_do_not_meet(face, monkeypatch):
    """Also where one person has bars, another a label and a third a number."""
    written: list[list[tuple[int, int, int, int]]] = []
    keep = lambda canvas, notes, spots: written.append([spot.rectangle for spot in spots])  # noqa: E731
    monkeypatch.setattr(annotate, "_write", keep)
    random = np.random.default_rng(0)
    for _ in range(40):
        places = random.integers((-40, -40, 60), (500, 400, 260), (5, 3)).tolist()
        faces = [face((x, y, x + side, y + side), track=number) for number, (x, y, side) in enumerate(places, 1)]
        draw(plain(480, 640), faces, True)
        for one, other in itertools.combinations(written[-1], 2):
            assert one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
    assert max(map(len, written)) == 5


def test_a_line_joins_a_face_within_another_to_its_text(face):
    drawn = draw(plain(480, 640), [face((100, 100, 400, 400)), face((200, 200, 260, 260), "fear")])
    drawn[190:270, 190:270] = 0  # its outline
    assert (drawn[100:400, 100:400] == COLOURS["fear"]).all(axis=2).sum() >= 90


def test_faces_all_round_which_are_other_faces_are_known_by_their_picture(face):
    picture = plain(480, 800)
    picture[:, 400:] = (0, 90, 0)
    drawn = draw(picture, [face((-10, -10, 420, 500)), face((380, -10, 820, 500), "fear")])
    assert drawn.shape[0] > 480 or drawn.shape[1] > 800
    text = drawn.copy()
    text[:480, :800] = 0
    small = [(text == colour).all(axis=2).sum() for colour in (128, (0, 90, 0))]
    assert min(small) > 500


@pytest.mark.parametrize("count", [10, 50, 200])
def test_many_faces_have_labels_or_numbers(face, count):
    """In each case each face is told: a ground of its colour touches it from above or below."""
    columns = 20 if count == 200 else 10
    boxes = [(20 + number % columns * 1800 / columns, 40 + number // columns * 110.0) for number in range(count)]
    faces = [face((x, y, x + 60, y + 70), EXPRESSIONS[number % 8]) for number, (x, y) in enumerate(boxes)]
    drawn = draw(plain(1180, 1840), faces)
    assert (drawn.shape[0] > 1180) == (count == 200)
    for (x, y), one in zip(boxes, faces, strict=True):
        around = drawn[int(y) - 30 : int(y) + 100, max(int(x) - 10, 0) : int(x) + 70]
        assert (around == COLOURS[one.expression]).all(axis=2).sum() > 400  # the outline has 260
        assert (inside(drawn, one.box) == 128).all()


def test_frames_of_a_video_are_of_one_size(face):
    """Also where nothing of the text finds room."""
    picture = plain(480, 640)
    for boxes in ([], [(-10, -10, 650, 490)], [(0, 20, 320, 470), (320, 20, 640, 470)], [(10, 10, 90, 90)] * 30):
        faces = [face(box, track=number) for number, box in enumerate(boxes, 1)]
        assert draw(picture, faces, spots={}).shape == picture.shape


def test_people_of_a_video_have_their_numbers(face):
    picture = plain(480, 640)
    one, other = (draw(picture, [face((100, 100, 220, 240), track=number)], spots={}) for number in (1, 2))
    assert not np.array_equal(one, other)


def test_text_of_a_video_stays_on_its_side(face):
    """A person who walks across the middle of the picture; alone there would be more room on the other side."""
    picture = plain(480, 640)

    def side(x: int, spots: dict[int, tuple[int, int]]) -> str:
        drawn = draw(picture, [face((x, 100, x + 100, 220), track=1)], spots=spots)
        dark = np.flatnonzero((drawn[150:200] == 75).all(axis=2).any(axis=0))
        return "left" if dark.mean() < x else "right"

    spots: dict[int, tuple[int, int]] = {}
    assert [side(x, spots) for x in (180, 300, 340)] == ["right", "right", "right"]
    assert side(340, {}) == "left"
    assert side(500, spots) == "left"  # where it has to


def test_text_of_a_video_does_not_come_and_go(face):
    """Boxes shake; at the distance at which the bars just find room they stay away or stay."""
    picture = plain(480, 640)

    def way(x: int, spots: dict[int, tuple[int, int]]) -> int:
        draw(picture, [face((-10, -10, x, 490), track=1)], spots=spots)
        return spots[1][0]

    alone = [way(x, {}) for x in range(400, 560)]
    edges = 400 + np.flatnonzero(np.diff(alone))
    assert len(edges) >= 3  # sizes of bars, then the label alone
    for edge in edges.tolist():
        spots: dict[int, tuple[int, int]] = {}
        ways = [way(edge + shake, spots) for shake in (1, 0, 1, 0, 1, 0)]
        assert len(set(ways)) == 1


def test_reasons_stand_below_the_picture(face):
    random = np.random.default_rng(0)
    picture = random.integers(0, 256, (480, 800, 3), np.uint8)
    evidence = {name: np.eye(4, dtype=np.float32) for name in EXPRESSIONS}
    one = face((50, 100, 150, 200), evidence=evidence)
    assert np.array_equal(draw(picture, [one])[480:], reasons(picture, one, 800))
    narrow = draw(picture[:, :200], [one])
    below = reasons(picture[:, :200], one, max(narrow.shape[1], 3 * TILE))
    assert np.array_equal(narrow[-len(below) :, : below.shape[1]], below)
    # several faces have numbers, which their reasons repeat
    assert np.array_equal(draw(picture, [one, one])[480:][-len(below) :], reasons(picture, one, 800, 2)[-len(below) :])


def test_faces_with_reasons_have_numbers(face):
    flat = {name: np.zeros((2, 2), np.float32) for name in EXPRESSIONS}  # nothing is laid over the face
    boxes = [(100, 100, 180, 200), (400, 100, 480, 200)]
    plainly, explained = (draw(plain(480, 640), [face(box, evidence=maps) for box in boxes]) for maps in (None, flat))
    assert not np.array_equal(plainly, explained[:480])


def test_reasons_are_drawn_for_the_largest_faces_only(face):
    picture = np.full((480, 640, 3), 60, np.uint8)
    evidence = {name: np.eye(2, dtype=np.float32) for name in EXPRESSIONS}
    one = face((100, 100, 300, 300), evidence=evidence)
    heights = [draw(picture, [one] * number, bars=False).shape[0] for number in (EXPLAINED, EXPLAINED + 3)]
    assert heights[0] == heights[1] > 480 + EXPLAINED * 100
    # two in a row where there is room
    wide = np.full((480, 1600, 3), 60, np.uint8)
    assert draw(wide, [one, one], bars=False).shape[0] < draw(wide, [one], bars=False).shape[0]


@pytest.mark.parametrize("name", OTHERS)
def test_labels_that_are_not_our_expressions_are_drawn(face, name):
    picture = plain(480, 640)
    drawn = draw(picture, [face((100, 100, 220, 240), name, OTHERS)])
    assert drawn.shape == picture.shape
    assert (drawn == colour_of(name)).all(axis=2).sum() > 500


def test_colours_are_stable_light_and_different():
    assert colour_of("happiness") == COLOURS["happiness"]
    names = ["joy", "boredom", "interest", "pain", "счастье", "高兴"]
    assert len({colour_of(name) for name in names}) == len(names)
    assert colour_of("joy") == (137, 235, 112)
    for index in range(300):
        red, green, blue = colour_of(f"label {index}")
        assert 0.3 * red + 0.59 * green + 0.11 * blue > 90  # letters are dark
