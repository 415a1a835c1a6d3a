"""Finding faces, on a real photograph; cutting them out, on pictures drawn for it."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from msanet.errors import InputError
from msanet.faces import crops
from msanet.faces.aligner import Aligner
from msanet.faces.crops import corners, crop, cut, place
from msanet.faces.detector import YUNET_FILE, FaceDetector
from msanet.faces.face import Face
from msanet.preprocessing import Framing

# eyes, nose and corners of the mouth as (x, y) in 0..1 of an upright crop
TEMPLATE = ((0.3, 0.4), (0.7, 0.4), (0.5, 0.6), (0.35, 0.75), (0.65, 0.75))


@pytest.fixture(scope="module")
def detector() -> FaceDetector:
    return FaceDetector(threads=1)


def rotated(points: np.ndarray, degrees: float, center: tuple[float, float]) -> np.ndarray:
    """Points turned clockwise, as seen, about a centre."""
    angle = np.radians(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return (points - center) @ turn.T + center


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
def test_quarter_turns_of_a_portrait(detector, portrait, turn):
    # the head alone: enough of a whole portrait is found upside down as well
    head = portrait[60:400, 110:430]
    upright, _, landmarks = detector(head)
    turned, _, found = detector(np.ascontiguousarray(np.rot90(head, turn)))
    center = (head.shape[1] / 2, head.shape[0] / 2)
    new_center = np.array(center if turn == 2 else center[::-1])
    expected = rotated(landmarks[0], -90 * turn, center) - center + new_center
    assert np.abs(found[0] - expected).max() < 0.06 * (upright[0, 2] - upright[0, 0])
    assert len(turned) == 1


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


def test_a_high_threshold_finds_nothing(portrait):
    assert len(FaceDetector(threshold=0.99)(portrait)[0]) == 0


@pytest.mark.parametrize("arguments", [{"size": 0}, {"size": 100_000}, {"threshold": 0.0}, {"threshold": 60}])
def test_wrong_arguments(arguments):
    with pytest.raises(InputError, match="choose"):
        FaceDetector(**arguments)


def test_other_weights_are_refused(tmp_path, monkeypatch):
    class Package:
        origin = str(tmp_path / "__init__.py")

    monkeypatch.setattr("importlib.util.find_spec", lambda name: Package)
    with pytest.raises(InputError, match="is missing"):
        FaceDetector()
    (tmp_path / YUNET_FILE).write_bytes(b"other")
    with pytest.raises(InputError, match="is not the YuNet"):
        FaceDetector()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install"):
        FaceDetector()


def ramp(side: int = 200) -> np.ndarray:
    """A picture whose red tells the column and green the row."""
    columns, rows = np.meshgrid(np.arange(side), np.arange(side))
    return np.dstack([columns, rows, np.zeros_like(rows)]).astype(np.uint8)


def test_a_level_crop_is_the_square_about_the_box():
    box = np.array([60, 50, 100, 140])  # sides 40 and 90: the square's side is 60, its centre (80, 95)
    landmarks = np.array([[70, 80], [90, 80], [80, 95], [72, 110], [88, 110]])
    square = crop(ramp(), box, landmarks, Framing(scale=1.0))
    assert square.dtype == np.uint8
    assert np.array_equal(square, ramp()[65:125, 50:110])
    assert crop(ramp(), box, landmarks, Framing(scale=1.5)).shape == (90, 90, 3)


@pytest.mark.parametrize("degrees", [-100, -45, 10, 90, 180])
def test_the_crop_turns_with_the_eyes(degrees):
    center = (100.0, 100.0)
    landmarks = np.array([[80, 90], [120, 90], [100, 105], [85, 120], [115, 120]], float)
    box = np.array([60, 60, 140, 140])
    picture = cv2.GaussianBlur(ramp(), (0, 0), 3)
    matrix = cv2.getRotationMatrix2D((99.5, 99.5), -degrees, 1)
    turned = cv2.warpAffine(picture, matrix, (200, 200), borderMode=cv2.BORDER_REPLICATE)
    upright = crop(picture, box, landmarks, Framing())
    level = crop(turned, box, rotated(landmarks, degrees, center), Framing())
    assert np.abs(upright.astype(int) - level).mean() < 1.5
    assert np.array_equal(
        crop(turned, box, rotated(landmarks, degrees, center), Framing(level=False)), turned[60:140, 60:140]
    )


@pytest.mark.parametrize("degrees", [0, 33, 180])
def test_a_template_brings_the_landmarks_to_their_places(degrees):
    landmarks = rotated(np.array(TEMPLATE) * 50 + 70, degrees, (100, 100))
    framing = Framing(template=TEMPLATE)
    placement = place(np.zeros(4), landmarks, framing)
    assert landmarks @ placement[:, :2].T + placement[:, 2] == pytest.approx(np.array(TEMPLATE), abs=1e-6)
    assert crop(ramp(), np.zeros(4), landmarks, framing).shape == (50, 50, 3)


def test_a_template_never_mirrors():
    mirrored = np.array(TEMPLATE) * [-100, 100] + [150, 50]
    assert np.linalg.det(place(np.zeros(4), mirrored, Framing(template=TEMPLATE))[:, :2]) > 0


def test_a_large_crop_is_averaged_down_without_aliasing():
    stripes = np.zeros((2048, 2048, 3), np.uint8)
    stripes[:, ::2] = 255
    landmarks = np.array([[800, 900], [1200, 900], [1000, 1100], [850, 1300], [1150, 1300]])
    square = crop(stripes, np.array([0, 0, 2048, 2048]), landmarks, Framing())
    assert square.shape == (crops.MAX_CROP, crops.MAX_CROP, 3)
    assert np.abs(square[8:-8, 8:-8].astype(int) - 127).max() < 3


def test_beyond_the_edge_the_border_goes_on():
    picture = np.full((100, 100, 3), 77, np.uint8)
    landmarks = np.array([[0, 0], [10, 0], [5, 5], [1, 10], [9, 10]])
    assert (crop(picture, np.array([-50, -50, 50, 50]), landmarks, Framing()) == 77).all()


@pytest.mark.parametrize("box", [[5, 5, 5, 5], [9, 9, 2, 2], [-1e7, -1e7, 1e7, 1e7]])
def test_boxes_without_sense_still_give_a_crop(box):
    landmarks = np.full((5, 2), 5.0)
    for framing in (Framing(), Framing(template=TEMPLATE)):
        height, width, _ = crop(ramp(), np.array(box), landmarks, framing).shape
        assert height == width >= 1


def test_a_small_crop_may_be_cut_larger_but_not_without_end():
    landmarks = np.array([[40, 45], [60, 45], [50, 52], [43, 60], [57, 60]])
    placement = place(np.array([30, 30, 70, 70]), landmarks, Framing())
    picture = cv2.GaussianBlur(ramp(100), (0, 0), 2)
    native, larger = cut(picture, placement), cut(picture, placement, least=80)
    assert (native.shape, larger.shape) == ((40, 40, 3), (80, 80, 3))
    inner = (slice(2, -2), slice(2, -2))
    shrunk = cv2.resize(larger, (40, 40), interpolation=cv2.INTER_AREA)
    assert np.abs(shrunk[inner].astype(int) - native[inner]).max() <= 2
    assert cut(picture, placement, least=1000).shape == (200, 200, 3)


@pytest.fixture(scope="module")
def tight(detector, portrait) -> tuple[np.ndarray, np.ndarray]:
    """The portrait's face as data sets cut it, without hair and neck, 60 pixels large; and its landmarks."""
    _, _, landmarks = detector(portrait)
    crop = cv2.resize(portrait[130:330, 168:368], (60, 60), interpolation=cv2.INTER_AREA)
    return crop, (landmarks[0] - (168, 130)) * 60 / 200


@pytest.mark.parametrize(
    ("degrees", "scale", "shift"), [(0, 1, (0, 0)), (25, 1, (0, 0)), (-20, 0.85, (4, 2)), (0, 0.8, (-5, 3))]
)
def test_faces_in_crops_are_brought_to_where_recognition_has_them(detector, portrait, tight, degrees, scale, shift):
    framing = Framing(scale=1.0)
    boxes, _, landmarks = detector(portrait)
    expected = mapped(landmarks[0], place(boxes[0], landmarks[0], framing))

    picture, points = tight
    move = cv2.getRotationMatrix2D((30, 30), -degrees, scale)
    move[:, 2] += shift
    moved = cv2.warpAffine(picture, move, (60, 60), borderMode=cv2.BORDER_REPLICATE)
    placement = Aligner(framing)(moved)
    assert placement is not None
    result = mapped(mapped(points, move), placement)
    assert np.abs(result - expected).max() < 0.12
    across, down = result[1] - result[0]
    assert abs(np.degrees(np.arctan2(down, across))) < 8


def mapped(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    return points @ matrix[:, :2].T + matrix[:, 2]


def test_where_no_face_is_nothing_is_aligned():
    noise = np.random.default_rng(0).integers(256, size=(48, 48, 3), dtype=np.uint8)
    assert Aligner(Framing())(noise) is None
    assert Aligner(Framing()).align(noise) is noise


def test_corners_are_those_of_the_crop():
    box = np.array([60, 60, 140, 140])
    landmarks = np.array([[80, 90], [120, 90], [100, 105], [85, 120], [115, 120]])
    placement = place(box, landmarks, Framing())
    assert corners(placement) == pytest.approx(np.array([[60, 60], [140, 60], [140, 140], [60, 140]]), abs=1e-4)
    assert corners(placement, 0.5) == pytest.approx(np.array([[80, 80], [120, 80], [120, 120], [80, 120]]), abs=1e-4)


def test_a_face_as_json():
    face = Face(
        box=(1.26, 2.0, 3.0, 4.0),
        score=0.912345,
        landmarks=np.ones((5, 2), np.float32),
        expression="fear",
        probabilities={"fear": 0.75, "anger": 0.25},
        corners=np.zeros((4, 2), np.float32),
    )
    values = json.loads(json.dumps(face.to_dict()))
    assert values["box"] == [1.3, 2.0, 3.0, 4.0]
    assert values["score"] == 0.9123
    assert values["probabilities"] == {"fear": 0.75, "anger": 0.25}
    assert "evidence" not in values
