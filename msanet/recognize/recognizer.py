"""Recognizer: picture -> Recognition, without torch."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from io import BytesIO
from typing import Any, overload

import numpy as np

from msanet import images
from msanet.classifier import Classification, Classifier
from msanet.drawing.annotate import draw
from msanet.errors import InputError
from msanet.faces.aligner import Aligner
from msanet.faces.crops import corners, crop, place, to_crop
from msanet.faces.detector import Detections, Detector, FaceDetector
from msanet.faces.face import Face
from msanet.model import Metadata
from msanet.preprocessing import Preprocessing
from msanet.recognize import tables


@dataclass(frozen=True, eq=False)
class Found:
    """The faces found in a picture, the largest first, before their expressions are known.

    Attributes:
        boxes: float32 [N, 4], x1, y1, x2, y2 in pixels of `picture`, as the landmarks are.
        scores: float32 [N] in 0..1.
        landmarks: float32 [N, 5, 2].
        crops: RGB uint8 [S, S, 3], one for each face.
        picture: RGB uint8 [H, W, 3]; None where nobody asks for it: eight frames of a 4K video are 200 MB.
        source: the path, or what else the picture came from.
        size: width and height of the original, pixels; None: the picture's.
        reduction: how many times smaller than the original the picture is, see `images.read`.
    """

    boxes: np.ndarray
    scores: np.ndarray
    landmarks: np.ndarray
    crops: list[np.ndarray] = field(repr=False)
    picture: np.ndarray | None = field(default=None, repr=False)
    source: str = ""
    size: tuple[int, int] | None = None
    reduction: int = 1


@dataclass(frozen=True, eq=False)
class Recognition(Sequence[Face]):
    """The faces of one picture and their expressions: a sequence of `Face`, the largest first.

    Attributes:
        faces: the same faces as a tuple, in pixels of the original.
        picture: RGB uint8 [H, W, 3]; where the source was such an array, that array itself.
        source: the path, or what else the picture came from.
        expressions: names of the model's classes, in its order.
        size: width and height of the original, pixels; None: the picture's.
        reduction: how many times smaller than the original the picture is: 1, but for the largest JPEGs, see
            `images.read`.
    """

    faces: tuple[Face, ...]
    picture: np.ndarray = field(repr=False)
    source: str
    expressions: tuple[str, ...] = field(repr=False)
    size: tuple[int, int] | None = None
    reduction: int = 1

    def __len__(self) -> int:
        return len(self.faces)

    @overload
    def __getitem__(self, index: int) -> Face: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Face, ...]: ...
    def __getitem__(self, index: int | slice) -> Face | tuple[Face, ...]:
        return self.faces[index]

    def draw(self, bars: bool | None = None) -> np.ndarray:
        """The picture with its faces drawn on it and the reasons below it, RGB uint8; see `drawing.annotate.draw`."""
        return draw(self.picture, [_smaller(face, self.reduction) for face in self.faces], bars)

    def to_dict(self) -> dict[str, Any]:
        """For JSON: source, width and height in pixels, faces."""
        width, height = self.size or self.picture.shape[1::-1]
        faces = [face.to_dict() for face in self.faces]
        return {"source": self.source, "width": width, "height": height, "faces": faces}

    def to_pandas(self) -> Any:
        """A pandas DataFrame with a row per face; `recognize.tables.to_pandas` makes one of several recognitions.

        Raises:
            InputError: pandas is not installed.
        """
        return tables.to_pandas([self])

    def to_polars(self) -> Any:
        """A polars DataFrame with a row per face; `recognize.tables.to_polars` makes one of several recognitions.

        Raises:
            InputError: polars is not installed.
        """
        return tables.to_polars([self])

    def to_supervision(self) -> Any:
        """A `supervision.Detections`: the boxes, the detector's scores as `confidence`, the expressions as `class_id`
        (their place in `expressions`), their names as `data["class_name"]` and their probabilities as
        `data["probability"]`.

        Raises:
            InputError: supervision is not installed.
        """
        try:
            supervision = importlib.import_module("supervision")
        except ModuleNotFoundError as error:
            if error.name != "supervision":
                raise
            # in no extra: some of its versions bring the OpenCV with windows, which overwrites ours
            raise InputError("this needs supervision, which is not installed: run pip install supervision") from None
        names = [face.expression for face in self.faces]
        return supervision.Detections(
            xyxy=np.array([face.box for face in self.faces], np.float32).reshape(-1, 4),
            confidence=np.array([face.score for face in self.faces], np.float32),
            class_id=np.array([self.expressions.index(name) for name in names], np.int64),
            data={
                "class_name": np.array(names, np.str_),
                "probability": np.array([face.probabilities[face.expression] for face in self.faces], np.float32),
            },
        )

    def _repr_png_(self) -> bytes:
        """How a notebook shows it."""
        from PIL import Image

        file = BytesIO()
        Image.fromarray(self.draw()).save(file, "PNG")
        return file.getvalue()


class Recognizer:
    """Finds the faces of pictures and names their expressions. Several threads may use one at once.

    Args:
        model: name of a shipped model, or path of an ONNX file that `msanet export` wrote.
        detector: finds the faces: picture, RGB uint8 [H, W, 3] -> boxes [N, 4] (x1, y1, x2, y2), scores [N],
            landmarks [N, 5, 2] (right eye, left eye, nose, right and left corner of the mouth), in pixels;
            None: `FaceDetector()`.
        threads: processor threads of one run; None: as many as there are processors, eight at most, and one for a
            network as small as `fast`.
        providers: onnxruntime's execution providers in order of preference; None: the processor.

    Attributes:
        metadata: what the model's file says about it: name, network, scores and more.
        expressions: names of the classes, in the order of `classify`'s columns.
        preprocessing: what happens to a crop on its way into the network.
        classifier: the model by itself.

    Raises:
        InputError: the model is missing or cannot be used, or an argument is wrong.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] = "accurate",
        detector: Detector | None = None,
        threads: int | None = None,
        providers: Sequence[str] | None = None,
    ) -> None:
        if detector is not None and not callable(detector):
            raise InputError(f"the detector is {type(detector).__name__}: give a function, {_DETECTOR}")
        self.classifier = Classifier(model, threads, providers)
        self.detector: Detector = FaceDetector(threads=threads) if detector is None else detector

    @overload
    def recognize(  # type: ignore[overload-overlap]  # str and bytes are sequences too, but match here first
        self, source: images.Source, explain: bool = False
    ) -> Recognition: ...
    @overload
    def recognize(self, source: Sequence[images.Source], explain: bool = False) -> list[Recognition]: ...
    def recognize(
        self, source: images.Source | Sequence[images.Source], explain: bool = False
    ) -> Recognition | list[Recognition]:
        """Find the faces of a picture and name their expressions.

        Args:
            source: a path, the bytes of a file, a file object, a PIL image or RGB uint8 [H, W, 3], and what else
                `images.read` takes; or a list of such.
            explain: give each face its evidence and attention maps too, out of the same pass through the network.

        Returns:
            A `Recognition`; for a list a list of them. The faces of all pictures go through the network together;
            `msanet.recognize.batch.recognize_many` is for more pictures than memory holds.

        Raises:
            InputError: a picture cannot be read, or the model gives no evidence.
        """
        if isinstance(source, (list, tuple)):
            return self.classify_found([self.find(item) for item in source], explain)
        return self.classify_found([self.find(source)], explain)[0]  # type: ignore[arg-type]

    def find(self, source: images.Source) -> Found:
        """The first half of `recognize`: read a picture and find its faces.

        Raises:
            InputError: the picture cannot be read.
        """
        picture, width, height, reduction = images.read_picture(source)
        boxes, scores, landmarks = self._detect(picture, reduction)
        framing = self.preprocessing.framing
        crops = [crop(picture, box, points, framing) for box, points in zip(boxes, landmarks, strict=True)]
        return Found(boxes, scores, landmarks, crops, picture, images.name_of(source), (width, height), reduction)

    @property
    def metadata(self) -> Metadata:
        return self.classifier.metadata

    @property
    def expressions(self) -> tuple[str, ...]:
        return self.classifier.expressions

    @property
    def preprocessing(self) -> Preprocessing:
        return self.classifier.preprocessing

    def classify_found(self, found: Sequence[Found], explain: bool = False) -> list[Recognition]:
        """The second half of `recognize`: the expressions of all faces of some pictures in one batch.

        Args:
            found: what `find` gave, each with its picture.
            explain: see `recognize`.

        Raises:
            InputError: the model gives no evidence.
        """
        faces = self.faces_of(found, explain)
        pairs = zip(found, faces, strict=True)
        return [
            Recognition(own, _picture(item), item.source, self.expressions, item.size, item.reduction)
            for item, own in pairs
        ]

    def faces_of(self, found: Sequence[Found], explain: bool = False) -> list[tuple[Face, ...]]:
        """As `classify_found`, the faces alone; `found` may be without their pictures."""
        crops = [face for item in found for face in item.crops]
        wanted = "landmarks" in self.metadata.inputs and found
        points = np.concatenate([self._points(item) for item in found]) if wanted else None
        if explain:
            classification = self.classifier.explain(crops, points)
        else:
            nothing = np.empty((len(crops), 0), np.float32)
            classification = Classification(self.classifier.classify(crops, points), nothing, nothing)
        rows = zip(*classification, strict=True)
        return [tuple(self._face(item, index, *next(rows)) for index in range(len(item.crops))) for item in found]

    def classify(self, crops: Iterable[images.Source], align: bool = True) -> np.ndarray:
        """Faces that are cut out already -> their probabilities.

        Args:
            crops: anything that `images.read` takes, of any sizes, in a list or another iterable; or an array
                [N, H, W, 3].
            align: if the model's `preprocessing.align` says so, cut each anew first, by the face found in it, as
                evaluation on data sets does; about 40 ms a crop. Crops that are cut as `recognize` cuts them do not
                need it: align=False.

        Returns:
            float32 [N, C], as `expressions` names them.

        Raises:
            InputError: a crop cannot be read.
        """
        return self.classifier.classify(self._crops(crops, align))

    def embed(self, crops: Iterable[images.Source], align: bool = True) -> np.ndarray:
        """Crops of faces, as `classify` takes them -> pooled features, float32 [N, D].

        Raises:
            InputError: a crop cannot be read.
        """
        return self.classifier.embed(self._crops(crops, align))

    def explain(self, crops: Iterable[images.Source], align: bool = True) -> Classification:
        """Crops of faces, as `classify` takes them -> their probabilities and what led to them.

        The maps lie over the crops as the network saw them: cut anew where `align` says so.

        Raises:
            InputError: a crop cannot be read, or the model gives no evidence.
        """
        return self.classifier.explain(self._crops(crops, align))

    def _crops(self, crops: Iterable[images.Source], align: bool) -> list[np.ndarray]:
        """RGB uint8 [H, W, 3] each."""
        one = isinstance(crops, np.ndarray) and crops.ndim != 4
        if one or isinstance(crops, (str, bytes, bytearray, memoryview)) or not isinstance(crops, Iterable):
            what = f"array {list(crops.shape)}" if isinstance(crops, np.ndarray) else type(crops).__name__
            raise InputError(f"the crops are one {what}: give a list of crops, such as [crop]")
        if hasattr(crops, "read"):  # a file object, which would give its lines
            raise InputError("the crops are one file object: give a list of crops, such as [crop]")
        pictures = []
        for number, source in enumerate(crops, 1):
            try:
                picture = images.read(source)
            except InputError as error:
                raise InputError(f"crop {number}: {error}") from None
            pictures.append(self._aligner.align(picture) if align and self.preprocessing.align else picture)
        return pictures

    @cached_property
    def _aligner(self) -> Aligner:
        return Aligner(self.preprocessing.framing)  # a detector of its own, which photographs do not need

    def _points(self, found: Found) -> np.ndarray:
        """The landmarks in the network's inputs, float32 [N, 5, 2]."""
        points = np.empty((len(found.crops), 5, 2), np.float32)
        for index, landmarks in enumerate(found.landmarks):
            placement = place(found.boxes[index], landmarks, self.preprocessing.framing)
            points[index] = self.preprocessing.to_input(to_crop(placement, landmarks))
        return points

    def _face(
        self, found: Found, index: int, probabilities: np.ndarray, evidence: np.ndarray, attention: np.ndarray
    ) -> Face:
        """The face of that index, with its row of an `Classification`."""
        x1, y1, x2, y2 = (found.boxes[index] * found.reduction).tolist()
        placement = place(found.boxes[index], found.landmarks[index], self.preprocessing.framing)
        inner = self.preprocessing.size / (self.preprocessing.resize or self.preprocessing.size)
        return Face(
            box=(x1, y1, x2, y2),
            score=float(found.scores[index]),
            landmarks=found.landmarks[index] * found.reduction,
            expression=self.expressions[int(probabilities.argmax())],
            probabilities=dict(zip(self.expressions, probabilities.tolist(), strict=True)),
            corners=corners(placement, inner) * found.reduction,
            evidence=dict(zip(self.expressions, evidence, strict=True)) if len(evidence) else None,
            attention=attention if len(attention) else None,
        )

    def _detect(self, picture: np.ndarray, reduction: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The detector's faces, the largest first, checked: it may be the user's own."""
        if isinstance(self.detector, FaceDetector):
            boxes, scores, landmarks = self.detector(picture, reduction)
        else:
            boxes, scores, landmarks = _checked(self.detector(picture))
        order = np.argsort(-(boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]), kind="stable")
        return boxes[order], scores[order], landmarks[order]


_DETECTOR = "picture -> boxes [N, 4] (x1, y1, x2, y2), scores [N], landmarks [N, 5, 2], in pixels"


def _checked(found: Any) -> Detections:
    """What a user's own detector gave, float32 [N, 4], [N], [N, 5, 2].

    Raises:
        InputError: it is something else, and the commonest something else is x, y, width, height.
    """
    try:
        boxes, scores, landmarks = (np.asarray(part, np.float32) for part in found)
    except (TypeError, ValueError):
        raise InputError(f"the detector gave {type(found).__name__} of other things: it must be {_DETECTOR}") from None
    if not scores.size and not boxes.size and not landmarks.size:
        return np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty((0, 5, 2), np.float32)
    number = scores.size
    if boxes.shape != (number, 4) or scores.shape not in ((number,), (number, 1)) or landmarks.size != number * 10:
        raise InputError(
            f"the detector gave boxes {list(boxes.shape)}, scores {list(scores.shape)} and landmarks "
            f"{list(landmarks.shape)}: it must give [N, 4], [N] and [N, 5, 2]"
        )
    scores, landmarks = scores.reshape(number), landmarks.reshape(number, 5, 2)
    if not all(np.isfinite(part).all() for part in (boxes, scores, landmarks)):
        raise InputError(f"the detector gave NaN or infinite numbers: it must be {_DETECTOR}")
    sides = boxes[:, 2:] - boxes[:, :2]
    middles = landmarks.mean(axis=1)
    outside = (middles < boxes[:, :2] - 0.1 * sides) | (middles > boxes[:, 2:] + 0.1 * sides)
    if (wrong := ((sides < 1) | outside).any(axis=1)).any():
        box = ", ".join(f"{value:g}" for value in boxes[wrong][0])
        raise InputError(
            f"the detector gave the box {box}, in which its landmarks are not: it must give corners x1, y1, x2, y2 in "
            "pixels, not x, y, width, height"
        )
    return boxes, scores, landmarks


def _smaller(face: Face, reduction: int) -> Face:
    """A face as it lies in a picture that is so many times smaller."""
    if reduction == 1:
        return face
    x1, y1, x2, y2 = (value / reduction for value in face.box)
    return replace(face, box=(x1, y1, x2, y2), landmarks=face.landmarks / reduction, corners=face.corners / reduction)


def _picture(found: Found) -> np.ndarray:
    assert found.picture is not None, "a recognition shows its picture"
    return found.picture
