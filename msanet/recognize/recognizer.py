"""Recognizer: picture -> Recognition, without torch."""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
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
from msanet.faces.detector import Detector, FaceDetector
from msanet.faces.face import Face
from msanet.model import Metadata
from msanet.preprocessing import Preprocessing
from msanet.recognize import tables


@dataclass(frozen=True, eq=False)
class Found:
    """The faces found in a picture, the largest first, before their expressions are known.

    Attributes:
        boxes: float32 [N, 4], x1, y1, x2, y2 in pixels.
        scores: float32 [N] in 0..1.
        landmarks: float32 [N, 5, 2], pixels.
        crops: RGB uint8 [S, S, 3], one for each face.
        picture: RGB uint8 [H, W, 3]; None where nobody asks for it: eight frames of a 4K video are 200 MB.
        source: the path, or what else the picture came from.
    """

    boxes: np.ndarray
    scores: np.ndarray
    landmarks: np.ndarray
    crops: list[np.ndarray] = field(repr=False)
    picture: np.ndarray | None = field(default=None, repr=False)
    source: str = ""


@dataclass(frozen=True, eq=False)
class Recognition(Sequence[Face]):
    """The faces of one picture and their expressions: a sequence of `Face`, the largest first.

    Attributes:
        faces: the same faces as a tuple.
        picture: RGB uint8 [H, W, 3]; where the source was such an array, that array itself.
        source: the path, or what else the picture came from.
        expressions: names of the model's classes, in its order.
    """

    faces: tuple[Face, ...]
    picture: np.ndarray = field(repr=False)
    source: str
    expressions: tuple[str, ...] = field(repr=False)

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
        return draw(self.picture, self.faces, bars)

    def to_dict(self) -> dict[str, Any]:
        """For JSON: source, width and height in pixels, faces."""
        height, width = self.picture.shape[:2]
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
            source: a path, the bytes of a file, a PIL image or RGB uint8 [H, W, 3]; or a list of such.
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
        picture = images.read(source)
        boxes, scores, landmarks = self._detect(picture)
        framing = self.preprocessing.framing
        crops = [crop(picture, box, points, framing) for box, points in zip(boxes, landmarks, strict=True)]
        return Found(boxes, scores, landmarks, crops, picture, images.name_of(source))

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
        return [Recognition(own, _picture(item), item.source, self.expressions) for item, own in pairs]

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

    def classify(self, crops: Sequence[np.ndarray], align: bool = False) -> np.ndarray:
        """Faces that are cut out already -> their probabilities.

        Args:
            crops: RGB uint8 [H, W, 3] of any sizes.
            align: cut them anew first, by the face found in each, as evaluation on data sets does if
                `preprocessing.align`; 40 ms each. Crops that are cut as `recognize` cuts them do not need it.

        Returns:
            float32 [N, C], as `expressions` names them.
        """
        if align:
            crops = [self._aligner.align(crop) for crop in crops]
        return self.classifier.classify(crops)

    @cached_property
    def _aligner(self) -> Aligner:
        return Aligner(self.preprocessing.framing)  # a detector of its own, which photographs do not need

    def embed(self, crops: Sequence[np.ndarray]) -> np.ndarray:
        """Crops of faces, RGB uint8 [H, W, 3] of any sizes -> pooled features, float32 [N, D]."""
        return self.classifier.embed(crops)

    def explain(self, crops: Sequence[np.ndarray]) -> Classification:
        """Crops of faces, RGB uint8 [H, W, 3] of any sizes -> their probabilities and what led to them.

        Raises:
            InputError: the model gives no evidence.
        """
        return self.classifier.explain(crops)

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
        x1, y1, x2, y2 = found.boxes[index].tolist()
        placement = place(found.boxes[index], found.landmarks[index], self.preprocessing.framing)
        inner = self.preprocessing.size / (self.preprocessing.resize or self.preprocessing.size)
        return Face(
            box=(x1, y1, x2, y2),
            score=float(found.scores[index]),
            landmarks=found.landmarks[index],
            expression=self.expressions[int(probabilities.argmax())],
            probabilities=dict(zip(self.expressions, probabilities.tolist(), strict=True)),
            corners=corners(placement, inner),
            evidence=dict(zip(self.expressions, evidence, strict=True)) if len(evidence) else None,
            attention=attention if len(attention) else None,
        )

    def _detect(self, picture: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The detector's faces, the largest first, checked: it may be the user's own."""
        boxes, scores, landmarks = (np.asarray(part, np.float32) for part in self.detector(picture))
        count = len(scores)
        if boxes.size != count * 4 or landmarks.size != count * 10:
            raise InputError(
                f"the detector gave boxes {list(boxes.shape)}, scores {list(scores.shape)} and landmarks "
                f"{list(landmarks.shape)}: it must give [N, 4], [N] and [N, 5, 2]"
            )
        boxes, landmarks = boxes.reshape(-1, 4), landmarks.reshape(-1, 5, 2)
        order = np.argsort(-(boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]), kind="stable")
        return boxes[order], scores.reshape(-1)[order], landmarks[order]


def _picture(found: Found) -> np.ndarray:
    assert found.picture is not None, "a recognition shows its picture"
    return found.picture
