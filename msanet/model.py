"""Models: a name or a file -> its path, and what the file says about itself, checked."""

from __future__ import annotations

import json
import os
import reprlib
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from msanet.errors import InputError
from msanet.labels import check_labels
from msanet.preprocessing import MEAN_LANDMARKS, Preprocessing, as_tuple, is_number, named
from msanet.runtime import Session

METADATA_KEY = "msanet"
"""Key under which our JSON lies in the custom metadata of an ONNX file and in those of a safetensors file."""

PRETRAINED = Path(__file__).with_name("pretrained")
"""Folder of the shipped models: NAME.onnx and NAME.safetensors each."""

TEMPERATURES = (0.01, 100.0)
"""Range of a temperature; the one that is fitted is in 0.05..20."""

INPUTS = ("landmarks",)
"""What a network may want beside the picture."""


@dataclass(frozen=True)
class Metadata:
    """What travels with weights.

    Args:
        name: of the model.
        network: name of the architecture.
        arguments: of `create_network`.
        expressions: names of the classes, in the order of the logits.
        preprocessing: what the network's input has gone through.
        temperature: logits are divided by it before the softmax (calibration, fitted on validation).
        inputs: what the network wants beside the picture, names of `INPUTS`.
        training: data, method, recipe, versions: how the weights were made.
        scores: measured, each a report.
        description: in a sentence.

    Raises:
        InputError: a value is of another type or out of its range.
    """

    name: str
    network: str
    arguments: Mapping[str, Any]
    expressions: tuple[str, ...]
    preprocessing: Preprocessing
    temperature: float = 1.0
    inputs: tuple[str, ...] = ()
    training: Mapping[str, Any] = field(default_factory=dict)
    scores: Mapping[str, Any] = field(default_factory=dict)
    description: str = ""

    def __post_init__(self) -> None:
        for item in ("expressions", "inputs"):
            value = getattr(self, item)
            if not isinstance(value, tuple) or not all(isinstance(word, str) for word in value):
                raise InputError(f"its {item} are no list of names")
        check_labels(self.expressions)
        for item in ("name", "network", "description"):
            if not isinstance(getattr(self, item), str):
                raise InputError(f"its {item} is no text")
        for item in ("arguments", "training", "scores"):
            if not isinstance(getattr(self, item), Mapping):
                raise InputError(f"its {item} are no names with values")
        if not isinstance(self.preprocessing, Preprocessing):
            raise InputError("its preprocessing is none")
        if not is_number(self.temperature, *TEMPERATURES):
            raise InputError(
                f"its temperature is {reprlib.repr(self.temperature)}: it must be a number from "
                f"{TEMPERATURES[0]:g} to {TEMPERATURES[1]:g}"
            )
        unknown = set(self.inputs) - set(INPUTS)
        if unknown:
            raise InputError(f"its network wants {reprlib.repr(sorted(unknown))}, which this version does not give")
        if len(set(self.inputs)) < len(self.inputs):
            raise InputError("its network wants an input twice")

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str | None, file: str) -> Metadata:
        """The inverse of `to_json`, everything checked: the text may come from anywhere.

        Args:
            text: of the file's metadata; None: it has none.
            file: what to call it in a message.

        Raises:
            InputError: it is missing, not JSON, or a field is missing, unknown or out of its range.
        """
        if text is None:
            raise InputError(
                f"{file} has no msanet metadata, so its preprocessing and expressions are unknown: "
                "write it with msanet train or msanet export"
            )
        try:
            values = named(json.loads(text), cls, "the JSON")
            absent = [
                item.name
                for item in fields(cls)
                if item.name not in values and item.default is MISSING and item.default_factory is MISSING
            ]
            if absent:
                raise InputError(f"it does not say its {', '.join(absent)}")
            values["preprocessing"] = Preprocessing.from_dict(values["preprocessing"])
            values |= {name: as_tuple(values[name]) for name in ("expressions", "inputs") if name in values}
            return cls(**values)
        except (ValueError, RecursionError) as error:  # InputError and what json raises are ValueErrors
            raise InputError(
                f"{file}: its msanet metadata cannot be used ({error}): train or export it again"
            ) from None


def check_graph(session: Session, metadata: Metadata) -> None:
    """Run a network on two black pictures: what a file says of itself, shapes included, need not be true.

    Raises:
        InputError: it wants other inputs than its metadata say, cannot be run with them, has no output "logits", or its
            outputs are not as `msanet export` writes them: float32, finite, logits [N, expressions], embedding [N, D],
            evidence [N, expressions, h, w], attention [N, B, h, w].
    """
    size, classes = metadata.preprocessing.size, len(metadata.expressions)
    shapes = {"logits": (2, classes), "embedding": (2, 0), "evidence": (2, classes, 0, 0), "attention": (2, 0, 0, 0)}
    if "logits" not in session.outputs:
        raise InputError(f"{session.name} has no output logits: write it with msanet export")
    outputs = [name for name in shapes if name in session.outputs]
    inputs = {"images": np.zeros((2, 3, size, size), np.float32)}
    if "landmarks" in metadata.inputs:
        inputs["landmarks"] = np.stack([MEAN_LANDMARKS] * 2)
    try:
        results = session.run(outputs, inputs)
    except Exception as error:  # onnxruntime's own exceptions have no common base
        raise InputError(
            f"{session.name} does not run on pictures of {size} x {size}, as its metadata say "
            f"({' '.join(str(error).split())[:200]}): export it again"
        ) from None
    for name, result in zip(outputs, results, strict=True):
        if not _is_like(result, shapes[name]):
            found = f"{result.dtype} {list(result.shape)}" if isinstance(result, np.ndarray) else "no array"
            wanted = [side or "any" for side in shapes[name]]
            raise InputError(
                f"{session.name}: of two pictures its {name} are {found}, not float32 {wanted} and finite: "
                "export it again"
            )


def _is_like(result: object, shape: tuple[int, ...]) -> bool:
    """Whether a result is a finite float32 array of a shape, 0 standing for any side over 0."""
    return (
        isinstance(result, np.ndarray)
        and result.dtype == np.float32
        and result.ndim == len(shape)
        and all(side > 0 and wanted in (0, side) for side, wanted in zip(result.shape, shape, strict=True))
        and bool(np.isfinite(result).all())
    )


def model_names(suffix: str = ".onnx") -> list[str]:
    """Names of the shipped models that have a file with this ending."""
    return sorted(path.stem for path in PRETRAINED.glob(f"*{suffix}"))


def model_path(model: str | os.PathLike[str], suffix: str = ".onnx") -> Path:
    """The file of a model named, or given as a file.

    Args:
        model: a name of `model_names()`, or a path.
        suffix: ending of the shipped file wanted: ".onnx" to run it, ".safetensors" to train or export it.

    Raises:
        InputError: no shipped model has that name, and it is no path of a file.
    """
    if os.fspath(model) in model_names(suffix):
        return PRETRAINED / f"{os.fspath(model)}{suffix}"
    path = Path(model)
    if path.suffix or len(path.parts) > 1 or path.is_file():
        return path  # who opens it says what is wrong with it
    names = ", ".join(model_names(suffix)) or "none is shipped with this copy"
    raise InputError(f"there is no model {os.fspath(model)!r}: choose one of the shipped ({names}) or a {suffix} file")
