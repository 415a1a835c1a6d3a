"""Recognizer: picture -> Recognition, without torch."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, overload

import numpy as np

from msanet import images
from msanet.drawing import draw
from msanet.errors import InputError
from msanet.faces import Detector, Face, FaceDetector, corners, crop, place
from msanet.preprocessing import Preprocessing, softmax
from msanet.runtime import Session

PRETRAINED = Path(__file__).with_name("pretrained")
"""Folder of the shipped models: NAME.onnx each."""

CHUNK = 64
"""Most crops in one run of the network; more cost memory and save no time."""


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


@dataclass(frozen=True, eq=False)
class Recognition(Sequence[Face]):
    """The faces of one picture and their expressions: a sequence of `Face`, the largest first.

    Attributes:
        faces: the same faces as a tuple.
        picture: RGB uint8 [H, W, 3]; where the source was such an array, that array itself.
        source: the path, or what else the picture came from.
    """

    faces: tuple[Face, ...]
    picture: np.ndarray = field(repr=False)
    source: str

    def __len__(self) -> int:
        return len(self.faces)

    @overload
    def __getitem__(self, index: int) -> Face: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Face, ...]: ...
    def __getitem__(self, index: int | slice) -> Face | tuple[Face, ...]:
        return self.faces[index]

    def draw(self, bars: bool | None = None) -> np.ndarray:
        """The picture with its faces drawn on it, RGB uint8 [H, W, 3]; see `msanet.drawing.draw`."""
        return draw(self.picture, self.faces, bars)

    def to_dict(self) -> dict[str, Any]:
        """For JSON: source, width and height in pixels, faces."""
        height, width = self.picture.shape[:2]
        faces = [face.to_dict() for face in self.faces]
        return {"source": self.source, "width": width, "height": height, "faces": faces}

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
        threads: processor threads of one run; None: as many as there are processors, eight at most.
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
        self._session = Session(model_path(model), threads, providers)
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
            explain: give each face its evidence map too (one more run of the network).

        Returns:
            A `Recognition`; for a list a list of them.

        Raises:
            InputError: a picture cannot be read, or the model gives no evidence.
        """
        if isinstance(source, (list, tuple)):
            return [self._recognize(item, explain) for item in source]
        return self._recognize(source, explain)  # type: ignore[arg-type]

    def classify(self, crops: Sequence[np.ndarray]) -> np.ndarray:
        """Crops of faces, RGB uint8 [H, W, 3] of any sizes -> probabilities, float32 [N, C] as `expressions` names."""
        return softmax(self._averaged("logits", crops), self._temperature)

    def embed(self, crops: Sequence[np.ndarray]) -> np.ndarray:
        """Crops of faces, RGB uint8 [H, W, 3] of any sizes -> pooled features, float32 [N, D]."""
        return self._averaged("embedding", crops)

    def explain(self, crops: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Crops of faces -> evidence of each, float32 [C, h, w], in logits; the mean over positions is the logit.

        Raises:
            InputError: the model gives no evidence.
        """
        if "evidence" not in self._session.outputs:
            raise InputError(f"{self._session.name} gives no evidence maps: recognize without explain")
        maps: list[np.ndarray] = []
        for chunk in self._inputs(crops):
            evidence = self._output("evidence", chunk)
            if self.preprocessing.mirror:
                mirrored = self._output("evidence", np.ascontiguousarray(chunk[..., ::-1]))
                evidence = (evidence + mirrored[..., ::-1]) / 2
            maps.extend(evidence)
        return maps

    def _recognize(self, source: images.Source, explain: bool) -> Recognition:
        picture = images.read(source)
        boxes, scores, landmarks = self._detect(picture)
        framing = self.preprocessing.framing
        crops = [crop(picture, box, points, framing) for box, points in zip(boxes, landmarks, strict=True)]
        probabilities = self.classify(crops)
        evidence = self.explain(crops) if explain else None
        inner = self.preprocessing.size / (self.preprocessing.resize or self.preprocessing.size)
        faces = []
        for index, row in enumerate(probabilities):
            best = int(row.argmax())
            x1, y1, x2, y2 = boxes[index].tolist()
            faces.append(
                Face(
                    box=(x1, y1, x2, y2),
                    score=float(scores[index]),
                    landmarks=landmarks[index],
                    expression=self.expressions[best],
                    probabilities=dict(zip(self.expressions, row.tolist(), strict=True)),
                    corners=corners(place(boxes[index], landmarks[index], framing), inner),
                    evidence=None if evidence is None else evidence[index][best],
                )
            )
        return Recognition(tuple(faces), picture, images.name_of(source))

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

    def _inputs(self, crops: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
        """The network's inputs, float32 [up to CHUNK, 3, S, S] each."""
        for start in range(0, len(crops), CHUNK):
            yield self.preprocessing(crops[start : start + CHUNK])

    def _output(self, name: str, inputs: np.ndarray) -> np.ndarray:
        return self._session.run([name], {"images": inputs})[0]

    def _averaged(self, name: str, crops: Sequence[np.ndarray]) -> np.ndarray:
        """An output [N, ...], averaged over views; without crops it has its right shape all the same."""
        network = partial(self._output, name)
        inputs = self._inputs(crops) if len(crops) else [np.zeros((1, 3, *[self.preprocessing.size] * 2), np.float32)]
        return np.concatenate([self.preprocessing.average_views(network, chunk) for chunk in inputs])[: len(crops)]
