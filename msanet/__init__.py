"""Facial expression recognition with MSA-Net: find the faces of a photograph and name their expressions.

The public names load at first use, so that `import msanet` stays light.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from msanet.errors import InputError

if TYPE_CHECKING:
    from msanet.faces.face import Face as Face
    from msanet.networks import create_network as create_network
    from msanet.recognize.recognizer import Recognition as Recognition
    from msanet.recognize.recognizer import Recognizer as Recognizer

__version__ = "0.1.0"
__all__ = ["Face", "InputError", "Recognition", "Recognizer", "__version__", "create_network"]

_HOMES = {
    "Face": "msanet.faces.face",
    "Recognition": "msanet.recognize.recognizer",
    "Recognizer": "msanet.recognize.recognizer",
    "create_network": "msanet.networks",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'msanet' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
