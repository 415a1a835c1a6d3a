"""An ablation as tables and as a picture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from msanet.errors import require
from msanet.measure.intervals import LEVEL, RESAMPLES
from msanet.study.cells import MEASURES, SET_TITLES


def to_markdown(report: Mapping[str, Any]) -> str:
    """The report as tables, scores in percent and differences in percentage points."""
    rows = [row for row in report["rows"] if row["seeds"]]
    waiting = [
        f"{row['name']} ({', '.join(map(str, row['unfinished']))})" for row in report["rows"] if row["unfinished"]
    ]
    pictures = ", ".join(f"{SET_TITLES[name]} {number:,}" for name, number in report["pictures"].items())
    costs = [
        (
            row["name"],
            row["network"],
            ", ".join(row["settings"]),
            ", ".join(f"{side}x{side}" for side in row["maps"]),
            f"{row['parameters'] / 1e6:.2f} M",
            f"{row['multiply_adds'] / 1e9:.2f} G",
            f"{row['seconds'] / 60:.0f}",
        )
        for row in rows
    ]
    lines = [
        "# Ablation",
        "",
        f"- Data: {report['data']}; pictures: {pictures}",
        f"- Recipe: {recipe_of(report)}, changed by each row's settings; weights of the best epoch on validation",
        "- ± is the standard deviation over the seeds; a row without it has one seed",
        f"- Intervals: {100 * LEVEL:.0f} %, paired bootstrap over seeds and, within each true class, test pictures "
        f"({RESAMPLES:,} resamples); where a row has one seed, the interval does not cover its choice",
        *([f"- Seeds not finished: {'; '.join(waiting)}"] if waiting else []),
        "",
        *table(("Row", "Network", "Settings", "Maps", "Parameters", "Multiply-adds", "Minutes, fastest run"), costs),
    ]
    for measure, title in MEASURES.items():
        sets = [name for name in SET_TITLES if name in report["pictures"]]
        scores = [
            (row["name"], str(len(row["seeds"])), *(in_percent(row["scores"].get(name), measure) for name in sets))
            for row in rows
        ]
        compared = [
            (row["name"], other, *(in_points(found.get(name), measure) for name in sets))
            for row in rows
            for other, found in row["differences"].items()
        ]
        heads = [SET_TITLES[name] for name in sets]
        lines += ["", f"## {title}, %", "", *table(("Row", "Seeds", *heads), scores)]
        if compared:
            lines += ["", f"## Difference in {title.lower()}, points", "", *table(("Row", "Against", *heads), compared)]
    return "\n".join([*lines, ""])


def recipe_of(report: Mapping[str, Any]) -> str:
    """The recipe of all rows, in words."""
    return f"{report['recipe']} with {', '.join(report['settings'])}" if report["settings"] else str(report["recipe"])


def in_percent(scores: Mapping[str, Any] | None, measure: str) -> str:
    """Mean ± deviation."""
    if scores is None:
        return ""
    entry = scores[measure]
    deviation = "" if entry["deviation"] is None else f" ± {100 * entry['deviation']:.2f}"
    return f"{100 * entry['mean']:.2f}{deviation}"


def in_points(compared: Mapping[str, Any] | None, measure: str) -> str:
    """Difference (lower to upper end)."""
    if compared is None:
        return ""
    difference, low, high = (100 * value for value in compared[measure])
    return f"{difference:+.2f} ({low:+.2f} to {high:+.2f})"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Lines of a Markdown table."""
    for cells in (head, ["---"] * len(head), *rows):
        yield f"| {' | '.join(cells)} |"


def draw(report: Mapping[str, Any]) -> Any:
    """The scores as a matplotlib Figure: a dot for each seed, a bar for their mean, a panel for each measure and set.

    Raises:
        InputError: matplotlib is not installed.
    """
    rows = [row for row in report["rows"] if row["seeds"]]
    sets = [name for name in SET_TITLES if name in report["pictures"]]
    size = (2.6 + 2.4 * len(sets), 0.4 + len(MEASURES) * (0.9 + 0.28 * len(rows)))
    figure = require("matplotlib.figure").Figure(figsize=size, dpi=120, layout="constrained")
    panels = figure.subplots(len(MEASURES), len(sets), squeeze=False, sharey=True)
    for line, (measure, title) in zip(panels, MEASURES.items(), strict=True):
        for axes, name in zip(line, sets, strict=True):
            for place, row in enumerate(rows):
                if name not in row["scores"]:
                    continue
                entry = row["scores"][name][measure]
                values = [100 * value for value in entry["values"]]
                axes.plot(values, [place] * len(values), "o", color="#1f5f99", alpha=0.55, markersize=5, mew=0)
                axes.plot([100 * entry["mean"]], [place], "|", color="#0b2a45", markersize=13, mew=2.2)
            axes.set_title(f"{title}, %\n{SET_TITLES[name]} ({report['pictures'][name]:,})", fontsize=9.5)
            axes.tick_params(labelsize=8.5, length=0)
            axes.grid(color="#e4e9ee")
            axes.set_axisbelow(True)
            axes.spines[:].set_visible(False)
        line[0].set_yticks(range(len(rows)), [row["name"] for row in rows])
        line[0].set_ylim(len(rows) - 0.5, -0.5)
    figure.suptitle(f"Ablation on {report['data']}: dots are seeds, bars their mean", x=0.01, ha="left", fontsize=11)
    return figure
