"""Recognizer: picture -> Recognition, without torch."""

from __future__ import annotations

import importlib
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple, overload

import numpy as np

from msanet import images, tables
from msanet.drawing import draw
from msanet.errors import InputError
from msanet.faces import Aligner, Detector, Face, FaceDetector, corners, crop, place
from msanet.preprocessing import Preprocessing, softmax
from msanet.runtime import Session

PRETRAINED = Path(__file__).with_name("pretrained")
"""Folder of the shipped models: NAME.onnx each."""

CHUNK = 64
"""Most crops in one run of the network; more cost memory and save no time."""

SMALL = 2_000_000
"""Bytes of a network's file below which one thread names up to four faces sooner than two: sharing costs 0.1 ms."""


def model_names() -> list[str]:
    """Names of the shipped models."""
    return sorted(path.stem for path in PRETRAINED.glob("*.onnx"))


def model_path(model: str | os.PathLike[str]) -> Path:
    """The ONNX file of a model named or given as a file.

    Raises:
        InputError: no shipped model has that name, and it is no path of a file.
    """
    shipped = PRETRAINED / f"{os.fspath(model)}.onnx"
    if os.fspath(model) in model_names():
        return shipped
    path = Path(model)
    if path.suffix or len(path.parts) > 1:
        return path  # Session says what is wrong with it
    names = ", ".join(model_names()) or "none is shipped with this copy"
    raise InputError(f"there is no model {os.fspath(model)!r}: choose one of the shipped ({names}) or an .onnx file")


class Explanation(NamedTuple):
    """What one pass of N crops through the network tells.

    Attributes:
        probabilities: float32 [N, C], as `classify` gives them.
        evidence: float32 [N, C, h, w], in logits: the mean over a crop's positions is the logit of each expression.
        attention: float32 [N, B, h, w] in 0..1, the spatial attention of the network's B branches; B is 0 where it has
            none.
    """

    probabilities: np.ndarray
    evidence: np.ndarray
    attention: np.ndarray


@dataclass(frozen=True, eq=False)
class Found:
    """A picture and the faces found in it, the largest first, before their expressions are named.

    Attributes:
        picture: RGB uint8 [H, W, 3].
        source: the path, or what else the picture came from.
        boxes: float32 [N, 4], x1, y1, x2, y2 in pixels.
        scores: float32 [N] in 0..1.
        landmarks: float32 [N, 5, 2], pixels.
        crops: RGB uint8 [S, S, 3], one for each face.
    """

    picture: np.ndarray = field(repr=False)
    source: str
    boxes: np.ndarray
    scores: np.ndarray
    landmarks: np.ndarray
    crops: list[np.ndarray] = field(repr=False)


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
        """The picture with its faces drawn on it and the reasons below it, RGB uint8; see `msanet.drawing.draw`."""
        return draw(self.picture, self.faces, bars)

    def to_dict(self) -> dict[str, Any]:
        """For JSON: source, width and height in pixels, faces."""
        height, width = self.picture.shape[:2]
        faces = [face.to_dict() for face in self.faces]
        return {"source": self.source, "width": width, "height": height, "faces": faces}

    def to_pandas(self) -> Any:
        """A pandas DataFrame with a row per face; `msanet.tables.to_pandas` makes one of several recognitions.

        Raises:
            InputError: pandas is not installed.
        """
        return tables.to_pandas([self])

    def to_polars(self) -> Any:
        """A polars DataFrame with a row per face; `msanet.tables.to_polars` makes one of several recognitions.

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
        path = model_path(model)
        alone = threads is None and path.is_file() and path.stat().st_size < SMALL
        self._session = Session(path, 1 if alone else threads, providers)
        self.metadata = self._session.metadata
        try:
            self.expressions: tuple[str, ...] = tuple(self.metadata["expressions"])
            self.preprocessing = Preprocessing.from_dict(self.metadata["preprocessing"])
            self._temperature = float(self.metadata["temperature"])
        except KeyError as error:
            raise InputError(f"{self._session.name} does not say its {error}: write it with msanet export") from None
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
            `msanet.batch.recognize_many` is for more pictures than memory holds.

        Raises:
            InputError: a picture cannot be read, or the model gives no evidence.
        """
        if isinstance(source, (list, tuple)):
            return self.name([self.find(item) for item in source], explain)
        return self.name([self.find(source)], explain)[0]  # type: ignore[arg-type]

    def find(self, source: images.Source) -> Found:
        """The first half of `recognize`: read a picture and find its faces.

        Raises:
            InputError: the picture cannot be read.
        """
        picture = images.read(source)
        boxes, scores, landmarks = self._detect(picture)
        framing = self.preprocessing.framing
        crops = [crop(picture, box, points, framing) for box, points in zip(boxes, landmarks, strict=True)]
        return Found(picture, images.name_of(source), boxes, scores, landmarks, crops)

    def name(self, found: Sequence[Found], explain: bool = False) -> list[Recognition]:
        """The second half of `recognize`: name the expressions of all faces of some pictures in one batch.

        Raises:
            InputError: the model gives no evidence.
        """
        crops = [face for item in found for face in item.crops]
        if explain:
            explanation = self.explain(crops)
        else:
            nothing = np.empty((len(crops), 0), np.float32)
            explanation = Explanation(self.classify(crops), nothing, nothing)
        rows = zip(*explanation, strict=True)
        return [
            Recognition(
                tuple(self._face(item, index, *next(rows)) for index in range(len(item.crops))),
                item.picture,
                item.source,
                self.expressions,
            )
            for item in found
        ]

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
        return softmax(self._run(["logits"], crops)[0], self._temperature)

    @cached_property
    def _aligner(self) -> Aligner:
        return Aligner(self.preprocessing.framing)  # a detector of its own, which photographs do not need

    def embed(self, crops: Sequence[np.ndarray]) -> np.ndarray:
        """Crops of faces, RGB uint8 [H, W, 3] of any sizes -> pooled features, float32 [N, D]."""
        return self._run(["embedding"], crops)[0]

    def explain(self, crops: Sequence[np.ndarray]) -> Explanation:
        """Crops of faces, RGB uint8 [H, W, 3] of any sizes -> their probabilities and what led to them.

        Where the model averages a crop and its mirror image, so are the maps, each laid back over the crop.

        Raises:
            InputError: the model gives no evidence.
        """
        if "evidence" not in self._session.outputs:
            raise InputError(f"{self._session.name} gives no evidence maps: recognize without explain")
        has_attention = "attention" in self._session.outputs
        if not has_attention:
            warnings.warn(f"{self._session.name} has no attention maps: only its evidence is given", stacklevel=2)
        logits, evidence, *rest = self._run(["logits", "evidence", *["attention"] * has_attention], crops)
        attention = rest[0] if has_attention else evidence[:, :0]
        return Explanation(softmax(logits, self._temperature), evidence, attention)

    def _face(
        self, found: Found, index: int, probabilities: np.ndarray, evidence: np.ndarray, attention: np.ndarray
    ) -> Face:
        """The face of that index, with its row of an `Explanation`."""
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

    def _run(self, outputs: Sequence[str], crops: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Outputs of the network, [N, ...] each, averaged over views; without crops their shapes are right as well."""

        def network(inputs: np.ndarray) -> list[np.ndarray]:
            return self._session.run(outputs, {"images": inputs})

        if not len(crops):
            side = self.preprocessing.size
            return [output[:0] for output in network(np.zeros((1, 3, side, side), np.float32))]
        chunks = [
            self.preprocessing.average_views(network, self.preprocessing(crops[start : start + CHUNK]))
            for start in range(0, len(crops), CHUNK)
        ]
        return [np.concatenate(parts) for parts in zip(*chunks, strict=True)]
