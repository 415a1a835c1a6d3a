"""The page of an evaluation: scores, confusions, calibration, mistakes and what the network looked at, in one file.

Here is what it says, in report.html how it looks. Names of models, labels, data sets and files may come from anywhere,
so nothing here makes HTML: the template escapes all that it is given.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from importlib import metadata as packages
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, StrictUndefined
from PIL import Image

from msanet import data
from msanet.drawing.evidence import lay_over
from msanet.files import printable, replacing
from msanet.measure.calibration import BINS, reliability
from msanet.measure.evaluate import Evaluation
from msanet.measure.scores import MEASURE_TITLES, Report, measures

MISTAKES = 12
"""Mistakes shown, the most confident first."""

AVERAGED = 128
"""Pictures over which the attention is averaged, evenly spread over the data set."""

THUMBNAIL = 160  # pixels of a picture's side in the page
BATCH = 32  # pictures that go through the network at once when it explains itself


def write(path: Path, evaluation: Evaluation) -> None:
    """Write the page, whole or not at all. It holds all that it shows, pictures of the data set included.

    Raises:
        InputError: the file cannot be written, or a picture cannot be read.
    """
    text = page(evaluation)
    with replacing(path) as temporary:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text, encoding="utf-8")


def page(evaluation: Evaluation) -> str:
    """The page as HTML. A part that a model gives nothing for, such as evidence, is left out."""
    report = evaluation.report
    name, reader, _ = data.parse(evaluation.source)
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        finalize=lambda value: printable(value) if type(value) is str else value,  # not what a macro made
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "share": share}
    template = environment.from_string((resources.files("msanet.measure") / "report.html").read_text(encoding="utf-8"))
    return template.render(
        report=report,
        title=f"{report.model} on {name}",
        license=f"{name}: {reader.license}",
        summary=summary(report),
        figures=figures(report),
        subsets=subsets(report),
        confusions=confusions(report),
        classes=classes(report),
        calibration=calibration(evaluation),
        mistakes=mistakes(evaluation),
        attention=attention(evaluation),
        facts=facts(evaluation),
    )


def percent(value: float) -> str:
    """0.1234 -> 12.34."""
    return f"{100 * value:.2f}"


def share(value: float) -> str:
    """0.1234 -> 12 %."""
    return f"{100 * value:.0f} %"


# -- numbers ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Range:
    """A score with its interval, on a scale from `floor` to 1."""

    value: float
    low: float
    high: float
    floor: float = 0.0

    def place(self, score: float) -> float:
        """Of a score on a line from 4 to 116, in pixels."""
        return 4 + 112 * (score - self.floor) / max(1 - self.floor, 1e-9)


def summary(report: Report) -> str:
    """The report in three sentences."""
    names, recall = report.labels, report.recall
    best, worst = int(np.nanargmax(recall)), int(np.nanargmin(recall))
    wrong = report.confusion * ~np.eye(len(names), dtype=bool)
    true, predicted = np.unravel_index(int(wrong.argmax()), wrong.shape)
    sentences = [
        f"{int(np.trace(report.confusion)):,} of {report.num_pictures:,} predictions are correct.",
        f"The recall is highest for {names[best]} ({share(recall[best])} of {report.pictures[best]:,} pictures), "
        f"lowest for {names[worst]} ({share(recall[worst])} of {report.pictures[worst]:,}).",
    ]
    if wrong.any():
        sentences.append(
            f"The most frequent mistake is {names[true]} predicted as {names[predicted]}: "
            f"{wrong[true, predicted]:,} pictures, {share(wrong[true, predicted] / wrong.sum())} of all mistakes."
        )
    return " ".join(sentences)


def figures(report: Report) -> list[tuple[str, str, str]]:
    """The scores in large type: title, value, note."""
    entries = []
    for name, value in measures(report.confusion).items():
        low, high = report.intervals[name]
        entries.append(
            (MEASURE_TITLES[name], f"{percent(float(value))} %", f"95 %: {100 * low:.1f} to {100 * high:.1f}")
        )
    if report.calibration_error is not None:
        entries.append(("Calibration error", f"{percent(report.calibration_error)} %", "expected, over confidences"))
    return [*entries, ("Pictures", f"{report.num_pictures:,}", f"{len(report.labels)} labels")]


def subsets(report: Report) -> dict[str, Any] | None:
    """Scores of the whole and of its parts, with their intervals on one scale; None where there are no parts."""
    if not report.subsets:
        return None
    reports = {"all": report, **report.subsets}
    names = ("accuracy", "average_accuracy")
    floor = min(one.intervals[name][0] for one in reports.values() for name in names)
    rows = [
        (title, one, [Range(getattr(one, name), *one.intervals[name], floor) for name in names])
        for title, one in reports.items()
    ]
    return {"floor": floor, "rows": rows}


def confusions(report: Report) -> list[tuple[str, int, list[dict[str, Any]]]]:
    """The confusion matrix: a label, its pictures, and a cell for each prediction, with its share of them."""
    shares = report.confusion / np.maximum(report.pictures, 1)[:, None]
    return [
        (
            name,
            int(report.pictures[row]),
            [
                {"label": other, "number": int(report.confusion[row, column]), "share": float(shares[row, column])}
                for column, other in enumerate(report.labels)
            ],
        )
        for row, name in enumerate(report.labels)
    ]


def classes(report: Report) -> list[dict[str, Any]]:
    """Recall and precision of each label with intervals (None where there is none), and its most frequent mistake."""
    rows = []
    for place, name in enumerate(report.labels):
        ranges = [
            None
            if np.isnan(getattr(report, measure)[place])
            else Range(float(getattr(report, measure)[place]), *map(float, report.class_intervals[measure][place]))
            for measure in ("recall", "precision")
        ]
        wrong = report.confusion[place].copy()
        wrong[place] = 0
        mistake = (report.labels[int(wrong.argmax())], int(wrong.max())) if wrong.any() else None
        rows.append({"label": name, "pictures": int(report.pictures[place]), "ranges": ranges, "mistake": mistake})
    return rows


def calibration(evaluation: Evaluation) -> dict[str, Any]:
    """The reliability diagram: confidence and accuracy of the bins that have pictures."""
    bins = reliability(evaluation.probabilities, evaluation.targets)
    rows = [
        {
            "place": place,
            "pictures": number,
            "confidence": float(bins.confidence[place]),
            "accuracy": float(bins.accuracy[place]),
        }
        for place, number in enumerate(bins.pictures.tolist())
        if number
    ]
    confidence = float((bins.pictures * bins.confidence).sum() / bins.pictures.sum())
    return {"bins": BINS, "rows": rows, "most": int(bins.pictures.max()), "confidence": confidence, "error": bins.error}


# -- pictures ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class View:
    """A picture as the network sees it, and where its prediction comes from.

    Args:
        place: of the picture in the evaluation.
        picture: RGB uint8 [THUMBNAIL, THUMBNAIL, 3].
        evidence: label -> float32 [h, w]; empty where the model gives none.
        attention: float32 [B, h, w] of the B branches; B is 0 where the model gives none.
    """

    place: int
    picture: np.ndarray
    evidence: dict[str, np.ndarray]
    attention: np.ndarray


Tile = tuple[str, str]
"""A picture's title, and itself as a data URL."""


def views(evaluation: Evaluation, places: Sequence[int]) -> Iterator[View]:
    """The pictures at these places of the evaluation, explained."""
    metadata = evaluation.model.metadata
    for start in range(0, len(places), BATCH):
        chunk = places[start : start + BATCH]
        crops = [evaluation.samples[place].crop() for place in chunk]
        evidence, attention = evaluation.model.explain(crops)
        for index, (place, crop) in enumerate(zip(chunk, crops, strict=True)):
            seen = metadata.preprocessing.center(metadata.preprocessing.fit(crop))
            tile = np.asarray(Image.fromarray(seen).resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BICUBIC))
            maps = dict(zip(metadata.expressions, evidence[index], strict=False))
            yield View(place, tile, maps, attention[index])


def mistakes(evaluation: Evaluation) -> dict[str, Any]:
    """The wrong predictions of highest confidence, each with the evidence for both labels and the attention."""
    predicted = evaluation.probabilities.argmax(axis=1)
    wrong = np.flatnonzero(predicted != evaluation.targets)
    order = wrong[np.argsort(-evaluation.probabilities[wrong].max(axis=1), kind="stable")][:MISTAKES]
    cards, explained = [], False
    for view in views(evaluation, order.tolist()):
        row, target = evaluation.probabilities[view.place], evaluation.targets[view.place]
        answer, true = evaluation.report.labels[int(row.argmax())], evaluation.report.labels[target]
        explained = explained or bool(view.evidence) or len(view.attention) > 0
        cards.append(
            {
                "true": true,
                "predicted": answer,
                "probabilities": (float(row.max()), float(row[target])),
                "file": evaluation.samples[view.place].name,
                "tiles": tiles(view, branches(evaluation), answer, true),
            }
        )
    return {"number": len(wrong), "cards": cards, "explained": explained}


def attention(evaluation: Evaluation) -> dict[str, Any] | None:
    """Where the branches look on average, and what the surest correct prediction of each label rests on.

    None where the model gives neither evidence nor attention.
    """
    names = branches(evaluation)
    spread = np.unique(np.linspace(0, len(evaluation.samples) - 1, AVERAGED).round().astype(int)).tolist()
    seen = views(evaluation, spread)
    first = next(seen)
    if not first.evidence and not len(first.attention):
        return None
    average: list[Tile] = []
    if len(first.attention):
        total, maps = first.picture.astype(np.float64), first.attention
        for view in seen:
            total, maps = total + view.picture, maps + view.attention
        mean = (total / len(spread)).round().astype(np.uint8)
        average = tiles(View(0, mean, {}, maps / len(spread)), names)
    cards = []
    for view in views(evaluation, surest(evaluation)):
        label = evaluation.report.labels[evaluation.targets[view.place]]
        confidence = float(evaluation.probabilities[view.place].max())
        cards.append({"label": label, "confidence": confidence, "tiles": tiles(view, names, label)})
    return {"average": average, "number": len(spread), "cards": cards}


def surest(evaluation: Evaluation) -> list[int]:
    """For each label the place of the correct prediction of highest confidence, where there is one."""
    confidence = evaluation.probabilities.max(axis=1)
    correct = evaluation.probabilities.argmax(axis=1) == evaluation.targets
    places = []
    for target in range(len(evaluation.report.labels)):
        own = np.flatnonzero(correct & (evaluation.targets == target))
        if len(own):
            places.append(int(own[confidence[own].argmax()]))
    return places


def branches(evaluation: Evaluation) -> list[str]:
    """What to call the branches of the network: by their kernels, where the model says them."""
    arguments = evaluation.model.metadata.arguments
    if evaluation.model.metadata.network == "msanet":
        return [f"branch {kernel}x{kernel}" for kernel in arguments.get("kernels", (7, 5, 3))]
    return []


def tiles(view: View, names: Sequence[str], *labels: str) -> list[Tile]:
    """The picture, the evidence for these labels and the attention, one after the other."""
    corners = np.array([[0, 0], [THUMBNAIL, 0], [THUMBNAIL, THUMBNAIL], [0, THUMBNAIL]], np.float32)
    maps = [(f"for {name}", view.evidence[name]) for name in labels if name in view.evidence]
    maps += [
        (names[index] if index < len(names) else f"branch {index + 1}", values)
        for index, values in enumerate(view.attention)
    ]
    heated = [(title, lay_over(view.picture, values, corners)) for title, values in maps]
    return [(title, embedded(picture)) for title, picture in [("picture", view.picture), *heated]]


def embedded(picture: np.ndarray) -> str:
    """RGB uint8 [H, W, 3] as a data URL."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()


# -- the rest ---------------------------------------------------------------------------------------------------------


def facts(evaluation: Evaluation) -> dict[str, str]:
    """What a reader needs to measure it again."""
    metadata = evaluation.model.metadata
    preprocessing = metadata.preprocessing
    return {
        "Model": evaluation.report.model,
        "Network": ", ".join([metadata.network, *(f"{name} {value}" for name, value in metadata.arguments.items())]),
        "Input": f"{preprocessing.size} x {preprocessing.size} pixels, {'grey' if preprocessing.gray else 'colour'}"
        + (", both mirror images averaged" if preprocessing.mirror else ""),
        "Temperature": f"{metadata.temperature:.3f}",
        "Protocol": evaluation.report.protocol,
        "Average accuracy": "mean of the recalls of the labels that have pictures",
        "Intervals": "95 %; of scores by bootstrap, pictures drawn within each true label; of each label by Wilson",
        "Made": f"{date.today().isoformat()} by msanet {packages.version('msanet')}",
    }
