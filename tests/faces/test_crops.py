"""Cutting faces out, on pictures drawn for it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from msanet.faces import crops
from msanet.faces.crops import corners, crop, cut, place
from msanet.preprocessing import Framing

# eyes, nose and corners of the mouth as (x, y) in 0..1 of an upright crop
TEMPLATE = ((0.3, 0.4), (0.7, 0.4), (0.5, 0.6), (0.35, 0.75), (0.65, 0.75))


def rotated(points: np.ndarray, degrees: float, center: tuple[float, float]) -> np.ndarray:
    """Points turned clockwise, as seen, about a centre."""
    angle = np.radians(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return (points - center) @ turn.T + center


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


def test_corners_are_those_of_the_crop():
    box = np.array([60, 60, 140, 140])
    landmarks = np.array([[80, 90], [120, 90], [100, 105], [85, 120], [115, 120]])
    placement = place(box, landmarks, Framing())
    assert corners(placement) == pytest.approx(np.array([[60, 60], [140, 60], [140, 140], [60, 140]]), abs=1e-4)
    assert corners(placement, 0.5) == pytest.approx(np.array([[80, 80], [120, 80], [120, 120], [80, 120]]), abs=1e-4)
