"""What several test files of videos need."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from msanet.recognize.recognizer import Recognizer
from msanet.video.process import VideoOutcome, process
from msanet.video.tracks import Following


@pytest.fixture(scope="session")
def recognizer(tiny_model: Path) -> Recognizer:
    return Recognizer(tiny_model, threads=1)


@pytest.fixture(scope="session")
def done(tmp_path_factory: pytest.TempPathFactory, clip: Path, recognizer: Recognizer) -> tuple[VideoOutcome, Path]:
    """The outcome for the clip, and the folder of its files; read only."""
    folder = tmp_path_factory.mktemp("done")
    return process(clip, recognizer, Following(), folder / "clip"), folder


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def times(path: Path) -> list[float]:
    av = pytest.importorskip("av")
    with av.open(str(path)) as container:
        return [frame.time for frame in container.decode(video=0)]


def pictures(path: Path) -> list[np.ndarray]:
    av = pytest.importorskip("av")
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
