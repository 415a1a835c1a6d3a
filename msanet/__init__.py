"""Facial expression recognition with MSA-Net: find the faces of a photograph and name their expressions.

The public names load at first use, so that `import msanet` stays light.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from msanet.errors import InputError

if TYPE_CHECKING:
    from msanet.faces.face import Face as Face
    from msanet.networks import create_network as create_network
    from msanet.recognize.recognizer import Recognition as Recognition
    from msanet.recognize.recognizer import Recognizer as Recognizer

# Nothing leaves the machine: what reports home by default is told not to, whatever the environment says. Here, because
# these libraries read their variable when they are imported, and no file of ours can import one before this line ran.
# onnxruntime's own disable_telemetry_events() comes too late: by then it has a device id in ~/.cache and a connection.
os.environ.update(
    ORT_DISABLE_TELEMETRY="1",  # onnxruntime, from 1.32 on
    HF_HUB_DISABLE_TELEMETRY="1",  # huggingface_hub, which accelerate and timm bring
    RAY_USAGE_STATS_ENABLED="0",
    WANDB_ERROR_REPORTING="false",
)

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
