"""Plug-ins: Python files of the user's that add networks, methods, data sets and augmentations."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path

from msanet.errors import InputError

OPTION = "--plugin"


def take_plugins(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """A command line without its --plugin FILE.py, wherever they stand, and these files.

    Raises:
        InputError: the last one names no file.
    """
    rest, files = list[str](), list[str]()
    words = iter(arguments)
    for word in words:
        if word == "--":
            rest += [word, *words]
        elif word == OPTION:
            file = next(words, None)
            if file is None:
                raise InputError(f"{OPTION} needs a file: name a Python file")
            files.append(file)
        elif word.startswith(f"{OPTION}="):
            files.append(word.partition("=")[2])
        else:
            rest.append(word)
    return rest, files


def load_plugin(file: str) -> None:
    """Run a Python file, which enters what it adds: `NETWORKS["mine"] = Mine`, and so on.

    Raises:
        InputError: there is no such file, or it fails.
    """
    path = Path(file)
    if not path.is_file():
        raise InputError(f"there is no plug-in {file}: check the path")
    name = f"msanet_plugin_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise InputError(f"plug-in {file} is no Python file: name one that ends in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever the user's file raises
        del sys.modules[name]
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"plug-in {file} cannot be loaded ({type(error).__name__}: {reason}): mend it") from None
