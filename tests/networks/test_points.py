"""The 24 points, from five landmarks."""

from __future__ import annotations

import numpy as np
import torch

from msanet.networks.points import points_of
from msanet.preprocessing import MEAN_LANDMARKS, mirror_landmarks

# Where each point stands in the mirror image of a face.
MIRRORED = [4, 3, 2, 1, 7, 8, 5, 6, 9, 10, 14, 13, 12, 11, 16, 15, 18, 17, 20, 19, 22, 21, 24, 23]


def test_points_turn_with_the_face_and_are_mirrored_with_it():
    generator = np.random.default_rng(0)
    landmarks = MEAN_LANDMARKS + 0.05 * generator.standard_normal((5, 2)).astype(np.float32)
    points = points_of(torch.from_numpy(landmarks)[None])[0].numpy()
    mirrored = points_of(torch.from_numpy(mirror_landmarks(landmarks).astype(np.float32))[None])[0].numpy()
    expected = points[np.array(MIRRORED) - 1] * [-1, 1] + [1, 0]
    np.testing.assert_allclose(mirrored, expected, atol=1e-5)
    angle = 0.4
    turn = 1.3 * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]], np.float32)
    turned = points_of(torch.from_numpy(landmarks @ turn.T + 0.1).float()[None])[0].numpy()
    np.testing.assert_allclose(turned, points @ turn.T + 0.1, atol=1e-5)


def test_points_of_the_mean_face_are_in_the_face_and_in_order():
    points = points_of(torch.from_numpy(MEAN_LANDMARKS)[None])[0]
    assert ((points > 0.1) & (points < 0.9)).all()
    brows, eyes, nose, mouth = points[:4, 1], points[18:20, 1], points[9, 1], points[10:16, 1]
    assert brows.max() < eyes.min() < nose < mouth.min()
    assert (points[:4, 0].diff() > 0).all()  # from left to right
