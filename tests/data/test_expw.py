"""ExpW in its official layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from msanet.data import expw
from msanet.data.sample import DataWarning
from msanet.errors import InputError
from msanet.images import write

PICTURE = np.zeros((60, 80, 3), np.uint8)
PICTURE[10:30, 40:70] = 255  # the face: top 10, left 40, right 70, bottom 30


@pytest.fixture
def root(tmp_path) -> Path:
    """A photograph of each code, the last with a second face."""
    lines = []
    (tmp_path / "image" / "origin").mkdir(parents=True)
    for code in range(7):
        write(tmp_path / "image" / "origin" / f"crowd_{code}.jpg", PICTURE)
        lines.append(f"crowd_{code}.jpg 0 10 40 70 30 87.5 {code}")
    lines.append("crowd_6.jpg 1 0 0 20 20 12 0")
    (tmp_path / "label").mkdir()
    (tmp_path / "label" / "label.lst").write_text("\n".join(lines) + "\n")
    return tmp_path


def change(root: Path, *lines: str) -> None:
    path = root / "label" / "label.lst"
    path.write_text(path.read_text() + "\n".join(lines) + "\n")


def test_codes_become_names(root):
    expected = ["anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral", "anger"]
    assert [sample.label for sample in expw.read(root, "test")] == expected


def test_the_box_stands_as_top_left_right_bottom(root):
    crop = expw.read(root, "test")[0].crop()
    assert crop.shape == (20, 30, 3)
    assert crop.mean() > 240


def test_what_is_trained_on_is_all_there_is_and_a_warning_says_so(root):
    with pytest.warns(DataWarning, match="has no split of its own"):
        assert len(expw.read(root, "train", validation=0)) == 8


def test_missing_pictures_and_repeated_lines_are_counted(root):
    change(root, "crowd_0.jpg 0 10 40 70 30 87.5 0", "away.jpg 0 10 40 70 30 87.5 0")
    with pytest.warns(DataWarning) as caught:
        assert len(expw.read(root, "test")) == 8
    assert [str(warning.message).split(" ", 3)[:3] for warning in caught] == [["1", "of", "10"], ["1", "of", "9"]]


@pytest.mark.parametrize(
    "line",
    [
        "crowd_0.jpg 0 10 40 70 30 87.5 7",
        "crowd_0.jpg 0 10 40 70 30 87.5 -1",
        "crowd_0.jpg 0 10 70 40 30 87.5 1",
        "crowd_0.jpg 0 nan 40 70 30 87.5 1",
        "crowd_0.jpg 0 10 40 inf 30 87.5 1",
        "crowd_0.jpg 0 10 40 70 30 87.5 1²",
        "x 1",
    ],
)
def test_broken_lines_are_refused(root, line):
    change(root, line)
    with pytest.raises(InputError, match=r"label\.lst, line 9"):
        expw.read(root, "test")


def test_a_folder_without_the_list_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"label\.lst is missing"):
        expw.read(tmp_path, "test")
