"""folder:DIR with labels of one's own, and folds of it; expressions are in test_data.py."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from msanet import data
from msanet.data.check import check
from msanet.data.sample import DataWarning
from msanet.errors import InputError
from msanet.images import write


@pytest.fixture
def make(tmp_path) -> Callable[..., str]:
    """Writes small pictures of these paths, each another; gives folder:DIR."""

    def build(*paths: str) -> str:
        for number, path in enumerate(paths):
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            write(tmp_path / path, np.random.default_rng(number).integers(256, size=(8, 8, 3), dtype=np.uint8))
        return f"folder:{tmp_path}"

    return build


def test_any_names_are_labels(make):
    source = make(*(f"{label}/{number}.png" for label in ("positive", "neutral", "Negative") for number in range(10)))
    samples = data.read(source, "test")
    assert [sample.label for sample in samples[::10]] == ["neutral", "Negative", "positive"]
    assert data.labels_of(source, samples[:3]) == ("neutral", "Negative", "positive")
    with pytest.warns(DataWarning, match="no split of its own"):
        held = data.read(source, "validation")
    assert sorted(sample.label for sample in held) == ["Negative", "neutral", "positive"]


def test_one_name_that_is_no_expression_makes_labels_of_all_in_all_splits(make, tmp_path):
    source = make("train/happy/0.png", "train/sad/0.png", "test/happy/0.png", "test/bored/0.png")
    assert [sample.label for sample in data.read(source, "test")] == ["bored", "happy"]
    assert {sample.label for sample in data.read(source, "train", validation=0)} == {"happy", "sad"}
    assert data.labels_of(source, []) == ("bored", "happy", "sad")


def test_hidden_folders_and_files_are_passed_over(make):
    source = make("a/0.png", "b/0.png", ".cache/0.png", "a/._0.png", "a/.thumbs.jpg")
    assert [sample.path.name for sample in data.read(source, "test")] == ["0.png", "0.png"]
    assert data.labels_of(source, []) == ("a", "b")


@pytest.mark.parametrize(
    ("paths", "words"),
    [
        (["one/0.png"], "there is one label: give at least two"),
        (["calm/0.png", "Calm/0.png", "sad/0.png"], "'Calm' and 'calm' differ only by case: give them one name"),
        (["happy/0.png", "Happy/0.png"], "Happy and happy are the same label: put all into one of them"),
        (["happy/0.png", "happiness/0.png"], "happiness and happy are the same label"),
        (["calm/0.png", "sad/notes.txt.png/0.png", "x" * 100 + "/0.png"], "is no label: give 1 to 64"),
        (["calm/0.png", "a\nb/0.png"], r"'a\\nb' is no label"),
        (["train/calm/0.png", "train/sad/0.png", "test/Calm/0.png"], "differ only by case"),
    ],
)
def test_names_that_cannot_be_labels_are_refused(make, paths, words):
    source = make(*paths)
    with pytest.raises(InputError, match=words):
        data.read(source, "test")


def test_an_empty_folder_of_a_label_is_named(make, tmp_path):
    source = make("calm/0.png", "sad/0.png")
    (tmp_path / "tired").mkdir()
    with pytest.raises(InputError, match=r"tired holds no pictures: put some there, or delete the folder"):
        data.read(source, "test")


def test_with_nothing_held_out_training_has_all(make):
    source = make(*(f"train/{label}/{number}.png" for label in "ab" for number in range(4)))
    assert len(data.read(source, "train", validation=0)) == 8
    with pytest.raises(InputError, match="no picture is held out for validation with validation=0: raise it"):
        data.read(source, "validation", validation=0)


def test_folds_by_a_name_in_the_file_name(make):
    source = make(*(f"{label}/S{person}_{label}.png" for person in range(5) for label in ("calm", "sad")))
    options = {"fold": "3/5", "person": r"^(S\d)_"}
    people = {
        split: {sample.person for sample in data.read(source, split, **options)}
        for split in ("train", "validation", "test")
    }
    assert people["test"] == {"S2"}
    assert len(people["validation"]) == 1
    assert len(people["train"]) == 3
    assert set.union(*people.values()) == {f"S{number}" for number in range(5)}
    assert set(options) <= set(data.READERS["folder"].held_out)
    with pytest.raises(InputError, match="folds are by person: give person"):
        data.read(source, "test", fold="3/5")
    with pytest.raises(InputError, match="6/6 is no fold of 5 people"):
        data.read(source, "test", **{**options, "fold": "6/6"})


def test_folds_are_of_a_folder_without_splits(make):
    source = make("train/a/S1.png", "train/b/S2.png")
    with pytest.raises(InputError, match="has splits of its own: leave fold away"):
        data.read(source, "test", fold="1/2", person="(S.)")


def test_known_people_are_held_out_whole(make):
    source = make(*(f"train/{label}/S{person}_{n}.png" for person in range(4) for label in "ab" for n in range(3)))
    sides = [data.read(source, split, person=r"^(S\d)_", validation=0.25) for split in ("train", "validation")]
    people = [{sample.person for sample in side} for side in sides]
    assert [len(side) for side in sides] == [18, 6]
    assert not people[0] & people[1]


def test_a_check_counts_any_labels(make):
    source = make(*(f"{split}/{label}/{n}.png" for split in ("train", "test") for label in "xy" for n in range(10)))
    result = check(source)
    assert [row for row in result.rows if row[1] != "all"] == [
        ("train", "x", 9, None),
        ("train", "y", 9, None),
        ("validation", "x", 1, None),
        ("validation", "y", 1, None),
        ("test", "x", 10, None),
        ("test", "y", 10, None),
    ]
    assert (result.differing, result.failures, result.warnings) == ([], [], [])
