"""Models: a name or a file -> its path, and what the file says about itself, checked."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from msanet.errors import InputError
from msanet.labels import check_labels
from msanet.preprocessing import Preprocessing

METADATA_KEY = "msanet"
"""Key under which our JSON lies in the custom metadata of an ONNX file and in those of a safetensors file."""

PRETRAINED = Path(__file__).with_name("pretrained")
"""Folder of the shipped models: NAME.onnx and NAME.safetensors each."""

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
        InputError: a value is out of its range.
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
        check_labels(self.expressions)
        for item in ("name", "network", "description"):
            if not isinstance(getattr(self, item), str):
                raise InputError(f"its {item} is no text")
        for item in ("arguments", "training", "scores"):
            if not isinstance(getattr(self, item), Mapping):
                raise InputError(f"its {item} are no names with values")
        temperature = self.temperature
        if isinstance(temperature, bool) or not isinstance(temperature, (int, float)):
            raise InputError(f"its temperature is {temperature!r}, no number")
        if not (math.isfinite(temperature) and temperature > 0):
            raise InputError(f"its temperature is {temperature}: it must be over 0")
        unknown = set(self.inputs) - set(INPUTS)
        if unknown:
            raise InputError(f"its network wants {', '.join(sorted(unknown))}, which this version does not give")

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
            values = json.loads(text)
            if not isinstance(values, dict):
                raise ValueError("not JSON of names with values")
            unknown = set(values) - {item.name for item in fields(cls)}
            if unknown:
                raise InputError(f"it has unknown fields, {', '.join(sorted(unknown))}: update msanet")
            for name in ("expressions", "inputs"):
                if not isinstance(values.get(name, []), list) or not all(
                    isinstance(item, str) for item in values.get(name, [])
                ):
                    raise InputError(f"its {name} are no list of names")
            values["preprocessing"] = Preprocessing.from_dict(values["preprocessing"])
            values["expressions"] = tuple(values["expressions"])
            values["inputs"] = tuple(values.get("inputs", ()))
            return cls(**values)
        except KeyError as error:
            raise InputError(f"{file} does not say its {error}: write it with msanet export") from None
        except (ValueError, TypeError, RecursionError, OverflowError) as error:  # InputError is a ValueError
            raise InputError(
                f"{file}: its msanet metadata cannot be used ({error}): train or export it again"
            ) from None


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
