"""Scores measured here beside scores as printed in papers; each row says which of the two it is."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from msanet import data, weights
from msanet.errors import InputError
from msanet.files import replacing
from msanet.model import METADATA_KEY
from msanet.study.cells import MEASURES, SET_TITLES
from msanet.study.tables import recipe_of, table

MEASURED = "measured here"
FILES = ("report.json", "ablation.json")
REPORT_FIELDS = {"confusion", "labels", "model", "data", "split", "subset", "own_labels", "options", "intervals"}
ABLATION_FIELDS = {"rows", "data", "recipe", "settings"}


def compare(name: str, results: Sequence[Path] = ()) -> dict[str, Any]:
    """All that is known of a data set, for JSON.

    Args:
        name: of the data set.
        results: files report.json (of `msanet evaluate`) and ablation.json, or folders to be searched for them.

    Returns:
        "rows" and "differences", the measured ones first. Every entry has "from": `MEASURED`, or "as printed in" a
        paper. Scores are in percent and differences in percentage points: set -> measure -> "value", where known with
        "interval" [low, high] (95 %) or "deviation" over "seeds".

    Raises:
        InputError: no such data set, or a file is missing or not one of the two.
    """
    if name not in data.READERS:
        raise InputError(f"there is no data set {name!r}: choose one of {', '.join(data.READERS)}")
    rows: dict[tuple[str, int, str], dict[str, Any]] = {}
    changes: list[dict[str, Any]] = []
    for report in shipped_reports():
        add_report(rows, name, report)
    for path in result_files(results):
        content = read_json(path)
        if "confusion" in content:
            add_report(rows, name, content)
        elif content["data"] == name:
            ablation_rows, ablation_changes = from_ablation(content)
            rows |= ablation_rows
            changes += ablation_changes
    printed, printed_changes = from_papers(name)
    return {"data": name, "rows": [*rows.values(), *printed], "differences": [*changes, *printed_changes]}


def shipped_reports() -> Iterator[dict[str, Any]]:
    """The evaluation reports in the metadata of the models that come with the package."""
    for path in sorted(Path(str(resources.files("msanet") / "pretrained")).glob("*.safetensors")):
        metadata = json.loads(weights.load_tensors(path)[1][METADATA_KEY])
        yield from metadata["scores"].values()


def result_files(paths: Sequence[Path]) -> Iterator[Path]:
    """The files themselves, and those in the folders."""
    for path in paths:
        found = sorted(file for name in FILES for file in path.rglob(name)) if path.is_dir() else [path]
        if not found:
            raise InputError(f"{path} holds no {' or '.join(FILES)}: give what msanet evaluate or ablate wrote")
        yield from found


def read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): give another file") from None
    except ValueError:  # no JSON, or no UTF-8
        content = None
    if isinstance(content, dict) and any(set(content) >= fields for fields in (REPORT_FIELDS, ABLATION_FIELDS)):
        return content
    raise InputError(f"{path} is neither a report.json nor an ablation.json of msanet: give what this version writes")


def add_report(rows: dict[tuple[str, int, str], dict[str, Any]], name: str, report: Mapping[str, Any]) -> None:
    """Put a report of the data set's test split or of a subset, and the reports in it, into the row of its model.

    Subsets scored by their lists' own labels have another protocol, and are left out. Other options of the reader make
    a row of their own.
    """
    for part in report.get("subsets", {}).values():
        add_report(rows, name, part)
    if report["data"] != name or report["split"] != "test" or report["own_labels"]:
        return
    options = ", ".join(f"{option}={value}" for option, value in report["options"].items())
    system, classes = report["model"], len(report["labels"])
    row = rows.setdefault(
        (system, classes, options),
        {"system": system, "classes": classes, "from": MEASURED, "scores": {}, "note": options},
    )
    row["scores"][report["subset"] or "test"] = {
        measure: {
            "value": 100 * report[measure],
            "interval": [100 * end for end in report["intervals"][measure]],
        }
        for measure in MEASURES
    }


def from_ablation(
    report: Mapping[str, Any],
) -> tuple[dict[tuple[str, int, str], dict[str, Any]], list[dict[str, Any]]]:
    """Rows and differences of an ablation.json."""
    rows, changes = {}, []
    for row in report["rows"]:
        number = len(row["seeds"])
        if not number:
            continue
        system = f"{row['name']} (ablation)"
        note = f"recipe {recipe_of(report)}, {number} seed{'s' if number > 1 else ''}"
        rows[system, row["classes"], note] = {
            "system": system,
            "classes": row["classes"],
            "from": MEASURED,
            "scores": {
                part: {measure: in_hundreds(measures[measure]) | {"seeds": number} for measure in MEASURES}
                for part, measures in row["scores"].items()
            },
            "note": note,
        }
        for other, parts in row["differences"].items():
            scores = {}
            for part, measures in parts.items():
                difference, *interval = (100 * value for value in measures["accuracy"])
                scores[part] = {"value": difference, "interval": interval}
            changes.append({"change": f"{row['name']} against {other}", "from": MEASURED, "scores": scores})
    return rows, changes


def in_hundreds(entry: Mapping[str, Any]) -> dict[str, float]:
    """An ablation's mean and deviation in percent; one seed has no deviation."""
    parts = {"value": entry["mean"], "deviation": entry["deviation"]}
    return {name: 100 * value for name, value in parts.items() if value is not None}


def from_papers(name: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows and differences of published.yaml for a data set, in the file's order."""
    published = yaml.safe_load((resources.files("msanet.study") / "published.yaml").read_text(encoding="utf-8"))

    def origin(entry: Mapping[str, Any]) -> dict[str, Any]:
        paper = published["papers"][entry["printed_in"]]
        return {
            "from": f"as printed in {paper['cite'].split(',')[0]} ({paper['year']}), {entry['place']}",
            "source": paper,
        }

    rows = [
        {
            "system": entry["system"],
            "classes": entry["classes"],
            **origin(entry),
            "scores": {
                part: {measure: {"value": value} for measure, value in measures.items()}
                for part, measures in entry["scores"].items()
            },
            "note": entry.get("note", ""),
        }
        for entry in published["rows"]
        if entry["data"] == name
    ]
    changes = [
        {
            "change": entry["change"],
            **origin(entry),
            "scores": {part: {"value": value} for part, value in entry["scores"].items()},
        }
        for entry in published["differences"]
        if entry["data"] == name
    ]
    return rows, changes


def to_markdown(comparison: Mapping[str, Any]) -> str:
    """The rows as one table and the differences as another; percent and percentage points."""
    rows, changes = comparison["rows"], comparison["differences"]
    sets = [part for part in SET_TITLES if any(part in row["scores"] for row in [*rows, *changes])]
    heads = [SET_TITLES[part] for part in sets]
    scores = [
        (
            row["system"],
            str(row["classes"]),
            *(accuracies(row["scores"].get(part, {})) for part in sets),
            row["from"],
            row["note"],
        )
        for row in rows
    ]
    lines = [
        f"# {comparison['data']}",
        "",
        "Accuracy in percent, average accuracy (mean of the recalls) in brackets, ± over the seeds. What is printed in "
        "a paper was not measured here, and its protocol may be another.",
        "",
        *table(("System", "Classes", *heads, "From", "Note"), scores),
        "",
    ]
    if changes:
        points = [
            (change["change"], *(point(change["scores"].get(part)) for part in sets), change["from"])
            for change in changes
        ]
        lines += ["## Differences in accuracy, points", "", *table(("Change", *heads, "From"), points), ""]
    papers = {row["source"]["cite"]: row["source"] for row in [*rows, *changes] if "source" in row}.values()
    if papers:
        lines += ["## Papers", "", *(f"- {paper['cite']}, {paper['year']}. Seen: {paper['seen']}." for paper in papers)]
    return "\n".join(lines).rstrip() + "\n"


def accuracies(scores: Mapping[str, Mapping[str, float]]) -> str:
    """Accuracy (average accuracy)."""
    words = [
        f"{entry['value']:.2f}" + (f" ± {entry['deviation']:.2f}" if "deviation" in entry else "")
        for entry in (scores[measure] for measure in MEASURES if measure in scores)
    ]
    return words[0] + (f" ({words[1]})" if len(words) > 1 else "") if words else ""


def point(entry: Mapping[str, Any] | None) -> str:
    """Difference, and its interval where there is one."""
    if entry is None:
        return ""
    ends = " to ".join(f"{end:+.2f}" for end in entry.get("interval", ()))
    return f"{entry['value']:+.2f}" + (f" ({ends})" if ends else "")


def save(comparison: Mapping[str, Any], folder: Path) -> None:
    """Write comparison.json and comparison.md, each whole or not at all.

    Raises:
        InputError: the folder cannot be written.
    """
    texts = {"json": json.dumps(comparison, indent=2, ensure_ascii=False) + "\n", "md": to_markdown(comparison)}
    for name, text in texts.items():
        with replacing(folder / f"comparison.{name}") as path:
            folder.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
