"""From a picture's file to expressions, ours beside other packages: time, cold start, memory, size, agreement.

Each system is what its own install command brings, in an environment of its own; none downloads anything later:

    python -m venv own && own/bin/pip install .
    python -m venv fer && fer/bin/pip install fer
    python -m venv facex && facex/bin/pip install facex
    mkdir face-api && npm install --prefix face-api @vladmandic/face-api @tensorflow/tfjs \\
        @tensorflow/tfjs-backend-wasm sharp
    python benchmarks/pipeline.py --own own --peer fer=fer --peer facex=facex --peer face-api=face-api \\
        --lfw DIR --photo photo.jpg --data ferplus:DIR

fer: its Haar cascade and its quantised network, as `FER()` has them; facex: likewise; face-api: SSD MobileNet,
landmarks and expressions in WebAssembly, sharp decodes. What is not given or does not run is named and left out.

The LFW labels are one person's opinion: a guide, no score. A picture counts as agreed if the face nearest to its middle
has the label; without a face it is missed. These faces fill their pictures, which face-api's detector does not expect.
FERPlus: each package's network alone on the test pictures, seven classes, without its detector.

This file runs inside every environment too (`--work`), so its top imports the standard library alone.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

PEERS = ("fer", "facex", "face-api")
NOUNS = {
    "angry": "anger",
    "disgusted": "disgust",
    "fearful": "fear",
    "happy": "happiness",
    "sad": "sadness",
    "surprised": "surprise",
}
SEVEN = ("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger")
LABELS = ("neutral", "happiness")
COLD_STARTS = 3
LFW_SIDE = 150
"""Of the pictures, pixels."""


class System(NamedTuple):
    """What runs one system.

    Attributes:
        name: in the table.
        command: runs its worker, which reads a task as JSON and prints the result as JSON, see `work`.
        folder: what its install command filled.
    """

    name: str
    command: list[str]
    folder: Path


# -- inside each environment ------------------------------------------------------------------------------------------


class Worker(NamedTuple):
    """A package at work.

    Attributes:
        recognize: path of a picture -> (box x1, y1, x2, y2, expression) of each face.
        classify: path of a face crop -> expression.
        versions: of what matters.
    """

    recognize: Callable[[str], list[tuple[list[float], str]]]
    classify: Callable[[str], str]
    versions: str


def msanet_worker(model: str) -> Worker:
    import msanet
    from msanet import images

    recognizer = msanet.Recognizer(model)
    known = [recognizer.expressions.index(name) for name in SEVEN]

    def recognize(path: str) -> list[tuple[list[float], str]]:
        return [(list(face.box), face.expression) for face in recognizer.recognize(path)]

    def classify(path: str) -> str:
        return SEVEN[recognizer.classify([images.read(path)])[0][known].argmax()]

    return Worker(recognize, classify, versions("msanet", "onnxruntime"))


def fer_worker() -> Worker:
    import cv2
    import numpy as np
    from fer.fer import FER

    detector = FER()
    names = [name for _, name in sorted(FER._get_labels().items())]

    def recognize(path: str) -> list[tuple[list[float], str]]:
        found = detector.detect_emotions(cv2.imread(path))
        return [(corners(face["box"]), max(face["emotions"], key=face["emotions"].get)) for face in found]

    def classify(path: str) -> str:
        crop = cv2.resize(np.asarray(cv2.imread(path, cv2.IMREAD_GRAYSCALE)), (64, 64)).astype(np.float32)
        return names[detector._classify_emotions(((crop / 255 - 0.5) * 2)[None])[0].argmax()]

    return Worker(recognize, classify, versions("fer", "tensorflow", "opencv-contrib-python"))


def facex_worker() -> Worker:
    import cv2
    import facex.core

    assets = Path(facex.core.__file__).with_name("assets")
    classifier = facex.core.EmotionClassifier(str(assets / "model_optimized.tflite"))

    def recognize(path: str) -> list[tuple[list[float], str]]:
        found = classifier.predict(cv2.imread(path))
        return [(corners(face["bbox"]), max(face["emot"], key=face["emot"].get)) for face in found]

    def classify(path: str) -> str:
        emotions = classifier.detect_emotion(cv2.imread(path, cv2.IMREAD_GRAYSCALE))
        return max(emotions, key=emotions.get)

    return Worker(recognize, classify, versions("facex", "tensorflow", "opencv-contrib-python"))


def corners(box: Any) -> list[float]:
    """x, y, width, height -> x1, y1, x2, y2."""
    x, y, width, height = (float(value) for value in box)
    return [x, y, x + width, y + height]


def versions(*packages: str) -> str:
    from importlib.metadata import version

    return ", ".join(f"{package} {version(package)}" for package in packages)


def work(name: str) -> None:
    """Task on standard input: "pictures", "crops" (paths), "rounds". Result: seconds, faces, answers, versions."""
    task = json.load(sys.stdin)
    workers: dict[str, Callable[[], Worker]] = {"fer": fer_worker, "facex": facex_worker}
    worker = workers[name]() if name in workers else msanet_worker(name)
    faces: list[Any] = []
    seconds = []
    for path in task["pictures"]:
        times = []
        for _ in range(task["rounds"]):
            start = time.perf_counter()
            found = worker.recognize(path)
            times.append(time.perf_counter() - start)
        seconds.append(median(times))
        faces.append(found)
    answers, crop_seconds = [], []
    for path in task["crops"]:
        start = time.perf_counter()
        answers.append(worker.classify(path))
        crop_seconds.append(time.perf_counter() - start)
    result = {"seconds": seconds, "faces": faces, "answers": answers, "crop_seconds": crop_seconds}
    print("\n" + json.dumps({**result, "versions": worker.versions}))


# -- outside ----------------------------------------------------------------------------------------------------------


def run(system: System, pictures: list[str], crops: list[str] = [], rounds: int = 1) -> dict[str, Any]:  # noqa: B006
    """Give a system a task, in a process of its own; with its whole seconds and its peak memory in MiB."""
    task = json.dumps({"pictures": pictures, "crops": crops, "rounds": rounds}).encode()
    start = time.perf_counter()
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as complained:
        given.write(task)
        given.seek(0)
        process = subprocess.Popen(system.command, stdin=given, stdout=said, stderr=complained)
        # This process is small, or the child's peak would start at its size.
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        for file in (said, complained):
            file.seek(0)
        if process.returncode:
            raise RuntimeError(complained.read().decode(errors="replace").strip().rpartition("\n")[2] or "it failed")
        result = json.loads(said.read().decode().strip().rpartition("\n")[2])
    return {**result, "whole": seconds, "peak": usage.ru_maxrss / 1024}


def megabytes(folder: Path) -> float:
    """What an install command brought, in 1e6 bytes: the environment without the pip it was made with."""
    modules = folder / "node_modules"
    parts = [modules] if modules.is_dir() else [*folder.glob("lib/python*/site-packages/*")]
    kept = [part for part in parts if part.name.split("-")[0] not in ("pip", "setuptools", "pkg_resources")]
    files = [path for part in kept for path in (part, *part.rglob("*")) if path.is_file() and not path.is_symlink()]
    return sum(path.stat().st_size for path in files) / 1e6


def systems(arguments: argparse.Namespace) -> Iterator[System]:
    """Ours, then those peers that are given."""
    given = dict(item.split("=", 1) for item in arguments.peer)
    for model in arguments.models:
        yield System(f"msanet {Path(model).stem}", python(arguments.own, model), Path(arguments.own))
    for name in PEERS:
        if name not in given:
            print(f"{name} is left out: give --peer {name}=FOLDER", file=sys.stderr)
        elif name == "face-api":
            script = str(Path(__file__).with_name("face_api.cjs").resolve())
            yield System(name, ["node", script, str(Path(given[name]).resolve())], Path(given[name]))
        else:
            yield System(name, python(given[name], name), Path(given[name]))


def python(folder: str, name: str) -> list[str]:
    return [str(Path(folder).absolute() / "bin" / "python"), str(Path(__file__).resolve()), "--work", name]


def agreement(faces: list[Any], labels: list[str]) -> tuple[float, list[float]]:
    """Share of pictures with a face, and of each label's pictures the share that is called so."""

    def from_the_middle(face: tuple[list[float], str]) -> float:
        x1, y1, x2, y2 = face[0]
        return abs(x1 + x2 - LFW_SIDE) + abs(y1 + y2 - LFW_SIDE)

    right: dict[str, list[bool]] = {label: [] for label in LABELS}
    for found, label in zip(faces, labels, strict=True):
        near = min(found, key=from_the_middle, default=None)
        right[label].append(near is not None and NOUNS.get(near[1], near[1]) == label)
    return sum(map(bool, faces)) / len(faces), [sum(right[label]) / len(right[label]) for label in LABELS]


def lfw_pictures(folder: Path, number: int) -> tuple[list[str], list[str]]:
    """Paths and labels: so many pictures, as many of each label, drawn with seed 0."""
    with (folder / "faces.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    chosen = []
    for label in LABELS:
        chosen += random.Random(0).sample([row for row in rows if row["label"] == label], number // len(LABELS))
    return [str(folder / "images" / row["name"]) for row in chosen], [row["label"] for row in chosen]


def ferplus_crops(source: str) -> tuple[list[str], list[str]]:
    """Paths and labels of the test pictures in seven classes, read by the Python that has msanet's lab."""
    code = "import sys, json; from msanet import data; print(json.dumps([[str(s.path), s.label] for s in "
    code += "data.read(sys.argv[1], 'test')]))"
    said = subprocess.run([sys.executable, "-c", code, source], check=True, capture_output=True, text=True).stdout
    rows = [row for row in json.loads(said.strip().rpartition("\n")[2]) if row[1] in SEVEN]
    return [path for path, _ in rows], [label for _, label in rows]


def scores(answers: list[str], labels: list[str]) -> tuple[float, float]:
    """Accuracy and average accuracy."""
    right = [NOUNS.get(answer, answer) == label for answer, label in zip(answers, labels, strict=True)]
    parts = [[hit for hit, label in zip(right, labels, strict=True) if label == name] for name in SEVEN]
    return sum(right) / len(right), sum(sum(part) / len(part) for part in parts) / len(SEVEN)


def measure(system: System, arguments: argparse.Namespace, crops: tuple[list[str], list[str]]) -> list[str]:
    """A row of the table."""
    row = [system.name, f"{megabytes(system.folder):.0f}"]
    photo = arguments.photo[0]
    cold = [run(system, [photo]) for _ in range(COLD_STARTS + 1)][1:]  # the first one warms the file system
    row += [f"{median(item['whole'] for item in cold):.2f}", f"{median(item['peak'] for item in cold):.0f}"]
    timed = run(system, arguments.photo, rounds=arguments.rounds)
    row += [f"{1000 * value:.1f} ({len(found)})" for value, found in zip(timed["seconds"], timed["faces"], strict=True)]
    pictures, labels = lfw_pictures(arguments.lfw, arguments.pictures)
    natural = run(system, pictures)
    share, right = agreement(natural["faces"], labels)
    row += [f"{1000 * median(natural['seconds']):.1f}", f"{100 * share:.0f}"]
    row += [" / ".join(f"{100 * value:.0f}" for value in right)]
    if crops[0]:
        answered = run(system, [], crops[0])
        row += [" / ".join(f"{100 * value:.1f}" for value in scores(answered["answers"], crops[1]))]
        row += [f"{1000 * median(answered['crop_seconds']):.2f}"]
    print(f"{system.name}: {timed['versions']}", file=sys.stderr)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--own", required=True, help="environment with msanet alone")
    parser.add_argument("--models", nargs="+", default=["accurate"], help="of msanet: names, or paths of ONNX files")
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=FOLDER", help=", ".join(PEERS))
    parser.add_argument("--lfw", required=True, type=Path, help="holds images/ and faces.csv (name, label)")
    parser.add_argument("--pictures", type=int, default=200, help="of LFW")
    parser.add_argument("--photo", action="append", required=True, help="timed on its own; the first starts cold too")
    parser.add_argument("--rounds", type=int, default=9, help="of each photo, the median counts")
    parser.add_argument("--data", help="ferplus:DIR, whose test pictures each network reads alone")
    arguments = parser.parse_args()

    columns = ["system", "installed MB", "cold start s", "peak MiB"]
    columns += [f"{Path(photo).name} ms (faces)" for photo in arguments.photo]
    columns += ["LFW ms", "found %", f"{' / '.join(LABELS)} %"]
    crops = ferplus_crops(arguments.data) if arguments.data else ([], [])
    if arguments.data:
        columns += [f"{len(crops[0])} crops: accuracy / average %", "ms a crop"]
    print(f"| {' | '.join(columns)} |")
    print(f"| --- |{' ---: |' * (len(columns) - 1)}")
    for system in systems(arguments):
        try:
            print(f"| {' | '.join(measure(system, arguments, crops))} |", flush=True)
        except (OSError, RuntimeError, ValueError) as error:
            print(f"{system.name} is left out: {error}", file=sys.stderr)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        work(sys.argv[2])
    else:
        main()
