"""Faces of LFW with labels, to be mixed into training: crops as recognition cuts them, and their votes.

    python benchmarks/natural_faces.py --lfw DIR --output natural
    msanet train --data ferplus:DIR --extra list:natural/faces.csv ...

DIR holds images/ and faces.csv. benchmarks/lfw_votes.csv names rows of faces.csv, from 0, and the votes of three
annotators (copies of the language model that writes this project) who looked at the crops independently of one
another: three votes each, all to one expression, or two to the likelier and one to the other of two. They looked at
faces drawn in three rounds. The first two, 1,623 faces: those with rare weak labels, those that a model gave the most
anger, sadness, surprise, fear or disgust relative to its mean over LFW, and those of which it and the weak label
disagreed or it was unsure; that model was `accurate` of November 2026 first, and the same after three epochs with the
first 867 then. The third: one look at each of the other 7,043 faces picked those that show anything but a plain neutral
or a broad smile, and those of which that look and the model disagree; 200 plain neutral ones were mixed among them.
Faces of which no expression has five of the nine votes are left out. To them come faces drawn at random of which the
weak label and --model agree, neutral and happiness, until there are --common of each.

An eighth of the people, drawn by their names, are the split "validation", on which runs are compared:

    msanet evaluate --data list:natural/faces.csv --split validation --model ...

Nobody of benchmarks/lfw_labels.csv, on which natural.py scores models, is among them.
"""

from __future__ import annotations

import argparse
import csv
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
from natural import central
from PIL import Image

import msanet
from msanet.files import replacing
from msanet.labels import EXPRESSIONS

FOLDER = Path(__file__).parent
ENOUGH = 5
"""Votes of nine for one expression."""

COMMON = ("neutral", "happiness")
SURE = 0.8
"""Probability above which the model agrees with a weak label."""


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def central_crop(recognizer: msanet.Recognizer, path: Path) -> np.ndarray | None:
    """Crop of the face nearest the picture's centre, RGB uint8 [H, W, 3]; None without a face."""
    found = recognizer.find(path)
    if not found.crops or found.picture is None:
        return None
    return found.crops[central(found.picture, found.boxes)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lfw", required=True, type=Path)
    parser.add_argument("--output", required=True, type=Path)
    parser.add_argument("--common", type=int, default=1000, help="pictures of neutral and of happiness")
    parser.add_argument("--model", default="accurate")
    arguments = parser.parse_args()

    faces = rows_of(arguments.lfw / "faces.csv")
    scored = {faces[int(row["row"])]["person"] for row in rows_of(FOLDER / "lfw_labels.csv")}
    recognizer = msanet.Recognizer(arguments.model)
    arguments.output.mkdir(parents=True, exist_ok=True)
    lines: list[dict[str, object]] = []
    counts: Counter[str] = Counter()

    def keep(row: int, crop: np.ndarray, votes: dict[str, float]) -> None:
        with replacing(arguments.output / f"{row:05d}.png") as path:
            Image.fromarray(crop).save(path, "PNG")
        split = "train" if zlib.crc32(faces[row]["person"].encode()) % 8 else "validation"
        lines.append({"picture": f"{row:05d}.png", "split": split, **votes})
        counts[max(votes, key=votes.__getitem__)] += 1

    voted = rows_of(FOLDER / "lfw_votes.csv")
    for line in voted:
        row, votes = int(line["row"]), {name: float(line[name]) for name in EXPRESSIONS}
        if max(votes.values()) < ENOUGH:
            continue
        assert faces[row]["person"] not in scored
        crop = central_crop(recognizer, arguments.lfw / "images" / faces[row]["name"])
        if crop is not None:
            keep(row, crop, votes)

    looked_at = {int(line["row"]) for line in voted}
    for row in np.random.default_rng(0).permutation(len(faces)).tolist():
        weak = faces[row]["label"]
        if all(counts[name] >= arguments.common for name in COMMON):
            break
        unusable = row in looked_at or faces[row]["person"] in scored
        if unusable or weak not in COMMON or counts[weak] >= arguments.common:
            continue
        crop = central_crop(recognizer, arguments.lfw / "images" / faces[row]["name"])
        if crop is None:
            continue
        row_of = recognizer.classify([crop], align=False)[0]
        probabilities = dict(zip(recognizer.expressions, row_of.tolist(), strict=True))
        if probabilities[weak] > SURE:
            keep(row, crop, {name: float(name == weak) for name in EXPRESSIONS})

    with replacing(arguments.output / "faces.csv") as path, path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["picture", "split", *EXPRESSIONS])
        writer.writeheader()
        writer.writerows(lines)
    print(f"{len(lines)} faces:", ", ".join(f"{counts[name]} {name}" for name in EXPRESSIONS))


if __name__ == "__main__":
    main()
