"""The page of an evaluation: scores, confusions, calibration, mistakes and what the network looked at, in one file."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from importlib import metadata as packages
from importlib import resources
from pathlib import Path
from string import Template

import numpy as np
from PIL import Image

from msanet import data
from msanet.drawing.evidence import lay_over
from msanet.files import replacing, to_html
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
    """The page as HTML."""
    report = evaluation.report
    parts = {
        "subsets": ("Subsets", subsets(report)) if report.subsets else None,
        "confusions": ("What is taken for what", confusions(report)),
        "classes": ("Each label", classes(report)),
        "calibration": ("Calibration", calibration(evaluation)),
        "mistakes": ("The most confident mistakes", mistakes(evaluation)),
        "attention": ("What it looks at", attention(evaluation)),
        "facts": ("How it was measured", facts(evaluation)),
    }
    shown = {name: part for name, part in parts.items() if part is not None and part[1]}
    name, reader, _ = data.parse(evaluation.source)
    return Template((resources.files("msanet.measure") / "report.html").read_text(encoding="utf-8")).substitute(
        title=to_html(f"{report.model} on {name}"),
        protocol=to_html(report.protocol),
        summary=to_html(summary(report)),
        figures=figures(report),
        license=to_html(f"{name}: {reader.license}"),
        nav="".join(f'<a href="#{name}">{title}</a>' for name, (title, _) in shown.items()),
        sections="".join(
            f'<section id="{name}" aria-labelledby="{name}-title"><h2 id="{name}-title">{title}</h2>{body}</section>'
            for name, (title, body) in shown.items()
        ),
    )


# -- numbers ----------------------------------------------------------------------------------------------------------


def summary(report: Report) -> str:
    """The report in three sentences."""
    names, recall = report.labels, report.recall
    best, worst = int(np.nanargmax(recall)), int(np.nanargmin(recall))
    right = int(np.trace(report.confusion))
    wrong = report.confusion * ~np.eye(len(names), dtype=bool)
    true, predicted = np.unravel_index(int(wrong.argmax()), wrong.shape)
    sentences = [
        f"{right:,} of {report.num_pictures:,} pictures are named rightly.",
        f"{names[best].capitalize()} is found best ({_share(recall[best])} of {report.pictures[best]:,} pictures), "
        f"{names[worst]} worst ({_share(recall[worst])} of {report.pictures[worst]:,}).",
    ]
    if wrong.any():
        sentences.append(
            f"The most frequent mistake is {names[true]} called {names[predicted]}: "
            f"{wrong[true, predicted]:,} pictures, {_share(wrong[true, predicted] / wrong.sum())} of all mistakes."
        )
    return " ".join(sentences)


def figures(report: Report) -> str:
    """The scores in large type."""
    entries = [
        (MEASURE_TITLES[name], f"{100 * float(value):.2f} %", f"95 %: {_span(report.intervals[name])}")
        for name, value in measures(report.confusion).items()
    ]
    if report.calibration_error is not None:
        entries.append(("Calibration error", f"{100 * report.calibration_error:.2f} %", "expected, over confidences"))
    entries.append(("Pictures", f"{report.num_pictures:,}", f"{len(report.labels)} labels"))
    return "".join(f"<div><dt>{title}</dt><dd>{value}</dd><dd>{note}</dd></div>" for title, value, note in entries)


def subsets(report: Report) -> str:
    """Scores of the whole and of its parts, with their intervals on one scale."""
    reports = {"all": report, **report.subsets}
    names = ("accuracy", "average_accuracy")
    floor = min(low for one in reports.values() for low, _ in (one.intervals[name] for name in names))
    rows = []
    for title, one in reports.items():
        cells = [_score(getattr(one, name), one.intervals[name], floor) for name in names]
        own = ' class="own"' if title.endswith("labels of the list") else ""
        rows.append(f'<tr{own}><th scope="row">{to_html(title)}</th><td>{one.num_pictures:,}</td>{"".join(cells)}</tr>')
    head = _head("", "Pictures", "Accuracy, %", "Average accuracy, %")
    return (
        "<p>Pictures of the published pose and occlusion lists, scored by the data set's labels; below each by the "
        f"labels that the list itself gives. Bars are 95 % intervals, from {100 * floor:.0f} to 100 %.</p>"
        + _table(head, rows, "Scores of the subsets")
    )


def confusions(report: Report) -> str:
    """The confusion matrix, shaded by the share of each true class."""
    shares = report.confusion / np.maximum(report.pictures, 1)[:, None]
    rows = []
    for row, name in enumerate(report.labels):
        cells = []
        for column, other in enumerate(report.labels):
            number, share = int(report.confusion[row, column]), float(shares[row, column])
            kind = ["right"] * (row == column) + ["full"] * (share > 0.75) + ["none"] * (not number)
            text = f"{100 * share:.1f} %<small>{number:,}</small>" if number else "0"
            title = to_html(f"{name} called {other}: {number:,}")
            cells.append(f'<td class="{" ".join(kind)}" style="--share:{share:.3f}" title="{title}">{text}</td>')
        head = f'<th scope="row">{to_html(name)}<br><small class="soft">{report.pictures[row]:,} pictures</small></th>'
        rows.append(f"<tr>{head}{''.join(cells)}</tr>")
    head = _head("True \\ answered", *report.labels)
    note = "<p>Rows are true labels, columns answers. Large: share of the true label; small: pictures.</p>"
    return note + _table(head, rows, "Confusion matrix", "matrix")


def classes(report: Report) -> str:
    """Recall and precision of each label, with intervals."""
    rows = []
    for place, name in enumerate(report.labels):
        cells = [
            _score(float(getattr(report, measure)[place]), report.class_intervals[measure][place], 0.0)
            for measure in ("recall", "precision")
        ]
        wrong = report.confusion[place].copy()
        wrong[place] = 0
        taken = to_html(f"{report.labels[int(wrong.argmax())]} ({wrong.max():,})") if wrong.any() else ""
        rows.append(
            f'<tr><th scope="row">{to_html(name)}</th><td>{report.pictures[place]:,}</td>{"".join(cells)}'
            f'<td class="left">{taken}</td></tr>'
        )
    head = _head("", "Pictures", "Recall, %", "Precision, %", "Most often called")
    note = (
        "<p>Recall: of the pictures of a label, the share found. Precision: of the pictures called so, the share "
        "that are. Bars are 95 % intervals, from 0 to 100 %; few pictures make them wide.</p>"
    )
    return note + _table(head, rows, "Recall and precision")


def calibration(evaluation: Evaluation) -> str:
    """The reliability diagram above the number of pictures at each confidence."""
    bins = reliability(evaluation.probabilities, evaluation.targets)
    confidence = float((bins.pictures * bins.confidence).sum() / bins.pictures.sum())
    rows = [
        f'<tr><th scope="row">{100 * place / BINS:.0f} to {100 * (place + 1) / BINS:.0f} %</th><td>{number:,}</td>'
        f"<td>{100 * bins.confidence[place]:.1f}</td><td>{100 * bins.accuracy[place]:.1f}</td></tr>"
        for place, number in enumerate(bins.pictures.tolist())
        if number
    ]
    table = _table(_head("Confidence", "Pictures", "Mean, %", "Right, %"), rows, "Reliability")
    return (
        f'<div class="pair"><div>{_reliability_chart(bins.pictures, bins.confidence, bins.accuracy)}</div><div>'
        f"<p>When the model says 80 %, is it right in 80 of 100 cases? On the dashed line it is.</p>"
        f"<p>Its mean confidence is {100 * confidence:.1f} %, its accuracy {100 * evaluation.report.accuracy:.1f} %. "
        f"Bin by bin the two lie {100 * bins.error:.1f} % apart (expected calibration error, {BINS} bins).</p>"
        '<p><span class="key" style="background:var(--main)"></span> share that is right '
        '<span class="key" style="background:var(--warm);opacity:.5"></span> distance to the confidence</p>'
        f"<details><summary>The numbers</summary>{table}</details></div></div>"
    )


def _reliability_chart(pictures: np.ndarray, confidence: np.ndarray, accuracy: np.ndarray) -> str:
    left, top, side, low, gap = 44, 8, 380, 70, 42  # pixels: margins, the square, the histogram, what is between them
    width, base = side / len(pictures), top + side + gap + low
    shapes = []
    for place, number in enumerate(pictures.tolist()):
        if not number:
            continue
        x, right, mean = left + place * width + 1, side * accuracy[place], side * confidence[place]
        tall = low * number / pictures.max()
        says = f"{number:,} pictures, mean confidence {_share(confidence[place])}, {_share(accuracy[place])} right"
        shapes.append(
            f"<g><title>{says}</title>"
            f'<rect class="bar" x="{x:.1f}" y="{top + side - right:.1f}" width="{width - 2:.1f}" height="{right:.1f}"/>'
            f'<rect class="gap" x="{x:.1f}" y="{top + side - max(right, mean):.1f}" width="{width - 2:.1f}" '
            f'height="{abs(right - mean):.1f}"/>'
            f'<rect class="bar" x="{x:.1f}" y="{base - tall:.1f}" width="{width - 2:.1f}" height="{tall:.1f}"/></g>'
        )
    marks = [
        f'<text x="{left + side * part / 4}" y="{top + side + 16}" text-anchor="middle">{25 * part} %</text>'
        f'<text x="{left - 6}" y="{top + side * (1 - part / 4) + 4}" text-anchor="end">{25 * part} %</text>'
        for part in range(5)
    ]
    return (
        f'<svg class="chart" role="img" viewBox="0 0 {left + side + 24} {base + 22}" '
        'aria-label="Reliability diagram: share of right answers at each confidence, and below it the pictures">'
        f'<rect class="axis" x="{left}" y="{top}" width="{side}" height="{side}"/>{"".join(shapes)}'
        f'<line class="ideal" x1="{left}" y1="{top + side}" x2="{left + side}" y2="{top}"/>'
        f'<line class="axis" x1="{left}" y1="{base}" x2="{left + side}" y2="{base}"/>{"".join(marks)}'
        f'<text x="{left + side / 2}" y="{top + side + 34}" text-anchor="middle">confidence</text>'
        f'<text x="{left + 8}" y="{top + 18}">right answers</text>'
        f'<text x="{left + side / 2}" y="{base + 16}" text-anchor="middle">pictures at each confidence, '
        f"up to {pictures.max():,}</text></svg>"
    )


# -- pictures ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class View:
    """A picture as the network sees it, and where its answer comes from.

    Args:
        place: of the picture in the evaluation.
        picture: RGB uint8 [THUMBNAIL, THUMBNAIL, 3].
        evidence: label -> float32 [h, w]; empty where the model gives none.
        attention: float32 [B, h, w] of the B branches.
    """

    place: int
    picture: np.ndarray
    evidence: dict[str, np.ndarray]
    attention: np.ndarray


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


def mistakes(evaluation: Evaluation) -> str:
    """The wrong answers of highest confidence, each with the evidence for both labels and the attention."""
    answers = evaluation.probabilities.argmax(axis=1)
    wrong = np.flatnonzero(answers != evaluation.targets)
    order = wrong[np.argsort(-evaluation.probabilities[wrong].max(axis=1), kind="stable")][:MISTAKES]
    cards = []
    for view in views(evaluation, order.tolist()):
        row = evaluation.probabilities[view.place]
        answer, true = (evaluation.report.labels[index] for index in (row.argmax(), evaluation.targets[view.place]))
        sample = evaluation.samples[view.place]
        cards.append(
            f"<li><h3>{to_html(true)} called <s>{to_html(answer)}</s></h3>"
            f"<p>{to_html(answer)} {_share(row.max())}, {to_html(true)} "
            f"{_share(row[evaluation.targets[view.place]])} · {to_html(sample.name)}</p>"
            f"{_tiles(view, branches(evaluation), answer, true)}</li>"
        )
    if not cards:
        return "<p>There is no mistake.</p>"
    return (
        f"<p>The {len(cards)} wrong answers of highest confidence among {len(wrong):,}. Labels are people's opinions: "
        "some of these may be mistakes of the label. Bright marks what speaks most for a label, scaled for each "
        f'picture; dark is least.</p><ul class="cards">{"".join(cards)}</ul>'
    )


def attention(evaluation: Evaluation) -> str:
    """Where the branches look: on average, and for the surest right answer of each label."""
    names = branches(evaluation)
    spread = np.unique(np.linspace(0, len(evaluation.samples) - 1, AVERAGED).round().astype(int)).tolist()
    total, maps, number = np.zeros((THUMBNAIL, THUMBNAIL, 3)), None, 0
    for view in views(evaluation, spread):
        total, number = total + view.picture, number + 1
        maps = view.attention if maps is None else maps + view.attention
    mean = (total / number).round().astype(np.uint8)
    average = "" if maps is None or not len(maps) else _tiles(View(0, mean, {}, maps / number), names)
    cards = []
    for view in views(evaluation, surest(evaluation)):
        label = evaluation.report.labels[evaluation.targets[view.place]]
        share = evaluation.probabilities[view.place].max()
        cards.append(f"<li><h3><b>{to_html(label)}</b> {_share(share)}</h3>{_tiles(view, names, label)}</li>")
    parts = []
    if average:
        parts.append(
            f"<p>Spatial attention of each branch, averaged over {number} pictures, on their mean face. Bright is "
            "where a branch keeps most of its features, each map on its own scale.</p>"
            f'<div class="large">{average}</div>'
        )
    if cards:
        parts.append(f'<p>The surest right answer of each label.</p><ul class="cards">{"".join(cards)}</ul>')
    return "".join(parts)


def surest(evaluation: Evaluation) -> list[int]:
    """For each label the place of the right answer of highest confidence, where there is one."""
    confidence = evaluation.probabilities.max(axis=1)
    right = evaluation.probabilities.argmax(axis=1) == evaluation.targets
    places = []
    for target in range(len(evaluation.report.labels)):
        own = np.flatnonzero(right & (evaluation.targets == target))
        if len(own):
            places.append(int(own[confidence[own].argmax()]))
    return places


def branches(evaluation: Evaluation) -> list[str]:
    """What to call the branches of the network: by their kernels, where the model says them."""
    arguments = evaluation.model.metadata.arguments
    if evaluation.model.metadata.network == "msanet":
        return [f"branch {kernel}x{kernel}" for kernel in arguments.get("kernels", (7, 5, 3))]
    return []


def _tiles(view: View, names: Sequence[str], *labels: str) -> str:
    """The picture, the evidence for these labels and the attention, side by side."""
    tiles = [("picture", view.picture)]
    tiles += [(f"for {name}", _heat(view.picture, view.evidence[name])) for name in labels if name in view.evidence]
    tiles += [
        (names[index] if index < len(names) else f"branch {index + 1}", _heat(view.picture, values))
        for index, values in enumerate(view.attention)
    ]
    figures = [
        f'<figure><img src="{_embedded(picture)}" alt="{to_html(title)}" width="{THUMBNAIL}" height="{THUMBNAIL}">'
        f"<figcaption>{to_html(title)}</figcaption></figure>"
        for title, picture in tiles
    ]
    return f'<div class="tiles">{"".join(figures)}</div>'


def _heat(picture: np.ndarray, values: np.ndarray) -> np.ndarray:
    return lay_over(
        picture, values, np.array([[0, 0], [THUMBNAIL, 0], [THUMBNAIL, THUMBNAIL], [0, THUMBNAIL]], np.float32)
    )


def _embedded(picture: np.ndarray) -> str:
    """RGB uint8 [H, W, 3] as a data URL."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()


# -- the rest ---------------------------------------------------------------------------------------------------------


def facts(evaluation: Evaluation) -> str:
    """What a reader needs to measure it again."""
    metadata = evaluation.model.metadata
    preprocessing = metadata.preprocessing
    entries = {
        "Model": evaluation.report.model,
        "Network": ", ".join([metadata.network, *(f"{name} {value}" for name, value in metadata.arguments.items())]),
        "Input": f"{preprocessing.size} x {preprocessing.size} pixels, {'grey' if preprocessing.gray else 'colour'}"
        + (", both mirror images averaged" if preprocessing.mirror else ""),
        "Temperature": f"{metadata.temperature:.3f}",
        "Protocol": evaluation.report.protocol,
        "Average accuracy": "mean of the recalls of the labels that have pictures",
        "Intervals": "95 %, bootstrap over the pictures",
        "Made": f"{date.today().isoformat()} by msanet {packages.version('msanet')}",
    }
    lines = "".join(f"<dt>{name}</dt><dd>{to_html(str(text))}</dd>" for name, text in entries.items())
    return f'<dl class="facts">{lines}</dl>'


def _head(first: str, *names: str) -> str:
    cells = [f'<th scope="col">{first}</th>' if first else "<td></td>"]
    return "".join([*cells, *(f'<th scope="col">{to_html(name)}</th>' for name in names)])


def _table(head: str, rows: Sequence[str], label: str, kind: str = "") -> str:
    """A table that scrolls by itself where the window is narrow."""
    body = f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody>"
    table = f'<table class="{kind}">{body}</table>'
    return f'<div class="scroll" role="region" aria-label="{label}" tabindex="0">{table}</div>'


def _score(value: float, interval: Sequence[float], floor: float) -> str:
    """A cell: the value, its interval, and a picture of both on the scale `floor` to 1."""
    if np.isnan(value):
        return "<td></td>"
    x, low, high = (4 + 112 * (end - floor) / max(1 - floor, 1e-9) for end in (value, *interval))
    drawing = (
        '<svg class="range" aria-hidden="true" width="120" height="14">'
        f'<line class="track" x1="4" y1="7" x2="116" y2="7"/><line class="span" x1="{low:.1f}" y1="7" x2="{high:.1f}" '
        f'y2="7"/><circle class="dot" cx="{x:.1f}" cy="7" r="4"/></svg>'
    )
    return f'<td>{100 * value:.2f} <small class="soft">({_span(interval)})</small>{drawing}</td>'


def _share(value: float) -> str:
    return f"{100 * value:.0f} %"


def _span(interval: Sequence[float]) -> str:
    return f"{100 * interval[0]:.1f} to {100 * interval[1]:.1f}"
