"""Pictures listed in a csv file of the user's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from msanet import data
from msanet.data import listing
from msanet.data.sample import DataWarning
from msanet.errors import InputError
from msanet.images import write


@pytest.fixture
def faces(tmp_path) -> Path:
    """Four pictures, 0.png to 3.png, in a folder beside the list."""
    (tmp_path / "faces").mkdir()
    for number in range(4):
        write(tmp_path / "faces" / f"{number}.png", np.full((8, 8, 3), number, np.uint8))
    return tmp_path


def listed(folder: Path, *lines: str) -> Path:
    path = folder / "faces.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_an_expression_for_each_picture(faces):
    path = listed(faces, "picture,expression", "faces/0.png,anger", "faces/1.png,contempt")
    samples = data.read(f"list:{path}", "test")
    assert [sample.label for sample in samples] == ["anger", "contempt"]
    assert samples[1].crop().max() == 1
    assert samples[0].votes == ()


def test_votes_become_shares_and_the_most_the_label(faces):
    path = listed(faces, "picture,sadness,anger,other", "faces/0.png,1,3,7", "faces/1.png,2,2,", "faces/2.png,,4,")
    samples = listing.read(path, "test")
    assert [sample.label for sample in samples] == ["anger", "sadness", "anger"]
    assert dict(samples[0].votes) == {"sadness": 0.25, "anger": 0.75}


def test_a_column_names_the_split(faces):
    path = listed(faces, "picture,expression,split", "faces/0.png,fear,train", "faces/1.png,anger,test")
    assert [sample.label for sample in listing.read(path, "train")] == ["fear"]
    assert [sample.label for sample in listing.read(path, "test")] == ["anger"]
    with pytest.raises(InputError, match="none of 0 listed pictures"):
        listing.read(path, "validation")


def test_without_that_column_training_holds_out_a_part_and_says_what_test_is(faces):
    path = listed(faces, "picture,expression", *(f"faces/{number}.png,fear" for number in range(4)))
    with pytest.warns(DataWarning, match="has no split of its own"):
        train = listing.read(path, "train", validation=0.25)
    with pytest.warns(DataWarning):
        validation = listing.read(path, "validation", validation=0.25)
    assert len(train) == 3
    assert {sample.name for sample in train + validation} == {f"{number}.png" for number in range(4)}


def test_missing_pictures_and_repeated_rows_are_counted(faces):
    path = listed(faces, "picture,expression", "faces/0.png,fear", "faces/0.png,anger", "faces/9.png,fear")
    with pytest.warns(DataWarning) as caught:
        assert len(listing.read(path, "test")) == 1
    assert [str(warning.message).split(",")[0] for warning in caught] == [
        f"1 of 3 rows of {path} repeat a picture and are left out",
        "1 of 2 listed pictures are missing and left out",
    ]


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["file,expression", "faces/0.png,fear"], "lacks columns: give FILE.csv with the columns picture"),
        (["picture,label", "faces/0.png,fear"], "lacks columns"),
        (["picture,expression", "faces/0.png,joy"], "line 2: not a picture with an expression of ours"),
        (["picture,expression", ",fear"], "line 2"),
        (["picture,expression", "faces/0.png"], "line 2"),
        (["picture,fear,anger", "faces/0.png,0,0"], "line 2"),
        (["picture,fear,anger", "faces/0.png,1,-1"], "line 2"),
        (["picture,fear", "faces/0.png,many"], "line 2"),
        (["picture,fear", "faces/0.png,nan"], "line 2"),
        (["picture,fear", "faces/0.png,inf"], "line 2"),
        (["picture,fear,anger", "faces/0.png,1e308,1e308"], "line 2"),
        (["picture,expression,split", "faces/0.png,fear,dev"], "line 2"),
    ],
)
def test_a_list_that_cannot_be_used_is_refused_with_the_line(faces, lines, words):
    with pytest.raises(InputError, match=words):
        listing.read(listed(faces, *lines), "test")


def test_a_list_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InputError, match="is missing: give a csv file"):
        listing.read(tmp_path, "test")
