"""How a crop's size in natural photographs changes what is read: agreement with weak labels, by framing scale.

    python benchmarks/framing.py --lfw DIR --model accurate --pictures 1000

DIR holds images/ and faces.csv (name, label). The labels are one person's opinion: a guide for the framing, no score.
"""

from __future__ import annotations

import argparse
import csv
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np

import msanet
from msanet import images
from msanet.faces.crops import crop
from msanet.faces.detector import FaceDetector

CLASSES = ("neutral", "happiness", "surprise", "sadness", "anger")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lfw", required=True, type=Path)
    parser.add_argument("--model", default="accurate")
    parser.add_argument("--pictures", type=int, default=300, help="of each class at most")
    parser.add_argument("--scales", type=float, nargs="+", default=[0.9, 0.95, 1.0, 1.05, 1.1, 1.2])
    arguments = parser.parse_args()

    recognizer, detector = msanet.Recognizer(arguments.model), FaceDetector()
    rows = list(csv.DictReader((arguments.lfw / "faces.csv").open()))
    np.random.default_rng(0).shuffle(rows)
    chosen = [row for name in CLASSES for row in [r for r in rows if r["label"] == name][: arguments.pictures]]
    faces = []
    for row in chosen:
        picture = images.read(arguments.lfw / "images" / row["name"])
        boxes, _, landmarks = detector(picture)
        if len(boxes):
            middle = np.abs((boxes[:, :2] + boxes[:, 2:]) / 2 - np.array(picture.shape[1::-1]) / 2).sum(axis=1).argmin()
            faces.append((row["label"], picture, boxes[middle], landmarks[middle]))
    print(f"{len(faces)} of {len(chosen)} pictures with a face")
    print("scale", *CLASSES, "mean", sep="\t")
    for scale in arguments.scales:
        framing = replace(recognizer.preprocessing.framing, scale=scale)
        cut = [crop(picture, box, points, framing) for _, picture, box, points in faces]
        probabilities = recognizer.classify(cut, align=False)
        right = defaultdict(list)
        for (label, *_), row in zip(faces, probabilities, strict=True):
            right[label].append(recognizer.expressions[row.argmax()] == label)
        shares = [float(np.mean(right[name])) for name in CLASSES]
        print(scale, *(f"{share:.3f}" for share in shares), f"{np.mean(shares):.3f}", sep="\t", flush=True)


if __name__ == "__main__":
    main()
