"""Where a crop of a face lies in its picture, and how it is cut out."""

from __future__ import annotations

import math

import numpy as np

from msanet.preprocessing import Framing

LEAST = 96
"""Least side, pixels, of an aligned crop: enlarged once more for the network, a smaller one would be blurred twice."""

MAX_CROP = 512
"""Longest side of a crop, pixels: more detail than any network here reads."""


def place(box: np.ndarray, landmarks: np.ndarray, framing: Framing) -> np.ndarray:
    """Where a crop lies: the map from picture to crop, whose sides are 0..1.

    Args:
        box: [4], x1, y1, x2, y2 in pixels.
        landmarks: [5, 2], pixels.
        framing: how the crop is cut.

    Returns:
        float64 [2, 3], for points (x, y, 1) in pixels of the picture.
    """
    box, landmarks = np.asarray(box, np.float64), np.asarray(landmarks, np.float64)
    if framing.template is not None:
        return _similarity(landmarks, np.asarray(framing.template))
    side = framing.scale * math.sqrt(max(box[2] - box[0], 1.0) * max(box[3] - box[1], 1.0))
    along = landmarks[1] - landmarks[0] if framing.level else np.array([1.0, 0.0])
    angle = math.atan2(along[1], along[0])
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]]) / side
    return np.column_stack([turn, 0.5 - turn @ ((box[:2] + box[2:]) / 2)])


def crop(picture: np.ndarray, box: np.ndarray, landmarks: np.ndarray, framing: Framing) -> np.ndarray:
    """Cut a face out of its picture, with the detail that is there.

    Args:
        picture: RGB uint8 [H, W, 3].
        box: [4], x1, y1, x2, y2 in pixels.
        landmarks: [5, 2], pixels.
        framing: how the crop is cut.

    Returns:
        RGB uint8 [S, S, 3]; S is the crop's side in the picture, at most `MAX_CROP`. Beyond the picture's edges its
        border pixels are repeated.
    """
    return cut(picture, place(box, landmarks, framing))


def cut(picture: np.ndarray, placement: np.ndarray, least: int = 1) -> np.ndarray:
    """Cut the crop that lies at a placement out of its picture, as `crop` does.

    Args:
        picture: RGB uint8 [H, W, 3].
        placement: float64 [2, 3], see `place`.
        least: S is at least this, pixels, but at most twice the picture's longer side.

    Returns:
        RGB uint8 [S, S, 3].
    """
    import cv2

    native = 1 / math.sqrt(abs(np.linalg.det(placement[:, :2])))
    side = round(min(max(native, least), 2 * max(picture.shape[:2])))
    matrix = placement * side
    # OpenCV's coordinates are those of pixel centres, ours those of pixel edges
    matrix[:, 2] += matrix[:, :2] @ [0.5, 0.5] - 0.5
    # small crops keep their sharpness; large ones have more than is used, and cubic takes four times as long
    smooth = cv2.INTER_CUBIC if side <= 128 else cv2.INTER_LINEAR
    square = cv2.warpAffine(picture, matrix, (side, side), flags=smooth, borderMode=cv2.BORDER_REPLICATE)
    return cv2.resize(square, (MAX_CROP, MAX_CROP), interpolation=cv2.INTER_AREA) if side > MAX_CROP else square


def corners(placement: np.ndarray, inner: float = 1.0) -> np.ndarray:
    """Corners of a crop in the picture, from the upper left one clockwise.

    Args:
        placement: [2, 3] as `place` gives it.
        inner: side of the centre square meant, relative to the crop's.

    Returns:
        float32 [4, 2], pixels.
    """
    square = 0.5 + inner * (np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) - 0.5)
    return to_picture(placement, square).astype(np.float32)


def to_crop(placement: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points [..., 2] of the picture, pixels, in the crop, whose sides are 0..1."""
    return np.asarray(points @ placement[:, :2].T + placement[:, 2])


def to_picture(placement: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points [..., 2] of a crop whose sides are 0..1, in pixels of the picture."""
    return (points - placement[:, 2]) @ np.linalg.inv(placement[:, :2]).T


def _similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The turn, scale and shift that bring points [N, 2] nearest to others (Umeyama 1991), as float64 [2, 3]."""
    source_center, target_center = source.mean(axis=0), target.mean(axis=0)
    spread = source - source_center
    u, singular, vt = np.linalg.svd((target - target_center).T @ spread)
    signs = np.array([1.0, np.sign(np.linalg.det(u @ vt)) or 1.0])  # no mirroring
    scale = max(float(singular @ signs), 1e-9) / max(float((spread**2).sum()), 1e-9)
    turn = scale * (u * signs) @ vt
    return np.column_stack([turn, target_center - turn @ source_center])
