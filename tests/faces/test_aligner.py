"""Finding the face in a data set's crop, on a real photograph cut as data sets do."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from msanet.faces.aligner import Aligner
from msanet.faces.crops import place
from msanet.preprocessing import Framing


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


def test_large_crops_and_long_strips_cost_no_more(portrait):
    aligner = Aligner(Framing(scale=1.0))
    crop = cv2.resize(portrait[130:330, 168:368], (1000, 1000), interpolation=cv2.INTER_CUBIC)
    larger = cv2.resize(crop, (4000, 4000), interpolation=cv2.INTER_CUBIC)
    ends = np.array([[0, 0], [1, 0], [0.5, 0.5], [1, 1]])
    expected, placement = aligner(crop), aligner(larger)
    assert expected is not None
    assert placement is not None
    np.testing.assert_allclose(mapped(ends * 4000, placement), mapped(ends * 1000, expected), atol=0.02)
    strip = np.zeros((2, 60_000, 3), np.uint8)  # with margins as wide as itself it would be 21 GB
    assert aligner.align(strip) is strip
