"""People followed through the frames of a video: which face is whose, and expressions smoothed along a track."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from msanet.errors import InputError
from msanet.faces.detector import Detections, FaceDetector
from msanet.faces.face import Face
from msanet.video.cuts import Scenes
from msanet.video.frames import Frame

PATIENCE = 1.0
"""Seconds that a face may be out of sight and still keep its number."""

SETTLING = 0.08
"""Time constant, seconds, of the exponential mean of a face's velocity."""

LOOK_EVERY = 0.2
"""Seconds between two second looks at a face. A look takes longer than finding all faces; heads turn slowly."""


@dataclass(eq=False)
class Track:
    """A face followed through time.

    Attributes:
        box: float [4], pixels, where the detector saw it last.
        time: when that was, seconds.
        velocity: float [2], pixels a second, of the box's centre.
        number: 1, 2, ... in the order of appearance; 0 while no second look has said that it is a face.
        looked: time of the last second look.
        points: float [7, 2], what that look saw: the box's ends and the five landmarks, from the centre of the
            detector's box in units of its side.
    """

    box: np.ndarray
    time: float
    velocity: np.ndarray = field(default_factory=lambda: np.zeros(2))
    number: int = 0
    looked: float = -math.inf
    points: np.ndarray = field(default_factory=lambda: np.zeros((7, 2)))

    def move(self, box: np.ndarray, time: float) -> None:
        """The detector sees it here now."""
        elapsed = max(time - self.time, 1e-3)
        shift = (_center(box) - _center(self.box)) / elapsed
        # the shorter the time, the more of the shift is the detector's noise
        self.velocity = self.velocity + (1 - math.exp(-elapsed / SETTLING)) * (shift - self.velocity)
        self.box, self.time = box, time


class Tracker:
    """Gives each box of a frame the track of the face it belongs to.

    Boxes and tracks are paired greedily, the nearest first, by the distance between the box and where the track should
    be by now (constant velocity), in units of the face's side, plus how much their sizes differ.

    Ours, because no library serves: trackers and motrackers require the OpenCV build with windows; norfair (BSD) brings
    scipy and filterpy, which is not maintained, and pins rich below what this package uses; the packaged ByteTracks
    have seen no release since 2024. For a few faces at the full frame rate a Kalman filter would add little.
    """

    def __init__(self) -> None:
        self.tracks: list[Track] = []
        self._time = -math.inf

    def match(self, boxes: np.ndarray, time: float) -> list[Track | None]:
        """The track of each box, float [N, 4] in pixels; None: a face not seen before. Changes nothing."""
        pairs = []
        for row, box in enumerate(boxes):
            for track in self.tracks:
                elapsed = time - track.time
                # after half a second nobody knows whether a person walks on
                expected = _center(track.box) + track.velocity * min(elapsed, 0.5)
                distance = float(np.linalg.norm(_center(box) - expected)) / _side(track.box)
                cost = distance + abs(math.log(_side(box) / _side(track.box)))
                if cost < 1 + elapsed:
                    pairs.append((cost + elapsed / 2, row, track))
        matched: list[Track | None] = [None] * len(boxes)
        for _, row, track in sorted(pairs, key=lambda pair: pair[0]):
            if matched[row] is None and not any(track is other for other in matched):
                matched[row] = track
        return matched

    def lost(self, matched: Sequence[Track | None]) -> bool:
        """Whether a face seen in the frame before is in none of the matched boxes."""
        return any(track.number and track.time == self._time and track not in matched for track in self.tracks)

    def update(self, boxes: np.ndarray, matched: Sequence[Track | None], time: float) -> list[Track]:
        """Move the matched tracks, begin new ones for the rest, and forget those out of sight for too long."""
        present = []
        for box, track in zip(boxes, matched, strict=True):
            if track is None:
                track = Track(box, time)
                self.tracks.append(track)
            else:
                track.move(box, time)
            present.append(track)
        self.tracks = [track for track in self.tracks if time - track.time <= PATIENCE]
        self._time = time
        return present


@dataclass(frozen=True, eq=False)
class Sighting:
    """The faces of one frame, the largest first.

    Attributes:
        boxes: float32 [N, 4], x1, y1, x2, y2 in pixels.
        scores: float32 [N] in 0..1.
        landmarks: float32 [N, 5, 2], pixels.
        numbers: the track of each.
    """

    boxes: np.ndarray
    scores: np.ndarray
    landmarks: np.ndarray
    numbers: list[int]


@dataclass(frozen=True)
class Following:
    """How people are followed.

    Args:
        size: long side, pixels, to which frames are reduced for the detector.
        finer_every: every so many frames are searched at twice that; 0: only to find a lost face again.
        threshold: lowest score of a face, 0..1.
        smoothing: time constant, seconds, of the exponential mean of a person's probabilities: a change of face is
            followed to 63 % after so long. 0: none.

    Raises:
        InputError: a value is out of its range.
    """

    size: int = 320
    finer_every: int = 30
    threshold: float = 0.6
    smoothing: float = 0.3

    def __post_init__(self) -> None:
        if not 64 <= self.size <= 4096:
            raise InputError(f"the detector's size is {self.size}: choose 64 to 4096 pixels, 320 for videos")
        if self.finer_every < 0:
            raise InputError(f"the detector cannot look closer every {self.finer_every} frames: choose 0 or more")
        if not 0 <= self.smoothing < math.inf:
            raise InputError(f"smoothing is {self.smoothing} seconds: choose 0 or more")


class Follower:
    """Finds the faces of frame after frame of one video and says which is whose.

    Every frame is searched, reduced to `size` pixels; every `finer_every`-th, and one in which a face was lost, at
    twice that. Landmarks of small faces hardly turn with the face (see `FaceDetector`), so a face is looked at a second
    time, large and level, when it appears and every `LOOK_EVERY` seconds; in between, its landmarks move with its box.
    A cut (see `Scenes`) makes everybody a new person.

    Args:
        following: how.
        threads: processor threads of the detector; None: as many as there are processors.

    Raises:
        InputError: the threshold or `threads` is out of its range.
    """

    def __init__(self, following: Following, threads: int | None = None) -> None:
        self._detector = FaceDetector(2 * following.size, following.threshold, threads, refine=False, turns=False)
        self._size = following.size
        self._finer_every = following.finer_every
        self._scenes = Scenes()
        self._scene = 0
        self._tracker = Tracker()
        self._left = Tracker()  # of the scene before, which may come back
        self._numbers = 0
        self._frames = 0

    def __call__(self, frame: Frame) -> Sighting:
        """Find the faces of a frame, which is later than the one before."""
        finer = bool(self._finer_every) and self._frames % self._finer_every == 0
        self._frames += 1
        small = frame.reduced(2 * self._size if finer else self._size)
        scene = self._scenes(small, frame.time)
        if scene != self._scene:
            known = self._left if scene < self._scene else Tracker()
            self._left, self._tracker, self._scene = self._tracker, known, scene
        boxes, scores, landmarks = self._detect(frame, small)
        matched = self._tracker.match(boxes, frame.time)
        if not finer and self._tracker.lost(matched):
            boxes, scores, landmarks = self._detect(frame, frame.reduced(2 * self._size))
            matched = self._tracker.match(boxes, frame.time)
        present = self._tracker.update(boxes, matched, frame.time)
        self._look(frame, present, boxes, landmarks)
        order = [row for row in np.argsort([-_side(box) for box in boxes]) if present[row].number]
        seen = np.array([_place(present[row].points, boxes[row]) for row in order], np.float32).reshape(-1, 7, 2)
        return Sighting(seen[:, :2].reshape(-1, 4), scores[order], seen[:, 2:], [present[row].number for row in order])

    def _detect(self, frame: Frame, small: np.ndarray) -> Detections:
        """What the detector finds in the reduced frame, in pixels of the frame."""
        boxes, scores, landmarks = self._detector(small)
        factor = frame.longest / max(small.shape[:2])
        return boxes * factor, scores, landmarks * factor

    def _look(self, frame: Frame, tracks: Sequence[Track], boxes: np.ndarray, landmarks: np.ndarray) -> None:
        """Look again at the faces whose last look was long ago; what is no face gets no number."""
        due = [row for row, track in enumerate(tracks) if frame.time - track.looked >= LOOK_EVERY]
        picture = frame.picture() if due else None
        for row in due:
            assert picture is not None
            track, box = tracks[row], boxes[row]
            track.looked = frame.time
            seen = self._detector.look_again(picture, box, landmarks[row])
            if seen is None:  # no face; or one known as such, in a bad moment
                continue
            track.points = (np.concatenate([seen[0].reshape(2, 2), seen[1]]) - _center(box)) / _side(box)
            if not track.number:
                self._numbers += 1
                track.number = self._numbers


class Smoother:
    """Smooths each person's probabilities along the track; see `Following.smoothing`."""

    def __init__(self, following: Following) -> None:
        self._seconds = following.smoothing
        self._last: dict[int, tuple[float, dict[str, float]]] = {}

    def __call__(self, faces: Sequence[Face], numbers: Sequence[int], time: float) -> tuple[Face, ...]:
        """The faces of a frame with their track's number and smoothed probabilities."""
        smoothed = []
        for face, number in zip(faces, numbers, strict=True):
            probabilities = face.probabilities
            if number in self._last and self._seconds:
                before, known = self._last[number]
                weight = 1 - math.exp(-(time - before) / self._seconds)
                probabilities = {
                    name: known[name] + weight * (value - known[name]) for name, value in probabilities.items()
                }
            self._last[number] = time, probabilities
            expression = max(probabilities, key=probabilities.__getitem__)
            smoothed.append(replace(face, track=number, probabilities=probabilities, expression=expression))
        self._last = {number: last for number, last in self._last.items() if time - last[0] <= PATIENCE}
        return tuple(smoothed)


def _center(box: np.ndarray) -> np.ndarray:
    return (box[:2] + box[2:]) / 2


def _side(box: np.ndarray) -> float:
    """Geometric mean of a box's sides."""
    return math.sqrt(max(float(np.prod(box[2:] - box[:2])), 1e-12))


def _place(points: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Points from a box's centre in units of its side, as pixels."""
    return _center(box) + _side(box) * points
