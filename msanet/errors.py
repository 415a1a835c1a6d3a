"""The one exception that means: the user can mend this; and which extra brings what is not installed."""

from __future__ import annotations

import importlib
from types import ModuleType

EXTRAS = {
    "accelerate": "train",
    "av": "video",
    "jinja2": "train",
    "matplotlib": "train",
    "onnx": "export",
    "onnxscript": "export",
    "pandas": "pandas",
    "pillow_heif": "heif",
    "polars": "polars",
    "safetensors": "train",
    "sklearn": "words",
    "torch": "train",
    "timm": "timm",
    "torchvision": "train",
    "yaml": "train",
}
"""Libraries that a plain `pip install msanet` does not bring, and the extra that does."""


class InputError(ValueError):
    """What the user handed in cannot be used; the message is one sentence that says what to do.

    The command line prints the message and ends with exit code 2; any other exception is a bug of ours.
    """


def missing(module: str) -> str:
    """The sentence for a library of `EXTRAS` that is not installed."""
    return f"this needs {module}, which is not installed: run pip install 'msanet[{EXTRAS[module]}]'"


def require(module: str) -> ModuleType:
    """Import a library of `EXTRAS`, or say which pip command brings it.

    Raises:
        InputError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        name = (error.name or "").partition(".")[0]
        if name not in EXTRAS:
            raise
        raise InputError(missing(name)) from None
