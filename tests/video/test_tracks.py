"""Who is who from frame to frame, what is seen of them, and how their expressions are smoothed."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from msanet.errors import InputError
from msanet.faces.face import Face
from msanet.labels import EXPRESSIONS
from msanet.video.frames import Frame
from msanet.video.tracks import PATIENCE, Follower, Following, Smoother, Tracker

av = pytest.importorskip("av")


def box(x: float, y: float = 0.0, side: float = 100.0) -> np.ndarray:
    return np.array([x - side / 2, y - side / 2, x + side / 2, y + side / 2])


def run(frames, rate=25.0):
    """The tracks of the boxes of each frame, in order of appearance."""
    tracker, known, result = Tracker(), [], []
    for index, boxes in enumerate(frames):
        boxes = np.array(boxes).reshape(-1, 4)
        present = tracker.update(boxes, tracker.match(boxes, index / rate), index / rate)
        known += [track for track in present if track not in known]
        result.append([known.index(track) for track in present])
    return result


def test_people_who_cross_keep_their_tracks():
    """They walk through each other; while they overlap by half only the one in front is found."""
    frames = []
    for index in range(50):
        left, right = 100.0 + 8 * index, 500.0 - 8 * index
        hidden = abs(left - right) < 50
        frames.append([box(left)] if hidden else [box(left), box(right, 20)])
    numbers = run(frames)
    assert [0] in numbers
    assert numbers[0] == numbers[-1] == [0, 1]
    assert {number for frame in numbers for number in frame} == {0, 1}


@pytest.mark.parametrize(("gone", "same"), [(0.2, True), (0.8 * PATIENCE, True), (2 * PATIENCE, False)])
def test_who_comes_back_soon_keeps_the_track(gone, same):
    numbers = run([[box(100)]] * 10 + [[]] * round(gone * 25) + [[box(110)]] * 3)
    assert numbers[-1] == [0 if same else 1]


def test_another_place_or_size_is_another_person():
    assert run([[box(100)]] * 5 + [[box(400)]])[-1] == [1]
    assert run([[box(100)]] * 5 + [[box(100, side=500)]])[-1] == [1]


def test_who_walks_fast_is_expected_where_the_walk_leads():
    """Hidden for a third of a second the face comes back two and a half sides further."""
    walk = [[box(30.0 * index)] for index in range(28)]
    walk[15:23] = [[]] * 8
    assert run(walk)[-1] == [0]


def test_after_half_a_second_nobody_is_expected_to_walk_on():
    """Three sides a second, and a stop as soon as the face is hidden; it comes back after 0.9 s."""
    walk = [[box(12.0 * index)] for index in range(25)]
    assert run(walk + [[]] * 22 + [[box(12.0 * 25)]])[-1] == [0]


def test_a_velocity_from_two_frames_almost_at_once_is_no_velocity():
    """A tenth of a side of the detector's noise within a millisecond, as uneven times have it."""
    tracker = Tracker()
    for x, time in ((100.0, 0.0), (100.0, 0.04), (110.0, 0.041), (110.0, 0.2)):
        matched = tracker.match(box(x)[None], time)
        (track,) = tracker.update(box(x)[None], matched, time)
        assert np.abs(track.velocity).max() < 200
    assert tracker.tracks == [track]


@given(st.data())
def test_people_apart_are_never_mixed_up(data):
    count = data.draw(st.integers(1, 6))
    steps = data.draw(st.lists(st.tuples(*[st.floats(-12, 12)] * count), min_size=2, max_size=15))
    places = 400.0 * np.arange(count)
    frames, orders = [], []
    for step in steps:
        places = places + step
        order = data.draw(st.permutations(range(count)))
        frames.append([box(places[person]) for person in order])
        orders.append(order)
    first = run(frames)
    for order, numbers in zip(orders, first, strict=True):
        assert [orders[0].index(person) for person in order] == numbers


def face(probabilities: list[float]) -> Face:
    names = dict(zip(EXPRESSIONS, probabilities, strict=False))
    best = max(names, key=names.__getitem__)
    return Face((0, 0, 9, 9), 1.0, np.zeros((5, 2), np.float32), best, names, np.zeros((4, 2), np.float32))


@pytest.mark.parametrize("rate", [5, 25, 100])
def test_smoothing_follows_a_step_to_63_percent_in_its_time_at_any_rate(rate):
    smoother = Smoother(Following(smoothing=0.4))
    smoother([face([1, 0])], [7], 0.0)
    for index in range(1, round(0.4 * rate) + 1):
        (smoothed,) = smoother([face([0, 1])], [7], index / rate)
    assert smoothed.track == 7
    assert smoothed.probabilities["happiness"] == pytest.approx(1 - math.exp(-1))
    assert sum(smoothed.probabilities.values()) == pytest.approx(1)
    assert smoothed.expression == "happiness"


def test_smoothing_can_be_left_out_and_keeps_people_apart():
    faces = [face([1, 0]), face([0, 1])]
    plain = Smoother(Following(smoothing=0))
    plain(faces, [1, 2], 0.0)
    assert [one.expression for one in plain(faces[::-1], [1, 2], 0.1)] == ["happiness", "neutral"]
    smooth = Smoother(Following(smoothing=5))
    smooth(faces, [1, 2], 0.0)
    assert [one.expression for one in smooth(faces[::-1], [1, 2], 0.1)] == ["neutral", "happiness"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"size": 8}, "size is 8"),
        ({"finer_every": -1}, "every -1 frames"),
        ({"smoothing": -1.0}, "smoothing is -1"),
        ({"smoothing": math.nan}, "smoothing is nan"),
    ],
)
def test_wrong_values_are_named(arguments, words):
    with pytest.raises(InputError, match=words):
        Following(**arguments)


class Scene(Frame):
    """A frame, and the sizes at which it was asked for."""

    def __init__(self, picture: np.ndarray, time: float = 0.0) -> None:
        super().__init__(av.VideoFrame.from_ndarray(picture, format="rgb24"), 0, time)
        self.asked: list[int | str] = []

    def picture(self) -> np.ndarray:
        self.asked.append("whole")
        return super().picture()

    def reduced(self, longest: int) -> np.ndarray:
        self.asked.append(longest)
        return super().reduced(longest)


def hung(portrait: np.ndarray, side: int, degrees: float = 0.0) -> np.ndarray:
    """The portrait, turned, on a grey wall of 1280 x 720; her face is about half of `side` high."""
    import cv2

    head = portrait[0:420, 46:466]
    matrix = cv2.getRotationMatrix2D((210, 195), degrees, side / 420)
    matrix[:, 2] += [640 - 210, 360 - 195]
    return cv2.warpAffine(head, matrix, (1280, 720), flags=cv2.INTER_AREA, borderValue=(120, 120, 120))


def test_a_face_too_small_for_the_first_look_is_followed_by_the_finer_one(portrait):
    scenes = [Scene(hung(portrait, 105), index / 25) for index in range(4)]
    follower = Follower(Following(finer_every=30), threads=1)
    assert [follower(scene).numbers for scene in scenes] == [[1]] * 4
    assert [scene.asked for scene in scenes] == [[640, "whole"], [320, 640], [320, 640], [320, 640]]
    never = Follower(Following(finer_every=0), threads=1)
    assert [never(scene).numbers for scene in scenes] == [[]] * 4


def test_a_face_that_left_is_looked_for_once(portrait):
    walls = [Scene(np.full((720, 1280, 3), 120, np.uint8), index / 25) for index in range(1, 4)]
    follower = Follower(Following(finer_every=0), threads=1)
    assert follower(Scene(hung(portrait, 400))).numbers == [1]
    assert [follower(wall).numbers for wall in walls] == [[], [], []]
    assert [wall.asked for wall in walls] == [[320, 640], [320], [320]]


def roll(landmarks: np.ndarray) -> float:
    """Degrees by which the eyes are turned counterclockwise."""
    across, down = landmarks[1] - landmarks[0]
    return math.degrees(math.atan2(-down, across))


def test_landmarks_turn_with_the_face_and_move_with_it_between_the_looks(portrait):
    upright = Follower(Following(), threads=1)(Scene(hung(portrait, 380)))
    turned = hung(portrait, 380, 25)
    follower = Follower(Following(), threads=1)
    first = follower(Scene(turned))
    moved = Scene(np.roll(turned, (15, 40), axis=(0, 1)), 0.04)
    second = follower(moved)
    assert moved.asked == [320]
    for sighting in (first, second):
        assert sighting.numbers == [1]
        assert roll(sighting.landmarks[0]) - roll(upright.landmarks[0]) == pytest.approx(25, abs=5)
    # her face is 190 pixels high
    assert second.landmarks[0, 2] - first.landmarks[0, 2] == pytest.approx([40, 15], abs=10)


def test_a_cut_makes_a_new_person_at_the_same_place(portrait):
    near = hung(portrait, 400)
    far = np.where(np.arange(1280)[:, None] // 80 % 2, near, near // 2)  # the same face in another picture
    follower = Follower(Following(), threads=1)
    numbers = [follower(Scene(picture, index / 25)).numbers for index, picture in enumerate([near] * 4 + [far] * 3)]
    assert numbers == [[1]] * 4 + [[2]] * 3


def test_a_flash_makes_nobody_new(portrait):
    near = hung(portrait, 400)
    white = np.full_like(near, 255)
    follower = Follower(Following(), threads=1)
    pictures = [near] * 4 + [white, white // 4 * 3 + near // 4] + [near] * 3
    numbers = [follower(Scene(picture, index / 25)).numbers for index, picture in enumerate(pictures)]
    assert numbers[:4] + numbers[-3:] == [[1]] * 7


def test_what_the_second_look_rejects_is_no_face(portrait, monkeypatch):
    follower = Follower(Following(), threads=1)
    monkeypatch.setattr(follower._detector, "look_again", lambda *_: None)
    assert [follower(Scene(hung(portrait, 400), index / 25)).numbers for index in range(3)] == [[], [], []]


def test_the_largest_face_comes_first(portrait):
    picture = np.hstack([hung(portrait, 300)[:, 400:880], hung(portrait, 450)[:, 400:880]])
    sighting = Follower(Following(), threads=1)(Scene(picture))
    sides = sighting.boxes[:, 2] - sighting.boxes[:, 0]
    assert len(sides) == 2
    assert sides[0] > sides[1]
    assert sorted(sighting.numbers) == [1, 2]
