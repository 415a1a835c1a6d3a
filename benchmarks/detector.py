"""Recall and time of the face detector: faces pasted into pictures at several sizes and turns.

    python benchmarks/detector.py --lfw DIR --pictures 100

DIR holds images/ with one centred face each (LFW, 150 x 150). The backgrounds are smooth noise, without faces.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import cv2
import numpy as np

from msanet import images
from msanet.faces.detector import FaceDetector

WIDTH, HEIGHT, FACE = 640, 480, 0.8  # the face fills about so much of an LFW picture's side


def paste(face: np.ndarray, share: float, angle: float, rng: np.random.Generator) -> np.ndarray:
    """The face in the middle of a picture, `share` of its long side high, turned by `angle` degrees."""
    side = share * WIDTH / FACE
    turn = cv2.getRotationMatrix2D((face.shape[1] / 2, face.shape[0] / 2), angle, side / face.shape[0])
    matrix = np.asarray(turn, np.float64)
    matrix[:, 2] += np.array([WIDTH, HEIGHT]) / 2 - np.array(face.shape[1::-1]) / 2
    coarse = rng.integers(256, size=(6, 8, 3), dtype=np.uint8)
    picture = cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    smooth = cv2.GaussianBlur(face, (0, 0), max(0.1, 0.4 * face.shape[0] / side))
    warped = cv2.warpAffine(smooth, matrix, (WIDTH, HEIGHT))
    inside = cv2.warpAffine(np.full(face.shape[:2], 255, np.uint8), matrix, (WIDTH, HEIGHT))
    picture[inside > 0] = warped[inside > 0]
    return picture


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lfw", required=True, type=Path)
    parser.add_argument("--pictures", type=int, default=100)
    parser.add_argument("--size", type=int, default=640)
    arguments = parser.parse_args()

    rng = np.random.default_rng(0)
    paths = rng.permutation(sorted((arguments.lfw / "images").glob("*.jpg")))[: arguments.pictures]
    faces = [images.read(str(path)) for path in paths]
    detector = FaceDetector(size=arguments.size)
    print("face", "turn", "found", "others", "median roll error", "median ms", sep="\t")
    for share in (0.3, 0.15, 0.08, 0.05):
        for angle in (0, 15, 30, 60, 90, 180):
            found, others, errors, times = 0, 0, [], []
            for face in faces:
                picture = paste(face, share, angle, rng)
                start = time.perf_counter()
                boxes, _, landmarks = detector(picture)
                times.append(time.perf_counter() - start)
                middle = (boxes[:, :2] + boxes[:, 2:]) / 2
                near = np.hypot(*(middle - [WIDTH / 2, HEIGHT / 2]).T) < share * WIDTH / 3
                found, others = found + bool(near.any()), others + int((~near).sum())
                if near.any():
                    right, left = landmarks[near.argmax()][:2]
                    roll = np.degrees(np.arctan2(right[1] - left[1], left[0] - right[0]))
                    errors.append(abs((roll - angle + 180) % 360 - 180))
            row = (
                f"{100 * found / len(faces):.0f} %",
                others,
                f"{np.median(errors):.1f}",
                f"{1000 * np.median(times):.1f}",
            )
            print(f"{share:.0%}", angle, *row, sep="\t", flush=True)


if __name__ == "__main__":
    main()
