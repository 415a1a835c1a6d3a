"""Cuts between scenes, and what is none."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msanet.video.cuts import FLASH, Scenes

RATE = 25


def scene(seed: int, scale: int = 40) -> np.ndarray:
    """A picture of random patches, RGB uint8 [360, 640, 3]."""
    import cv2

    patches = np.random.default_rng(seed).integers(20, 200, (360 // scale, 640 // scale, 3), np.uint8)
    return np.asarray(cv2.resize(patches, (640, 360), interpolation=cv2.INTER_CUBIC))


def numbers(pictures, rate=RATE) -> list[int]:
    scenes = Scenes()
    return [scenes(np.asarray(picture, np.uint8), index / rate) for index, picture in enumerate(pictures)]


def window(picture: np.ndarray, left: float, top: float) -> np.ndarray:
    return picture[round(top) : round(top) + 180, round(left) : round(left) + 320]


@settings(max_examples=20)
@given(st.integers(0, 10**6), st.lists(st.integers(4, 12), min_size=2, max_size=4))
def test_each_cut_is_found(seed, lengths):
    pictures = [scene(seed + number) for number, length in enumerate(lengths) for _ in range(length)]
    assert numbers(pictures) == [number for number, length in enumerate(lengths) for _ in range(length)]


def test_a_cut_is_found_amid_movement_and_noise():
    random = np.random.default_rng(0)
    pictures = [window(scene(index // 12), 100 + 6 * (index % 12), 90) for index in range(36)]
    noisy = [np.clip(picture + random.normal(0, 8, picture.shape), 0, 255) for picture in pictures]
    assert numbers(noisy) == [index // 12 for index in range(36)]


def test_a_person_before_the_same_wall_is_another_after_a_cut():
    """Half of the picture stays as it is."""
    first, second = scene(1), scene(1)
    second[:, 160:480] = scene(2)[:, 160:480]
    assert numbers([first] * 10 + [second] * 3) == [0] * 10 + [1] * 3


MOVES = {
    "pan": lambda index: window(scene(3), 10 + 10 * index, 90),
    "shake": lambda index: window(scene(3), 160 + 8 * np.sin(3.0 * index), 90 + 6 * np.cos(5.0 * index)),
    "fade in": lambda index: scene(3) * min(1.0, index / 12),
    "dissolve": lambda index: scene(3) * (1 - index / 30) + scene(4) * (index / 30),
    "exposure": lambda index: scene(3) * (0.8 + 0.4 * np.sin(index / 3)),
    "flicker": lambda index: scene(3) * (1.0 if index % 2 else 0.6),
    "noise": lambda index: scene(3) // 3 + np.random.default_rng(index).integers(0, 24, (360, 640, 3)),
    "wall": lambda index: (
        np.full((360, 640, 3), 120 + index) + np.random.default_rng(index).integers(0, 3, (360, 640, 3))
    ),
}


@pytest.mark.parametrize("move", MOVES)
def test_movement_light_and_noise_are_no_cut(move):
    assert set(numbers(MOVES[move](index) for index in range(30))) == {0}


@pytest.mark.parametrize("flash", ["burnt", "white", "black", "damaged"])
def test_after_a_flash_the_scene_is_the_same(flash):
    picture = scene(5)
    odd = {
        "burnt": np.clip(picture * 2.5 + 60, 0, 255),
        "white": np.full_like(picture, 255),
        "black": np.zeros_like(picture),
        "damaged": scene(6),
    }[flash]
    result = numbers([picture] * 10 + [odd] * int(FLASH * RATE - 1) + [picture] * 10)
    assert result[:10] == result[-10:] == [0] * 10


def test_a_scene_that_comes_back_later_is_a_new_one():
    assert numbers([scene(7)] * 10 + [scene(8)] * 10 + [scene(7)] * 3)[-1] == 2


def test_a_cut_through_black_is_a_cut():
    assert numbers([scene(7)] * 10 + [np.zeros((360, 640, 3))] * 10 + [scene(8)] * 3)[-1] == 1


def test_the_size_does_not_matter():
    picture = scene(9)
    assert numbers([picture, picture[::2, ::2], picture, np.repeat(picture, 3, axis=1)]) == [0] * 4
