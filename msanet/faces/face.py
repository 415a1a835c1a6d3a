"""What is known of one face."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True, eq=False)
class Face:
    """A face in a picture and its expression.

    Attributes:
        box: x1, y1, x2, y2 in the picture's pixels; may reach past the picture's edges.
        score: how sure the detector is, 0..1.
        landmarks: float32 [5, 2], pixels: the person's right eye (left in the picture), left eye, nose, right and
            left corner of the mouth.
        expression: the most probable one.
        probabilities: name of each expression -> probability; they sum to 1.
        corners: float32 [4, 2], pixels: the square that the network saw, from its upper left corner clockwise as
            the upright face has them.
        evidence: name of each expression -> float32 [h, w], how much each part of that square speaks for it, in
            logits (their mean is the expression's logit); None where it was not asked for.
        attention: float32 [B, h, w] in 0..1, how much each of the network's B branches lets pass at each part of that
            square; None where it was not asked for, or the network has no attention.
        track: number of the person in a video, 1, 2, ... in the order of appearance; None in a picture.
    """

    box: tuple[float, float, float, float]
    score: float
    landmarks: np.ndarray
    expression: str
    probabilities: dict[str, float]
    corners: np.ndarray
    evidence: dict[str, np.ndarray] | None = field(default=None, repr=False)
    attention: np.ndarray | None = field(default=None, repr=False)
    track: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """For JSON: pixels with one decimal, the rest with four; evidence and attention only where there is some."""
        values: dict[str, Any] = {
            "box": [round(value, 1) for value in self.box],
            "score": round(self.score, 4),
            "landmarks": [[round(float(x), 1), round(float(y), 1)] for x, y in self.landmarks],
            "expression": self.expression,
            "probabilities": {name: round(value, 4) for name, value in self.probabilities.items()},
        }
        if self.evidence is not None:
            values["corners"] = [[round(float(x), 1), round(float(y), 1)] for x, y in self.corners]
            values["evidence"] = {name: _rounded(map_) for name, map_ in self.evidence.items()}
        if self.attention is not None:
            values["attention"] = _rounded(self.attention)
        if self.track is not None:
            values["track"] = self.track
        return values


def _rounded(values: np.ndarray) -> Any:
    """An array as lists of numbers with four decimals."""
    return values.astype(np.float64).round(4).tolist()
