"""How fast recognition is on this machine: each stage, for each model and number of threads."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from timeit import timeit
from typing import Any

import numpy as np

from msanet import images
from msanet.errors import InputError
from msanet.faces.crops import crop
from msanet.faces.detector import FaceDetector
from msanet.recognize.recognizer import Found, Recognizer
from msanet.runtime import available_threads

BATCHES = (1, 8, 64)
REPEAT_SECONDS = 0.1
"""A repeat runs a stage as often as fits into this, once at least."""

LIBRARIES = ("msanet", "onnxruntime", "opencv-python-headless", "pillow", "numpy")


@dataclass(frozen=True)
class Figure:
    """One thing measured.

    Attributes:
        model: its name or file.
        threads: processor threads of a run; None where the command decides.
        what: the stage, or what is counted.
        unit: "ms", "1/s", "s" or "MiB".
        median, lowest, highest: of the repeats.
    """

    model: str
    threads: int | None
    what: str
    unit: str
    median: float
    lowest: float
    highest: float


@dataclass(frozen=True)
class Benchmark:
    """What was measured, and on what.

    Attributes:
        machine: processor, threads that this process may use, system, versions.
        pictures: number of the pictures.
        faces: found in them all.
        repeats: of each measurement.
        figures: in the order of measurement.
    """

    machine: dict[str, str]
    pictures: int
    faces: int
    repeats: int
    figures: tuple[Figure, ...]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def benchmark(
    paths: Sequence[str],
    models: Sequence[str],
    threads: Sequence[int] | None = None,
    repeats: int = 5,
    size: int = 640,
) -> Benchmark:
    """Measure the recognition of some pictures, all of which are kept in memory.

    Args:
        paths: of pictures with faces.
        models: names of shipped models, or ONNX files.
        threads: numbers of processor threads; None: 1, 2 and so on to `available_threads()`.
        repeats: of each measurement, after one that warms up.
        size: long side of the picture for the face detector, pixels.

    Raises:
        InputError: a picture or a model cannot be used, no picture has a face, or an argument is out of its range.
    """
    if repeats < 1:
        raise InputError(f"repeats is {repeats}: give 1 or more")
    if not paths or not models:
        raise InputError("there is nothing to measure: give a picture with faces and a model")
    for model in models:
        Recognizer(model, threads=1)  # what is wrong with one is said before minutes of measuring
    # First of all, while this process is small: on Linux a child's peak memory starts at its parent's.
    figures = [figure for model in models for figure in _cold(model, paths[0], repeats, size)]
    pictures = [images.read(path) for path in paths]
    faces = 0
    for model in models:
        for number in threads or range(1, available_threads() + 1):
            recognizer = Recognizer(model, FaceDetector(size, threads=number), number)
            crops = [recognizer.find(picture).crops for picture in pictures]
            faces = sum(map(len, crops))
            if not faces:
                raise InputError("no face was found in the pictures: give pictures with faces")
            for what, unit, values in _warm(recognizer, model, number, paths, pictures, repeats):
                figures.append(Figure(model, number, what, unit, median(values), min(values), max(values)))
    return Benchmark(machine(), len(pictures), faces, repeats, tuple(figures))


def machine() -> dict[str, str]:
    """Processor, threads that this process may use, system and versions."""
    processor = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").is_file():  # Linux does not tell platform
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        processor = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), processor)
    return {
        "processor": processor,
        "threads": str(available_threads()),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        **{name: version(name) for name in LIBRARIES},
    }


def _cold(model: str, path: str, repeats: int, size: int) -> Iterator[Figure]:
    """The whole command for one picture, in a process of its own: seconds and peak memory."""
    command = [sys.executable, "-m", "msanet", "recognize", path, "--model", model, "--size", str(size)]
    seconds, peaks = [], []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            said = process.stderr.read()
            if hasattr(os, "wait4"):  # Windows has none
                _, status, usage = os.wait4(process.pid, 0)
                process.returncode = os.waitstatus_to_exitcode(status)
                peaks.append(usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10))  # bytes there
        seconds.append(time.perf_counter() - start)
        if process.returncode:
            raise InputError(f"msanet recognize {path} failed ({said.strip()}): mend that first")
    for what, unit, values in (("cold start", "s", seconds[1:]), ("peak memory", "MiB", peaks[1:])):
        if values:
            yield Figure(model, None, what, unit, median(values), min(values), max(values))


def _warm(
    recognizer: Recognizer, model: str, threads: int, paths: Sequence[str], pictures: list[Any], repeats: int
) -> Iterator[tuple[str, str, list[float]]]:
    """What, its unit and the repeats: milliseconds of each stage (a picture's, a face's, a batch's), then rates.

    Classifying is the network alone, on both views of a face where the model averages them, as in recognition.
    """
    preprocessing = recognizer.preprocessing
    found = [recognizer.find(picture) for picture in pictures]
    recognitions = recognizer.classify_found(found)
    faces = [(item, index) for item in found for index in range(len(item.crops))]
    crops = [face for item in found for face in item.crops]

    def cut(face: tuple[Found, int]) -> np.ndarray:
        item, index = face
        assert item.picture is not None
        return crop(item.picture, item.boxes[index], item.landmarks[index], preprocessing.framing)

    def each(function: Callable[[Any], Any], items: Sequence[Any]) -> list[float]:
        return [1000 * seconds / len(items) for seconds in clock(lambda: [function(item) for item in items], repeats)]

    yield "decode, a picture", "ms", each(images.read, paths)
    yield "detect, a picture", "ms", each(recognizer.detector, pictures)
    yield "crop, a face", "ms", each(cut, faces)
    yield "preprocess, a face", "ms", each(lambda item: preprocessing([item]), crops)
    for batch in BATCHES:
        run = partial(recognizer.classifier.run, ["logits"], preprocessing(list(islice(cycle(crops), batch))))
        seconds = clock(run, repeats)
        yield f"classify, a batch of {batch}", "ms", [1000 * value for value in seconds]
    yield "draw, a picture", "ms", each(lambda item: item.draw(), recognitions)
    many = list(islice(cycle(crops), BATCHES[-1]))
    cut_out = clock(lambda: recognizer.classify(many, align=False), repeats)
    yield "faces, cut out", "1/s", [len(many) / value for value in cut_out]
    whole = clock(lambda: [recognizer.recognize(path) for path in paths], repeats)
    yield "pictures, one at a time", "1/s", [len(paths) / value for value in whole]


def clock(run: Callable[[], Any], repeats: int) -> list[float]:
    """Seconds of one call, measured so many times over `REPEAT_SECONDS` of calls, after two to warm up."""
    run()
    number = max(1, int(REPEAT_SECONDS / max(timeit(run, number=1), 1e-9)))
    return [timeit(run, number=number) / number for _ in range(repeats)]
