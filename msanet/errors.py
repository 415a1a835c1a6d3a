"""The one exception that means: the user can mend this."""

from __future__ import annotations

import importlib
from types import ModuleType


class InputError(ValueError):
    """What the user handed in cannot be used; the message is one sentence that says what to do.

    The command line prints the message and ends with exit code 2; any other exception is a bug of ours.
    """


def require(module: str, extra: str) -> ModuleType:
    """Import `module`, or say which pip command brings it.

    Raises:
        InputError: the module is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing = error.name or module
        raise InputError(f"this needs {missing}, which is not installed: run pip install 'msanet[{extra}]'") from None
