"""How accuracy falls when the faces of a labelled set are degraded or moved.

    python benchmarks/robustness.py --models accurate fast --data ferplus:DIR [--split validation] [--pictures 800]

Each change is made to the data set's own crop, before it is aligned and preprocessed in evaluation's own way.
Signed changes (rotation, shift, brightness) are made half the pictures one way, half the other.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
from matplotlib.figure import Figure

import msanet
from msanet import data, preprocessing
from msanet.faces.aligner import Aligner

Change = Callable[[np.ndarray, float, int], np.ndarray]


def blur(crop: np.ndarray, sigma: float, sign: int) -> np.ndarray:
    return preprocessing.blur(crop, sigma / 48)


def jpeg(crop: np.ndarray, quality: float, sign: int) -> np.ndarray:
    return preprocessing.compress(crop, int(quality))


def brightness(crop: np.ndarray, amount: float, sign: int) -> np.ndarray:
    return (crop + 255.0 * sign * amount).clip(0, 255).astype(np.uint8)


def contrast(crop: np.ndarray, factor: float, sign: int) -> np.ndarray:
    return ((crop - crop.mean()) * factor + crop.mean()).clip(0, 255).astype(np.uint8)


def cast(crop: np.ndarray, amount: float, sign: int) -> np.ndarray:
    return (crop * np.array([1 + sign * amount, 1, 1 - sign * amount])).clip(0, 255).astype(np.uint8)


def moved(crop: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Apply an affine map [2, 2] round the centre, or [2, 3] with a shift in parts of the side."""
    height, width = crop.shape[:2]
    middle, linear = np.array([width - 1, height - 1]) / 2, matrix[:, :2]
    shift = matrix[:, 2] * (width, height) if matrix.shape[1] == 3 else 0
    full = np.hstack([linear, (middle - linear @ middle + shift)[:, None]])
    return cv2.warpAffine(crop, full, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def rotation(crop: np.ndarray, degrees: float, sign: int) -> np.ndarray:
    angle = np.deg2rad(sign * degrees)
    return moved(crop, np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]))


def scale(crop: np.ndarray, factor: float, sign: int) -> np.ndarray:
    return moved(crop, factor * np.eye(2))


def shift(crop: np.ndarray, part: float, sign: int) -> np.ndarray:
    return moved(crop, np.array([[1, 0, sign * part], [0, 1, sign * part]]))


def mirror(crop: np.ndarray, on: float, sign: int) -> np.ndarray:
    return np.ascontiguousarray(crop[:, ::-1])


def bar(crop: np.ndarray, height: float, sign: int) -> np.ndarray:
    """A black bar across the face, over the eyes in half of the pictures, over the mouth in the others."""
    crop, side = crop.copy(), crop.shape[0]
    middle = 0.37 if sign > 0 else 0.77
    crop[int((middle - height / 2) * side) : int((middle + height / 2) * side)] = 0
    return crop


def glasses(crop: np.ndarray, radius: float, sign: int) -> np.ndarray:
    """Dark round glasses where the eyes of a frontal face lie."""
    crop, side = crop.copy(), crop.shape[0]
    eyes = [(int(0.3 * side), int(0.37 * side)), (int(0.7 * side), int(0.37 * side))]
    for eye in eyes:
        cv2.circle(crop, eye, int(radius * side), (20, 20, 20), -1, cv2.LINE_AA)
    cv2.line(crop, eyes[0], eyes[1], (20, 20, 20), max(side // 24, 1), cv2.LINE_AA)
    return crop


CHANGES: dict[str, tuple[Change, tuple[float, ...]]] = {
    "blur, sigma in 1/48 of the side": (blur, (0.5, 1, 1.5, 2, 3)),
    "JPEG quality": (jpeg, (50, 30, 20, 10, 5)),
    "brightness, up or down": (brightness, (0.1, 0.2, 0.3, 0.4)),
    "contrast, factor": (contrast, (0.25, 0.5, 1.5, 2)),
    "colour cast, red against blue": (cast, (0.1, 0.2, 0.4)),
    "rotation, degrees either way": (rotation, (5, 10, 15, 20, 25, 30)),
    "scale, factor": (scale, (0.8, 0.87, 0.93, 1.08, 1.16, 1.25)),
    "shift, part of the side": (shift, (0.025, 0.05, 0.1, 0.15)),
    "black bar, part of the height": (bar, (0.1, 0.2, 0.3)),
    "dark glasses, radius in parts of the side": (glasses, (0.08, 0.12, 0.16)),
    "mirrored": (mirror, (1,)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["accurate"])
    parser.add_argument("--data", required=True, metavar="NAME:DIR")
    parser.add_argument("--split", default="test")
    parser.add_argument("--pictures", type=int, help="as many, evenly spaced over the split, in place of all")
    parser.add_argument("--output", type=Path, help="a picture of the curves")
    arguments = parser.parse_args()

    samples = data.read(arguments.data, arguments.split)
    number = min(arguments.pictures or len(samples), len(samples))
    samples = [samples[index] for index in np.linspace(0, len(samples) - 1, number).round().astype(int)]
    crops = [sample.crop() for sample in samples]
    recognizers = {model: msanet.Recognizer(model) for model in arguments.models}

    pool = ThreadPoolExecutor()
    wanted = [recognizer.preprocessing for recognizer in recognizers.values()]
    aligners = {own.framing: Aligner(own.framing) for own in wanted if own.align}  # models of one framing share them

    def accuracies(change: Change | None, level: float) -> list[float]:
        changed = [change(crop, level, 1 - 2 * (k % 2)) for k, crop in enumerate(crops)] if change else crops
        placed = {framing: list(pool.map(aligner.align, changed)) for framing, aligner in aligners.items()}
        scores = []
        for recognizer in recognizers.values():
            own = recognizer.preprocessing
            named = recognizer.classify(placed[own.framing] if own.align else changed, align=False).argmax(axis=1)
            right = [
                recognizer.expressions[index] == sample.label for index, sample in zip(named, samples, strict=True)
            ]
            scores.append(100 * float(np.mean(right)))
        return scores

    print(f"{arguments.data.partition(':')[0]}, {arguments.split} split, {len(samples)} pictures; accuracy, %\n")
    print("| change | level |", " | ".join(recognizers), "|")
    print("| --- | ---: |", " | ".join("---:" for _ in recognizers), "|")
    unchanged = accuracies(None, 0)
    print("| none | |", " | ".join(f"{score:.2f}" for score in unchanged), "|", flush=True)
    figure = Figure(figsize=(13, 9), layout="constrained")
    panels = figure.subplots(3, 4, sharey=True).ravel()
    for panel, (name, (change, levels)) in zip(panels, CHANGES.items(), strict=False):
        curves = []
        for level in levels:
            curves.append(accuracies(change, level))
            print(f"| {name} | {level:g} |", " | ".join(f"{score:.2f}" for score in curves[-1]), "|", flush=True)
        for model, base, curve in zip(recognizers, unchanged, zip(*curves, strict=True), strict=True):
            line = panel.plot(levels, curve, marker="o", label=model)[0]
            panel.axhline(base, color=line.get_color(), linewidth=0.8, linestyle=":")
        panel.set_title(name, fontsize=10)
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("accuracy, %")
    panels[-1].axis("off")
    panels[-1].legend(*panels[0].get_legend_handles_labels(), title="dotted: unchanged", loc="center")
    if arguments.output:
        figure.savefig(arguments.output, dpi=110)


if __name__ == "__main__":
    main()
