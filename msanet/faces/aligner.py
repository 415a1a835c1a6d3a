"""Finds the face in a data set's crop, so that it is cut as recognition cuts it."""

from __future__ import annotations

import numpy as np

from msanet.faces.crops import LEAST, cut, place
from msanet.faces.detector import FaceDetector
from msanet.preprocessing import Framing

ALIGNED = 288
"""Long side, pixels, of a data set's crop and its margins in which `Aligner` looks for the face."""

MARGINS = (0.0, 0.25, 0.5)
"""Widths of these margins, in parts of the crop's longer side."""

REDUCED = 1024
"""Long side, pixels, to which larger crops are reduced before anything else."""


class Aligner:
    """Finds the face in a data set's crop and says where recognition would cut it.

    Such crops are cut tightly and each data set in its own way; the detector wants surroundings. So the crop's border
    pixels are repeated round it, as wide as each of `MARGINS` says, and it is looked at `ALIGNED` pixels large. What
    these looks find is averaged: each errs a little, and not alike.

    Args:
        framing: how recognition cuts.
    """

    def __init__(self, framing: Framing) -> None:
        self.framing, self.detector = framing, FaceDetector(threads=1, certainty=None)

    def __call__(self, crop: np.ndarray) -> np.ndarray | None:
        """Crop RGB uint8 [H, W, 3] -> placement float64 [2, 3] of its most central face; None: no face is found."""
        found = self.find(crop)
        return None if found is None else place(found[:2].reshape(4), found[2:], self.framing)

    def find(self, crop: np.ndarray) -> np.ndarray | None:
        """Crop RGB uint8 [H, W, 3] -> ends of the box and landmarks of its most central face, float64 [7, 2] in pixels.

        None: no face is found.
        """
        if (longest := max(crop.shape[:2])) > REDUCED:  # else the margins of a long strip would fill the memory
            import cv2

            smaller = [max(round(side * REDUCED / longest), 1) for side in crop.shape[1::-1]]
            found = self.find(cv2.resize(crop, smaller, interpolation=cv2.INTER_AREA))
            return None if found is None else found * crop.shape[1::-1] / smaller
        looks = [look for margin in MARGINS if (look := self._look(crop, margin)) is not None]
        return np.asarray(np.mean(looks, axis=0)) if looks else None

    def _look(self, crop: np.ndarray, part: float) -> np.ndarray | None:
        """Ends of the box and landmarks, [7, 2] in the crop's pixels, seen with a margin of a part of its long side."""
        import cv2

        margin = round(max(crop.shape[:2]) * part)
        padded = cv2.copyMakeBorder(crop, margin, margin, margin, margin, cv2.BORDER_REPLICATE)
        factor = ALIGNED / max(padded.shape[:2])
        size = (max(round(padded.shape[1] * factor), 1), max(round(padded.shape[0] * factor), 1))
        large = cv2.resize(padded, size, interpolation=cv2.INTER_CUBIC if factor > 1 else cv2.INTER_AREA)
        boxes, _, landmarks = self.detector(large)
        if not len(boxes):
            return None
        nearest = int(np.abs(boxes[:, :2] + boxes[:, 2:] - size).sum(axis=1).argmin())
        found = np.concatenate([boxes[nearest].reshape(2, 2), landmarks[nearest]])
        return np.asarray(found * padded.shape[1::-1] / size - margin)

    def align(self, crop: np.ndarray) -> np.ndarray:
        """Crop RGB uint8 [H, W, 3] -> the same cut anew, RGB uint8 [S, S, 3]; as it is where no face is found."""
        placement = self(crop)
        return crop if placement is None else cut(crop, placement, LEAST)
