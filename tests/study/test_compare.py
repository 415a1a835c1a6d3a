"""Measured and printed rows stand side by side and are never taken for each other."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from msanet import weights
from msanet.cli import app as command
from msanet.data import READERS
from msanet.errors import InputError
from msanet.labels import EXPRESSIONS
from msanet.measure.scores import Report, score
from msanet.study.cells import MEASURES, SET_TITLES
from msanet.study.compare import MEASURED, compare, save, to_markdown

ROOT = Path(__file__).parents[2]
PUBLISHED = yaml.safe_load((ROOT / "msanet" / "study" / "published.yaml").read_text())


@pytest.fixture
def results(tmp_path) -> Path:
    """A folder with evaluations of one model on ferplus and rafdb, and an ablation on ferplus."""
    targets = np.arange(40) % 8
    probabilities = np.eye(8, dtype=np.float32)[np.where(np.arange(40) < 30, targets, 0)]

    def report(model: str = "mine", pictures: int = 40, **facts: Any) -> Report:
        facts = {"data": "ferplus", "split": "test"} | facts
        return score(probabilities[:pictures], targets[:pictures], EXPRESSIONS, "in words", model, **facts)

    report(subset="pose30").save(tmp_path / "mine" / "pose30")
    report(split="validation").save(tmp_path / "mine" / "best")
    report(pictures=32, options={"protocol": "top"}).save(tmp_path / "mine" / "top")
    report(data="rafdb").save(tmp_path / "other")
    parts = {
        "occlusion": report(subset="occlusion"),
        "occlusion, labels of the list": report(pictures=8, subset="occlusion", own_labels=True),
    }
    replace(report(), subsets=parts).save(tmp_path / "mine")
    entry = {"mean": 0.8, "deviation": None, "values": [0.8]}
    spread = {"mean": 0.75, "deviation": 0.01, "values": [0.74, 0.76]}
    row: dict[str, Any] = {"name": "one", "classes": 8, "seeds": [0, 1], "against": [], "differences": {}}
    rows = [
        row | {"scores": {"test": dict.fromkeys(MEASURES, spread)}},
        row
        | {
            "name": "two",
            "seeds": [0],
            "against": ["one"],
            "scores": {"test": dict.fromkeys(MEASURES, entry)},
            "differences": {"one": {"test": {measure: [0.05, 0.01, 0.09] for measure in MEASURES}}},
        },
        row | {"name": "three", "seeds": []},
    ]
    (tmp_path / "ablation").mkdir()
    (tmp_path / "ablation" / "ablation.json").write_text(
        json.dumps({"data": "ferplus", "recipe": "ablation", "settings": [], "pictures": {"test": 40}, "rows": rows})
    )
    return tmp_path


def test_every_printed_figure_has_its_source():
    for paper in PUBLISHED["papers"].values():
        assert set(paper) == {"cite", "year", "seen"}
        assert 2000 < paper["year"] < 2030
    for row in PUBLISHED["rows"]:
        assert set(row) - {"note"} == {"data", "system", "classes", "printed_in", "place", "scores"}
        assert row["data"] in READERS
        assert row["printed_in"] in PUBLISHED["papers"]
        assert set(row["scores"]) <= set(SET_TITLES)
        for measures in row["scores"].values():
            assert set(measures) <= set(MEASURES)
            assert all(40 < value < 100 for value in measures.values())
    for change in PUBLISHED["differences"]:
        assert set(change) == {"data", "change", "printed_in", "place", "scores"}
        assert all(0 < value < 5 for value in change["scores"].values())


def test_the_papers_own_figures():
    (row,) = (row for row in compare("rafdb")["rows"] if row["system"] == "MSA-Net")
    assert row["scores"] == {"test": {"accuracy": {"value": 86.32}, "average_accuracy": {"value": 79.88}}}
    scn = {
        row["from"]: row["scores"]["test"]["accuracy"]["value"]
        for row in compare("rafdb")["rows"]
        if row["system"] == "SCN"
    }
    assert sorted(scn.values()) == [78.31, 88.14]
    values = [change["scores"]["test"]["value"] for change in compare("affectnet")["differences"]]
    assert values == [3.08, 1.46]


def test_measured_rows_come_first_and_say_so():
    rows = compare("ferplus")["rows"]
    origins = [row["from"] for row in rows]
    number = origins.count(MEASURED)
    assert number >= 1
    assert origins[:number] == [MEASURED] * number
    assert all(origin.startswith("as printed in ") for origin in origins[number:])
    assert ["source" in row for row in rows] == [origin != MEASURED for origin in origins]
    (shipped,) = (row for row in rows if row["system"] == "accurate")
    _, metadata = weights.load("accurate")
    for part, report in metadata.scores.items():
        assert shipped["scores"][part]["accuracy"]["value"] == pytest.approx(100 * report["accuracy"])
        assert shipped["scores"][part]["average_accuracy"]["interval"] == pytest.approx(
            [100 * end for end in report["intervals"]["average_accuracy"]]
        )


def test_results_of_the_data_set_are_gathered(results):
    comparison = compare("ferplus", [results])
    measured = [row for row in comparison["rows"] if row["from"] == MEASURED]
    rows = {row["system"]: row for row in measured if row["note"] != "protocol=top"}
    (top,) = (row for row in measured if row["note"] == "protocol=top")
    assert top["scores"]["test"]["accuracy"]["value"] == pytest.approx(100 * 30 / 32)
    assert set(rows["mine"]["scores"]) == {"test", "pose30", "occlusion"}
    for part in rows["mine"]["scores"].values():
        assert part["accuracy"]["value"] == pytest.approx(100 * 31 / 40)
    assert rows["one (ablation)"]["scores"]["test"]["accuracy"] == {"value": 75, "deviation": 1, "seeds": 2}
    assert rows["two (ablation)"]["scores"]["test"]["accuracy"] == {"value": 80, "seeds": 1}
    assert "three (ablation)" not in rows
    (change,) = comparison["differences"]
    assert (change["change"], change["from"]) == ("two against one", MEASURED)
    assert change["scores"]["test"]["value"] == pytest.approx(5)
    other = {row["system"] for row in compare("rafdb", [results])["rows"] if row["from"] == MEASURED}
    assert other == {"mine"}


def test_the_tables_are_whole(results, tmp_path):
    comparison = compare("ferplus", [results / "mine" / "report.json", results / "ablation"])
    text = to_markdown(comparison)
    blocks = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert len(blocks) == 2
    for block in blocks:
        assert len({line.count("|") for line in block.splitlines()}) == 1
    assert "| one (ablation) | 8 | 75.00 ± 1.00 (75.00 ± 1.00) |" in text
    assert "| two against one | +5.00 (+1.00 to +9.00) |" in text
    assert "as printed in Barsoum et al. (2016)" in text
    save(comparison, tmp_path / "new")
    assert (tmp_path / "new" / "comparison.md").read_text() == text
    assert json.loads((tmp_path / "new" / "comparison.json").read_text()) == json.loads(json.dumps(comparison))


def test_what_cannot_be_compared_is_refused(tmp_path):
    with pytest.raises(InputError, match="no data set 'fer': choose one of ferplus"):
        compare("fer")
    with pytest.raises(InputError, match=r"holds no report\.json or ablation\.json"):
        compare("ferplus", [tmp_path])
    with pytest.raises(InputError, match="cannot be read"):
        compare("ferplus", [tmp_path / "report.json"])
    for content in (b"", b"[]", b"3", b'{"rows": [], "data": "ferplus"}', b'{"confusion": [[1]]}', b"\xff"):
        (tmp_path / "report.json").write_bytes(content)
        with pytest.raises(InputError, match=r"neither a report\.json nor an ablation\.json"):
            compare("ferplus", [tmp_path])


def test_the_command(monkeypatch, capsys, results, tmp_path):
    arguments = ["compare", "--data", "ferplus", "--results", results / "mine", "--output", tmp_path / "out"]
    monkeypatch.setattr(sys, "argv", ["msanet", *map(str, arguments)])
    with pytest.raises(SystemExit) as caught:
        command.main()
    assert not caught.value.code
    assert "| mine | 8 | 77.50" in capsys.readouterr().out
    assert (tmp_path / "out" / "comparison.json").is_file()
