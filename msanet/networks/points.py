"""The 24 points of gACNN round brows, eyes, nose and mouth, found from five landmarks. Letters: B batch."""

from __future__ import annotations

import torch
from torch import Tensor

# Base, and the way from it in parts of the eyes' distance: along the line from the left eye of the picture to the
# right one, and across it, downwards. Bases: L R eyes, C their middle, N two thirds from C to the nose, l r corners of
# the mouth, U their middle.
TABLE = (
    ("L", -0.20, -0.42),  # 1 to 4: over the brows
    ("L", 0.32, -0.40),
    ("R", -0.32, -0.40),
    ("R", 0.20, -0.42),
    ("L", 0.10, -0.08),  # 5 to 8: eyelids and outer corners
    ("L", -0.17, -0.03),
    ("R", -0.10, -0.08),
    ("R", 0.17, -0.03),
    ("C", 0.00, 0.00),  # 9, 10: bridge of the nose
    ("N", 0.00, 0.00),
    ("l", 0.00, 0.00),  # 11 to 16: mouth
    ("U", -0.11, -0.11),
    ("U", 0.11, -0.11),
    ("r", 0.00, 0.00),
    ("U", -0.11, 0.18),
    ("U", 0.11, 0.18),
    ("L", 0.00, -0.25),  # 17, 18: brows over the eyes
    ("R", 0.00, -0.25),
    ("L", 0.00, 0.04),  # 19, 20: eyes
    ("R", 0.00, 0.04),
    ("L", -0.03, 0.47),  # 21, 22: cheeks
    ("R", 0.03, 0.47),
    ("l", -0.17, -0.14),  # 23, 24: beside the mouth
    ("r", 0.17, -0.14),
)
BASES = {
    "L": (1, 0, 0, 0, 0),
    "R": (0, 1, 0, 0, 0),
    "C": (1 / 2, 1 / 2, 0, 0, 0),
    "N": (1 / 6, 1 / 6, 2 / 3, 0, 0),
    "l": (0, 0, 0, 1, 0),
    "r": (0, 0, 0, 0, 1),
    "U": (0, 0, 0, 1 / 2, 1 / 2),
}
"""Shares of the five landmarks."""

NUM_POINTS = len(TABLE)


def points_of(landmarks: Tensor) -> Tensor:
    """Landmarks [B, 5, 2] in `Face`'s order -> 24 points [B, 24, 2], x and y, in the same unit.

    The order is gACNN's. The table is a reading: it was measured on one published example of 68 landmarks, where our
    faces have five.
    """
    landmarks = landmarks.float()
    shares = landmarks.new_tensor([BASES[base] for base, _, _ in TABLE])  # [24, 5]
    ways = landmarks.new_tensor([way for _, *way in TABLE])  # [24, 2]
    along = landmarks[:, 1] - landmarks[:, 0]  # [B, 2], as long as the eyes are apart
    across = torch.stack([-along[:, 1], along[:, 0]], dim=1)
    return torch.matmul(shares, landmarks) + torch.matmul(ways, torch.stack([along, across], dim=1))
