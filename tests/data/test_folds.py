"""Folds by person."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msanet.data.folds import take_fold, with_person
from msanet.data.sample import SPLITS, Sample
from msanet.errors import InputError


def faces(*people: str) -> list[Sample]:
    return [Sample(Path(f"{number}.png"), "ab"[number % 2], person=person) for number, person in enumerate(people)]


@given(
    st.lists(st.sampled_from("ABCDEFGHIJKL"), min_size=3, max_size=60).filter(lambda people: len(set(people)) > 2),
    st.data(),
    st.floats(0, 0.9),
    st.integers(0, 9),
)
def test_nobody_is_in_two_splits_and_each_is_tested_once(people, draw, part, seed):
    samples = faces(*people)
    number = draw.draw(st.integers(2, len(set(people))))
    tested: list[Sample] = []
    for fold in range(1, number + 1):
        splits = {}
        for split in SPLITS:
            try:
                splits[split] = take_fold(samples, split, f"{fold}/{number}", part, seed)
            except InputError:  # nobody is held out
                assert split == "validation"
                assert part == 0 or len({sample.person for sample in splits["train"]}) == 1
                splits[split] = []
        owners = [{sample.person for sample in splits[split]} for split in SPLITS]
        assert owners[0]
        assert owners[2]
        assert not owners[0] & owners[1]
        assert not owners[2] & (owners[0] | owners[1])
        assert sorted(sample.path for own in splits.values() for sample in own) == sorted(s.path for s in samples)
        tested += splits["test"]
    assert sorted(sample.path for sample in tested) == sorted(sample.path for sample in samples)


def test_a_fold_takes_each_nth_person():
    samples = faces(*"GABDCFE")
    found = [sample.person for sample in take_fold(samples, "test", "2/3", 0.1, 0)]
    assert found == ["B", "E"]


def test_a_part_of_the_people_is_held_out():
    samples = faces(*"AABBCCDDEEFFGGHHIIJJKK")
    held = {sample.person for sample in take_fold(samples, "validation", "1/11", 0.3, 0)}
    assert len(held) == 3
    assert held == {sample.person for sample in take_fold(samples, "validation", "1/11", 0.3, 0)}
    assert (
        len({frozenset(s.person for s in take_fold(samples, "validation", "1/11", 0.3, seed)) for seed in range(9)}) > 1
    )


@pytest.mark.parametrize(
    "fold", ["11/10", "0/10", "3", "1/1", "a/b", "3/10/2", "-1/3", "1/ 3", "9" * 50, 3, None, True]
)
def test_what_is_no_fold_is_refused(fold):
    with pytest.raises(InputError, match=r"there is no fold .*: give i/n, such as 3/10, with i from 1 to n"):
        take_fold(faces(*"ABCDEFGHIJKLM"), "test", fold, 0.1, 0)


def test_an_empty_fold_and_no_people_are_refused():
    for people in ("AB", "AAAA"):
        with pytest.raises(InputError, match=f"3/3 is no fold of {len(set(people))} people"):
            take_fold(faces(*people), "test", "3/3", 0.1, 0)


@pytest.mark.parametrize(
    ("name", "pattern", "person"),
    [
        ("S005_001_00000011.png", r"^(S\d+)_", "S005"),
        ("KA.AN1.39.tiff", r"^([A-Z]+)\.", "KA"),
        ("x-7.png", r"(\d+)", "7"),
    ],
)
def test_file_names_tell_the_person(name, pattern, person):
    (sample,) = with_person([Sample(Path("folder") / name, "fear")], pattern)
    assert sample == Sample(Path("folder") / name, "fear", person=person)


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("(", "is no regular expression"),
        (5, "is no regular expression"),
        (r"S\d+", "has 0 groups: put one around"),
        (r"(S)(\d+)", "has 2 groups"),
        (r"^(T\d+)", "S1.png names no person by"),
        (r"^(T?)", "S1.png names no person by"),
    ],
)
def test_expressions_that_find_nobody_are_refused(pattern, words):
    with pytest.raises(InputError, match=words):
        with_person([Sample(Path("S1.png"), "fear")], pattern)
