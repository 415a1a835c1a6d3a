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
    path = listed(faces, "picture,sadness,anger", "faces/0.png,1,3", "faces/1.png,2,2", "faces/2.png,,4")
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


def test_any_labels_stand_as_they_are(faces):
    lines = ["faces/0.png,positive,12", "faces/1.png,Neutral,x", "faces/2.png,négative,"]
    path = listed(faces, "picture,label,age", *lines)
    samples = data.read(f"list:{path}", "test")
    assert [sample.label for sample in samples] == ["positive", "Neutral", "négative"]
    assert data.labels_of(f"list:{path}", samples[:1]) == ("Neutral", "négative", "positive")


def test_adjectives_and_capitals_are_expressions_where_all_are(faces):
    path = listed(faces, "picture,label", "faces/0.png,Happy", "faces/1.png,happiness", "faces/2.png,FEAR")
    assert [sample.label for sample in listing.read(path, "test")] == ["happiness", "happiness", "fear"]
    path = listed(faces, "picture,label", "faces/0.png,happy", "faces/2.png,bored")
    assert [sample.label for sample in listing.read(path, "test")] == ["happy", "bored"]


def test_any_columns_of_votes(faces):
    path = listed(faces, "picture,tired,awake,split", "faces/0.png,1,3,test", "faces/1.png,2,2,test")
    samples = listing.read(path, "test")
    assert [sample.label for sample in samples] == ["awake", "awake"]
    assert samples[0].votes == (("awake", 0.75), ("tired", 0.25))


def test_labels_are_those_of_all_splits(faces):
    path = listed(faces, "picture,label,split", "faces/0.png,a,train", "faces/1.png,b,train", "faces/2.png,b,test")
    assert data.labels_of(f"list:{path}", listing.read(path, "test")) == ("a", "b")


def test_a_file_in_two_splits_is_left_out_of_the_earlier_unless_asked_for(faces):
    (faces / "faces" / "copy.png").write_bytes((faces / "faces" / "3.png").read_bytes())
    lines = ["faces/0.png,a,train", "faces/copy.png,b,train", "faces/3.png,b,test", "faces/9.png,b,test"]
    path = listed(faces, "picture,label,split", *lines)
    with pytest.warns(DataWarning, match="1 of 2 pictures of the train split are in the test split too and are left"):
        assert [sample.name for sample in listing.read(path, "train")] == ["0.png"]
    with pytest.warns(DataWarning, match="1 of 2 pictures of the train split are in the test split too, the first"):
        assert len(listing.read(path, "train", duplicates=True)) == 2


def test_folds_need_people_and_no_splits(faces):
    lines = [f"faces/{number}.png,{'ab'[number % 2]},{number // 2}" for number in range(4)]
    path = listed(faces, "picture,label,person", *lines)
    assert [sample.name for sample in listing.read(path, "test", fold="2/2")] == ["2.png", "3.png"]
    assert [sample.person for sample in listing.read(path, "train", fold="2/2")] == ["0", "0"]
    with pytest.raises(InputError, match="3/3 is no fold of 2 people: some of 3 folds would be empty"):
        listing.read(path, "test", fold="3/3")
    path = listed(faces, "picture,label", "faces/0.png,a", "faces/1.png,b")
    with pytest.raises(InputError, match="has no column person, by which folds are made: add it"):
        listing.read(path, "test", fold="1/2")
    path = listed(faces, "picture,label,person,split", "faces/0.png,a,x,test", "faces/1.png,b,y,test")
    with pytest.raises(InputError, match="has splits of its own: leave fold away"):
        listing.read(path, "test", fold="1/2")


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["file,expression", "faces/0.png,fear"], "lacks columns: give FILE.csv with the columns picture"),
        (["picture,split,person", "faces/0.png,test,a"], "lacks columns"),
        (["picture,expression", "faces/0.png,joy"], "there is one label: give at least two"),
        (["picture,label", "faces/0.png,calm", "faces/1.png,Calm"], "'Calm' and 'calm' differ only by case"),
        (["picture,label", "faces/0.png,calm", f"faces/1.png,{'x' * 300}"], r"line 3: 'x+\.\.\. is no label"),
        (["picture,label", "faces/0.png,calm", 'faces/1.png,"a\nb"'], r"line 4: 'a\\nb' is no label"),
        (["picture,label,label", "faces/0.png,fear,fear"], "has two columns 'label': name each once"),
        (["picture,calm,calm", "faces/0.png,1,0"], "has two columns 'calm'"),
        (["picture,happy,happiness", "faces/0.png,1,0"], "has two columns for one label"),
        (["picture,calm", "faces/0.png,1"], "there is one label"),
        (["picture,calm,Calm", "faces/0.png,1,1"], "differ only by case"),
        (["picture,calm,age", "faces/0.png,1,old"], "line 2: not a picture with a label, or votes"),
        (["picture,label,person", "faces/0.png,fear,"], "line 2"),
        (["picture,label,split", "faces/0.png,fear,"], "line 2"),
        (["picture,label", "faces/0.png,"], "line 2"),
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
