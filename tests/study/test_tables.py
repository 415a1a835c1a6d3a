"""An ablation's tables and picture, of a report made by hand."""

from __future__ import annotations

from typing import Any

import pytest

from msanet.study.cells import MEASURES
from msanet.study.tables import draw, to_markdown


@pytest.fixture
def report() -> dict[str, Any]:
    """Of two rows, the first with two seeds, and one that is not trained."""
    two = {"mean": 0.75, "deviation": 0.01, "values": [0.74, 0.76]}
    one = {"mean": 0.8, "deviation": None, "values": [0.8]}
    cost = {"network": "msanet_ms", "settings": [], "maps": [4, 2], "parameters": 1.2e6, "multiply_adds": 3e7}
    plain = {**cost, "name": "plain", "seconds": 90, "seeds": [0, 1], "unfinished": [2], "differences": {}}
    difference = [0.05, -0.01, 0.11]
    attention = {
        **plain,
        "name": "attention",
        "settings": ["network.width_ratio=1.0"],
        "seeds": [0],
        "unfinished": [],
        "differences": {"plain": {"test": dict.fromkeys(MEASURES, difference)}},
        "scores": {"test": dict.fromkeys(MEASURES, one)},
    }
    plain["scores"] = dict.fromkeys(("test", "pose30"), dict.fromkeys(MEASURES, two))
    waiting = {"name": "waiting", "seeds": [], "unfinished": [0]}
    return {
        "data": "ferplus",
        "recipe": "ablation",
        "settings": [],
        "pictures": {"test": 3152, "pose30": 1167},
        "rows": [plain, attention, waiting],
    }


def tables(text: str) -> dict[str, list[list[str]]]:
    """Markdown: heading -> its table's cells, head first."""
    found: dict[str, list[list[str]]] = {}
    heading = ""
    for line in text.splitlines():
        if line.startswith("#"):
            heading = line.strip("# ")
        elif line.startswith("|") and "---" not in line:
            found.setdefault(heading, []).append([cell.strip() for cell in line.strip("|").split("|")])
    return found


def test_the_tables_have_a_line_for_each_row_and_say_how_many_seeds(report):
    text = to_markdown(report)
    found = tables(text)
    assert [line[0] for line in found["Ablation"][1:]] == ["plain", "attention"]
    assert found["Ablation"][1][3:] == ["4x4, 2x2", "1.20 M", "0.03 G", "2"]
    assert found["Ablation"][2][2] == "network.width_ratio=1.0"
    assert found["Accuracy, %"] == [
        ["Row", "Seeds", "Test", "Pose over 30°"],
        ["plain", "2", "75.00 ± 1.00", "75.00 ± 1.00"],
        ["attention", "1", "80.00", ""],
    ]
    assert found["Difference in average accuracy, points"] == [
        ["Row", "Against", "Test", "Pose over 30°"],
        ["attention", "plain", "+5.00 (-1.00 to +11.00)", ""],
    ]
    assert "- Seeds not finished: plain (2); waiting (0)\n" in text
    for lines in found.values():
        assert len({len(cells) for cells in lines}) == 1


def test_changes_of_the_recipe_for_all_rows_are_said(report):
    assert "- Recipe: ablation, changed by each row's settings" in to_markdown(report)
    changed = to_markdown(report | {"settings": ["beta=0.6", "epochs=2"]})
    assert "- Recipe: ablation with beta=0.6, epochs=2, changed by each row's settings" in changed


def test_the_picture_has_a_panel_for_each_measure_and_set(report):
    titles = [axes.get_title() for axes in draw(report).axes]
    assert titles == [
        f"{measure}, %\n{part}"
        for measure in ("Accuracy", "Average accuracy")
        for part in ("Test (3,152)", "Pose over 30° (1,167)")
    ]
