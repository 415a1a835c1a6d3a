"""What a figure depends on beside the recipe."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Mapping
from importlib import metadata as packages
from pathlib import Path
from typing import Any

import torch


def environment() -> Mapping[str, Any]:
    """Versions, processor threads and commit: what a figure depends on beside the recipe."""
    names = ("msanet", "torch", "torchvision", "numpy", "opencv-python-headless", "accelerate")
    versions = {name: packages.version(name) for name in names if any(packages.distributions(name=name))}
    folder = Path(__file__).parent
    git = subprocess.run(["git", "-C", str(folder), "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    commit = git.stdout.strip() or None
    return {
        "python": platform.python_version(),
        "versions": versions,
        "threads": torch.get_num_threads(),
        "commit": commit,
    }
