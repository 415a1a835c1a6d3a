"""Crops of faces -> probabilities, embedding, evidence; without torch."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from msanet.errors import InputError
from msanet.model import METADATA_KEY, Metadata, check_graph, model_path
from msanet.preprocessing import MEAN_LANDMARKS, softmax
from msanet.runtime import Session

CHUNK = 64
"""Most crops in one run of the network; more cost memory and save no time."""

SMALL = 2_000_000
"""Bytes of a network's file below which one thread names up to four faces sooner than two: sharing costs 0.1 ms."""


class Classification(NamedTuple):
    """What one pass of N crops through the network tells.

    Attributes:
        probabilities: float32 [N, C], as `Classifier.classify` gives them.
        evidence: float32 [N, C, h, w], in logits: the mean over a crop's positions is the logit of each expression.
            h and w are 0 where it was not asked for.
        attention: float32 [N, B, h, w] in 0..1, the spatial attention of the network's B branches; B is 0 where it has
            none or it was not asked for.
    """

    probabilities: np.ndarray
    evidence: np.ndarray
    attention: np.ndarray


class Classifier:
    """A model that `msanet export` wrote, run by onnxruntime. Several threads may use one at once.

    Args:
        model: name of a shipped model, path of an ONNX file, or its bytes.
        threads: processor threads of one run; None: as many as there are processors, eight at most, and one for a
            network as small as `fast`.
        providers: onnxruntime's execution providers in order of preference; None: the processor.

    Attributes:
        name: the path, or "the ONNX bytes".
        metadata: what the file says about the model.
        expressions: names of the classes, in the order of the columns.
        preprocessing: what happens to a crop on its way into the network.
        outputs: names of the network's outputs: "logits"; "embedding", "evidence", "attention" where it has them.

    Raises:
        InputError: the model is missing or cannot be used, or an argument is wrong.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | bytes = "accurate",
        threads: int | None = None,
        providers: Sequence[str] | None = None,
    ) -> None:
        source: Path | bytes = model if isinstance(model, bytes) else model_path(model)
        if threads is None:
            size = len(source) if isinstance(source, bytes) else source.stat().st_size if source.is_file() else SMALL
            threads = 1 if size < SMALL else None
        self._session = Session(source, threads, providers)
        self.name = self._session.name
        self.outputs = self._session.outputs
        self.metadata = Metadata.from_json(self._session.custom_metadata.get(METADATA_KEY), self.name)
        check_graph(self._session, self.metadata)
        self.expressions = self.metadata.expressions
        self.preprocessing = self.metadata.preprocessing

    def classify(self, crops: Sequence[np.ndarray], landmarks: np.ndarray | None = None) -> np.ndarray:
        """Probabilities, float32 [N, C].

        Args:
            crops: RGB uint8 [H, W, 3] of any sizes.
            landmarks: float32 [N, 5, 2], see `run`.
        """
        return softmax(self._all(["logits"], crops, landmarks)[0], self.metadata.temperature)

    def embed(self, crops: Sequence[np.ndarray], landmarks: np.ndarray | None = None) -> np.ndarray:
        """Pooled features, float32 [N, D], of crops as `classify` takes them.

        Raises:
            InputError: the model gives no embedding.
        """
        if "embedding" not in self.outputs:
            raise InputError(f"{self.name} gives no embedding: export it again")
        return self._all(["embedding"], crops, landmarks)[0]

    def explain(self, crops: Sequence[np.ndarray], landmarks: np.ndarray | None = None) -> Classification:
        """Probabilities of crops as `classify` takes them, and what led to them.

        Where the model averages a crop and its mirror image, so are the maps, each laid back over the crop.

        Raises:
            InputError: the model gives no evidence.
        """
        if "evidence" not in self.outputs:
            raise InputError(f"{self.name} gives no evidence maps: recognize without explain")
        has_attention = "attention" in self.outputs
        if not has_attention:
            warnings.warn(f"{self.name} has no attention maps: only its evidence is given", stacklevel=3)
        names = ["logits", "evidence", *["attention"] * has_attention]
        logits, evidence, *rest = self._all(names, crops, landmarks)
        attention = rest[0] if has_attention else evidence[:, :0]
        return Classification(softmax(logits, self.metadata.temperature), evidence, attention)

    def run(
        self,
        outputs: Sequence[str],
        images: np.ndarray,
        landmarks: np.ndarray | None = None,
        mirror: bool | None = None,
    ) -> list[np.ndarray]:
        """Outputs for network inputs.

        Args:
            outputs: names of `outputs`.
            images: float32 [N, 3, size, size], as `preprocessing` makes them.
            landmarks: float32 [N, 5, 2], of the input, whose sides are 0..1, in `Face`'s order; used by models that
                want them. None, or NaN for a face: `MEAN_LANDMARKS`.
            mirror: average over the mirrored view too; None: as the preprocessing says.
        """
        inputs: dict[str, np.ndarray] = {}
        if "landmarks" in self.metadata.inputs:
            points = np.full((len(images), 5, 2), np.nan, np.float32) if landmarks is None else landmarks
            inputs["landmarks"] = np.where(np.isfinite(points), points, MEAN_LANDMARKS).astype(np.float32)

        def network(images: np.ndarray, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
            return self._session.run(outputs, {"images": images, **inputs})

        preprocessing = self.preprocessing
        if mirror is not None and mirror != preprocessing.mirror:
            preprocessing = replace(preprocessing, mirror=mirror)
        return preprocessing.average_views(network, images, inputs)

    def _all(
        self, outputs: Sequence[str], crops: Sequence[np.ndarray], landmarks: np.ndarray | None
    ) -> list[np.ndarray]:
        """Outputs [N, ...] for any number of crops; without crops their shapes are right as well."""
        if not len(crops):
            side = self.preprocessing.size
            return [output[:0] for output in self.run(outputs, np.zeros((1, 3, side, side), np.float32))]
        chunks = [
            self.run(
                outputs,
                self.preprocessing(crops[start : start + CHUNK]),
                None if landmarks is None else landmarks[start : start + CHUNK],
            )
            for start in range(0, len(crops), CHUNK)
        ]
        return [np.concatenate(parts) for parts in zip(*chunks, strict=True)]
