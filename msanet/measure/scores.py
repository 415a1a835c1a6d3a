"""Scores of predictions: one `Report` with its intervals, tables and confusion picture."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from msanet.errors import InputError, require
from msanet.files import printable, replacing
from msanet.measure.calibration import calibration_error
from msanet.measure.intervals import combined, ends, resample, wilson

MEASURE_TITLES = {"accuracy": "Accuracy", "average_accuracy": "Average accuracy", "macro_f1": "Macro F1"}


def measures(confusion: np.ndarray) -> dict[str, np.ndarray]:
    """Accuracy, average accuracy and macro F1 of any number of confusion matrices at once.

    Average accuracy is the mean of the recalls, macro F1 the mean of the F1 scores; both means go over the classes
    that have pictures. A class without pictures has no recall, so it is left out rather than counted as 0.

    Args:
        confusion: int64 [..., K, K], rows true, columns predicted; each matrix with at least one picture.

    Returns:
        name -> float64 [...], in 0..1.
    """
    correct = np.diagonal(confusion, axis1=-2, axis2=-1)
    pictures = confusion.sum(axis=-1)
    predicted = confusion.sum(axis=-2)
    classes = (pictures > 0).sum(axis=-1)
    # Where a class has no pictures, `correct` is 0: it adds nothing to either sum, and `classes` does not count it.
    recall = correct / np.maximum(pictures, 1)
    f1 = 2 * correct / np.maximum(pictures + predicted, 1)
    return {
        "accuracy": correct.sum(axis=-1) / pictures.sum(axis=-1),
        "average_accuracy": recall.sum(axis=-1) / classes,
        "macro_f1": f1.sum(axis=-1) / classes,
    }


@dataclass(frozen=True, eq=False)
class Report:
    """The result of one evaluation; everything else is computed from the confusion matrix.

    Args:
        labels: names of the K classes.
        confusion: int64 [K, K], number of pictures, rows true, columns predicted.
        protocol: which pictures were scored, and how, in words for people; programs read the fields below.
        model: name or file of the weights.
        calibration_error: expected calibration error in 0..1, None where probabilities were not at hand.
        data: name of the data set; "": unknown.
        split: "train", "validation" or "test"; "": unknown.
        subset: name of the part of the split; None: the whole.
        own_labels: scored by the labels of the subset's list, not by the data set's.
        options: of the data set's reader, where they were not its defaults.
        aligned: pictures that were cut anew along the face that the detector found.
        without_face: pictures in which it found none, left as they are. Both are 0 where the model does not align.
        subsets: name -> report, of parts of these pictures.

    Raises:
        InputError: there is no picture to score.
    """

    labels: tuple[str, ...]
    confusion: np.ndarray
    protocol: str = ""
    model: str = ""
    calibration_error: float | None = None
    data: str = ""
    split: str = ""
    subset: str | None = None
    own_labels: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    aligned: int = 0
    without_face: int = 0
    subsets: Mapping[str, Report] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.confusion.shape != (len(self.labels), len(self.labels)):
            raise ValueError(f"confusion is {self.confusion.shape} for {len(self.labels)} labels")
        if self.num_pictures == 0:
            raise InputError("there is no picture to score: choose another split or subset")

    @property
    def num_pictures(self) -> int:
        """Number of pictures scored."""
        return int(self.confusion.sum())

    @property
    def pictures(self) -> np.ndarray:
        """int64 [K], pictures of each class."""
        return np.asarray(self.confusion.sum(axis=1))

    @property
    def accuracy(self) -> float:
        """Share of the pictures that are predicted correctly."""
        return float(measures(self.confusion)["accuracy"])

    @property
    def average_accuracy(self) -> float:
        """Mean of the recalls of the classes that have pictures."""
        return float(measures(self.confusion)["average_accuracy"])

    @property
    def macro_f1(self) -> float:
        """Mean of the F1 scores of the classes that have pictures."""
        return float(measures(self.confusion)["macro_f1"])

    @property
    def recall(self) -> np.ndarray:
        """float64 [K]: of the pictures of a class, the share predicted so; NaN for a class without pictures."""
        with np.errstate(invalid="ignore"):
            return np.asarray(np.diagonal(self.confusion) / self.confusion.sum(axis=1))

    @property
    def precision(self) -> np.ndarray:
        """float64 [K]: of the pictures predicted so, the share that belongs to the class; NaN where none was."""
        with np.errstate(invalid="ignore"):
            return np.asarray(np.diagonal(self.confusion) / self.confusion.sum(axis=0))

    @cached_property
    def intervals(self) -> dict[str, tuple[float, float]]:
        """95 % intervals (low, high) of accuracy, average accuracy and macro F1, see `msanet.measure.intervals`."""
        found = {}
        shown = self.pictures > 0
        recalls, shares = self.recall[shown], self.pictures[shown] / self.num_pictures
        drawn = measures(self._resamples)
        for name, value in measures(self.confusion).items():
            low, high = ends(drawn[name])
            if np.isin(recalls, (0, 1)).all():  # no resample differs
                weights = shares if name == "accuracy" else 1 / len(recalls)
                low, high = combined(float(value), recalls, self.class_intervals["recall"][shown], weights)
            found[name] = (float(low), float(high))
        return found

    @cached_property
    def class_intervals(self) -> dict[str, np.ndarray]:
        """95 % intervals, Wilson's, of "recall" and "precision", float64 [K, 2]; NaN where the value does not exist."""
        correct = np.diagonal(self.confusion)
        return {
            name: np.array(
                [wilson(*pair) if pair[1] else (np.nan, np.nan) for pair in zip(correct, numbers, strict=True)]
            )
            for name, numbers in (("recall", self.pictures), ("precision", self.confusion.sum(axis=0)))
        }

    @cached_property
    def _resamples(self) -> np.ndarray:
        """int64 [RESAMPLES, K, K], confusion matrices of as many pictures of each class."""
        strata = np.arange(len(self.labels)).repeat(len(self.labels))
        draws = resample(self.confusion.ravel(), strata, np.random.default_rng(0))
        return draws.reshape(-1, *self.confusion.shape)

    def to_dict(self) -> dict[str, Any]:
        """As plain lists, numbers and strings, for JSON; scores in 0..1, None where one does not exist."""
        scores = {name: float(value) for name, value in measures(self.confusion).items()}
        return {
            "model": self.model,
            "data": self.data,
            "split": self.split,
            "subset": self.subset,
            "own_labels": self.own_labels,
            "options": dict(self.options),
            "protocol": self.protocol,
            "num_pictures": self.num_pictures,
            "aligned": self.aligned,
            "without_face": self.without_face,
            **scores,
            "intervals": {name: list(interval) for name, interval in self.intervals.items()},
            "calibration_error": self.calibration_error,
            "labels": list(self.labels),
            "pictures": dict(zip(self.labels, self.pictures.tolist(), strict=True)),
            "recall": dict(zip(self.labels, map(_or_none, self.recall), strict=True)),
            "precision": dict(zip(self.labels, map(_or_none, self.precision), strict=True)),
            "confusion": self.confusion.tolist(),
            "subsets": {name: report.to_dict() for name, report in self.subsets.items()},
        }

    def to_markdown(self) -> str:
        """Tables: scores with their intervals, subsets, classes, confusion matrix. Percentages, except for counts."""
        scores = [
            (MEASURE_TITLES[name], _percent(float(value)), " to ".join(_percent(end) for end in self.intervals[name]))
            for name, value in measures(self.confusion).items()
        ]
        if self.calibration_error is not None:
            scores.append(("Expected calibration error", _percent(self.calibration_error), ""))
        subsets = [
            (
                name,
                str(report.num_pictures),
                *(
                    f"{_percent(float(measures(report.confusion)[measure]))} "
                    f"({' to '.join(_percent(end) for end in report.intervals[measure])})"
                    for measure in ("accuracy", "average_accuracy")
                ),
            )
            for name, report in self.subsets.items()
        ]
        classes = [
            (name, str(number), _percent(recall), _percent(precision))
            for name, number, recall, precision in zip(
                self.labels, self.pictures.tolist(), self.recall, self.precision, strict=True
            )
        ]
        cells = [
            (name, *(str(number) for number in row))
            for name, row in zip(self.labels, self.confusion.tolist(), strict=True)
        ]
        facts = [("Model", self.model), ("Pictures", str(self.num_pictures)), ("Protocol", self.protocol)]
        return "\n".join(
            [
                "# Evaluation",
                "",
                *(f"- {title}: {printable(text)}" for title, text in facts if text),
                "",
                *_table(("Score", "%", "95 % interval"), scores),
                "",
                *_table(("Subset", "Pictures", "Accuracy, %", "Average accuracy, %"), subsets),
                *([""] if subsets else []),
                *_table(("Label", "Pictures", "Recall, %", "Precision, %"), classes),
                "",
                *_table(("True \\ predicted", *self.labels), cells),
                "",
            ]
        )

    def draw(self) -> Any:
        """The confusion matrix as a matplotlib Figure: percentages of each true class, counts beneath.

        Raises:
            InputError: matplotlib is not installed.
        """
        # Figure by itself draws with Agg and leaves pyplot's global state and windows alone.
        side = 8.6 * max(1.0, len(self.labels) / 8)
        figure = require("matplotlib.figure").Figure(figsize=(side, side), dpi=120, layout="constrained")
        figure.get_layout_engine().set(w_pad=0.15, h_pad=0.15)
        shares = self.confusion / np.maximum(self.pictures, 1)[:, None]
        axes = figure.add_subplot()
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for row, column in np.ndindex(shares.shape):
            share, number = shares[row, column], int(self.confusion[row, column])
            color = "white" if share > 0.55 else "#1b2a3a" if number else "#a9b4bf"
            place = {"ha": "center", "color": color}
            bold = "bold" if row == column else "normal"
            if number:
                axes.text(column, row - 0.06, f"{100 * share:.1f}", va="center", fontsize=13, fontweight=bold, **place)
                axes.text(column, row + 0.27, f"{number:,}", va="center", fontsize=8.5, alpha=0.85, **place)
            else:
                axes.text(column, row, "0", va="center", fontsize=10, **place)
        rows = [f"{name}\n{number:,}" for name, number in zip(self.labels, self.pictures.tolist(), strict=True)]
        angle = {"rotation": 30, "ha": "right", "rotation_mode": "anchor"}
        axes.set_xticks(range(len(rows)), self.labels, parse_math=False, **angle)  # "$" is a letter
        axes.set_yticks(range(len(rows)), rows, parse_math=False)
        # Thin white lines between the cells.
        axes.set_xticks(np.arange(len(rows) - 1) + 0.5, minor=True)
        axes.set_yticks(np.arange(len(rows) - 1) + 0.5, minor=True)
        axes.grid(which="minor", color="white", linewidth=2)
        axes.tick_params(which="both", length=0, labelsize=11)
        axes.spines[:].set_visible(False)
        axes.set_xlabel("Predicted", fontsize=12)
        axes.set_ylabel("True, with number of pictures", fontsize=12)
        axes.set_title(
            f"Accuracy {_percent(self.accuracy)} %, average accuracy {_percent(self.average_accuracy)} %",
            loc="left",
            fontsize=14,
            fontweight="bold",
            pad=26,
        )
        axes.text(
            0,
            1.015,
            "Large: % of the true class. Small: pictures.",
            transform=axes.transAxes,
            fontsize=10,
            color="#5a6672",
        )
        return figure

    def save(self, directory: str | os.PathLike[str]) -> Path:
        """Write report.json, report.md and confusion.png; each file appears whole or not at all.

        Returns:
            The directory, made where it was missing.

        Raises:
            InputError: the directory cannot be written, or matplotlib is not installed.
        """
        folder = Path(directory)
        figure = self.draw()
        with replacing(folder / "confusion.png") as path:
            folder.mkdir(parents=True, exist_ok=True)
            figure.savefig(path, format="png")
        with replacing(folder / "report.md") as path:
            path.write_text(self.to_markdown(), encoding="utf-8")
        with replacing(folder / "report.json") as path:
            path.write_text(json.dumps(self.to_dict(), indent=2, allow_nan=False) + "\n", encoding="utf-8")
        return folder


def score(
    probabilities: np.ndarray,
    targets: np.ndarray,
    labels: Sequence[str],
    protocol: str = "",
    model: str = "",
    **facts: Any,
) -> Report:
    """Compare predictions with labels.

    Args:
        probabilities: float32 [N, K], each row summing to 1; the largest names the prediction, the first of equals.
        targets: int64 [N], true class in 0..K-1.
        labels: names of the K classes.
        protocol: which pictures these are, in words.
        model: name or file of the weights.
        facts: further fields of the report: data, split, subset, ...

    Raises:
        InputError: N is 0.
        ValueError: the shapes disagree, a target is out of range or a probability is not a number.
    """
    num_classes = len(labels)
    if probabilities.shape != (len(targets), num_classes) or targets.ndim != 1:
        raise ValueError(f"probabilities {probabilities.shape}, targets {targets.shape}, {num_classes} labels")
    if len(targets) and not 0 <= targets.min() <= targets.max() < num_classes:
        raise ValueError(f"targets reach from {targets.min()} to {targets.max()} for {num_classes} labels")
    if not np.isfinite(probabilities).all():
        raise ValueError("probabilities hold values that are not numbers")
    predicted = probabilities.argmax(axis=1)
    cells = np.bincount(targets.astype(np.int64) * num_classes + predicted, minlength=num_classes**2)
    confusion = cells.reshape(num_classes, num_classes)
    error = calibration_error(probabilities, targets) if len(targets) else None
    return Report(tuple(labels), confusion, protocol, model, error, **facts)


def _percent(value: float) -> str:
    return "" if np.isnan(value) else f"{100 * value:.2f}"


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Markdown lines; the first column is text, the others are numbers. Nothing where there are no rows."""
    if not rows:
        return
    for cells in (head, ["---", *["---:"] * (len(head) - 1)], *rows):
        escaped = (text.replace("|", "\\|") for text in cells)
        yield f"| {' | '.join(escaped)} |"
