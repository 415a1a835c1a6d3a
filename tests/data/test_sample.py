"""What readers of data sets share: lists that may come from anywhere, and what is held out."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msanet.data import affectnet, fer2013, ferplus, listing
from msanet.data.sample import SPLITS, Sample, hold_out
from msanet.errors import InputError
from msanet.labels import EXPRESSIONS

LISTS = {
    "list": (listing, "faces.csv", "picture,expression"),
    "ferplus": (ferplus, "fer2013new.csv", ",".join(["Usage", "Image name", *ferplus.COLUMNS])),
    "fer2013": (fer2013, "fer2013_emotions.csv", "Image name,Usage,emotion"),
    "affectnet": (affectnet, "Manually_Annotated_file_lists/validation.csv", ",".join(affectnet.COLUMNS)),
}


def write(folder: Path, name: str, text: str) -> Path:
    """Write a data set's list and return what its reader wants."""
    _, file, _ = LISTS[name]
    path = folder / file
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path if name == "list" else folder


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("row", ["x" * 131_073 + ",1", '"' + "x,1\n" * 50_000])
def test_a_field_that_csv_cannot_read_is_one_sentence(tmp_path, name, row):
    reader, file, header = LISTS[name]
    for lines in (f"{header}\n{row}\n", f"{row}\n{header}\n"):  # among the rows, or in place of the header
        source = write(tmp_path, name, lines)
        with pytest.raises(InputError, match=rf"{Path(file).name} is no csv file \(field larger") as caught:
            reader.read(source, "test")
        assert len(str(caught.value)) < 300


@pytest.mark.parametrize("name", LISTS)
@given(text=st.text(max_size=40))
def test_any_row_is_read_or_refused(tmp_path_factory, name, text):
    reader, _, header = LISTS[name]
    source = write(tmp_path_factory.mktemp("list"), name, f"{header}\n{text}\n".encode("utf-8", "replace").decode())
    with pytest.raises(InputError):  # at the least because no picture is there
        reader.read(source, "test")


FACES = [Sample(Path(f"{number}.png"), EXPRESSIONS[number % 2]) for number in range(40)]


def test_what_is_held_out_is_a_part_of_each_label_and_never_trained_on():
    training, held = (hold_out(FACES, split, 0.2, 3) for split in SPLITS[:2])
    assert [sample for sample in FACES if sample in training] == training
    assert [sample for sample in FACES if sample in held] == held
    assert {*training} | {*held} == {*FACES}
    assert [sum(sample.label == label for sample in held) for label in EXPRESSIONS[:2]] == [4, 4]
    assert hold_out(FACES, "validation", 0.2, 4) != held
    assert hold_out(FACES, "train", 0, 0) == FACES


@pytest.mark.parametrize("part", [-0.1, 1, 1.0, float("nan"), "0.1", [0.1], True, None])
def test_a_part_that_is_none_is_refused(part):
    with pytest.raises(InputError, match="give a part of the training pictures from 0 to below 1"):
        hold_out(FACES, "train", part, 0)


@pytest.mark.parametrize("seed", [-1, 1.5, "1", None, [1]])
def test_a_seed_that_is_none_is_refused(seed):
    with pytest.raises(InputError, match="seed"):
        hold_out(FACES, "train", 0.1, seed)


def test_a_seed_holds_out_what_it_always_did():
    """Trained weights are evaluated on what their run held out, whatever the version."""
    samples = [Sample(Path(str(number)), EXPRESSIONS[number * number % 7]) for number in range(60)]
    held = [16, 17, 24, 25, 26, 28, 34, 36, 57, 58]
    assert [int(sample.path.name) for sample in hold_out(samples, "validation", 0.15, 0)] == held


@given(st.lists(st.sampled_from(["calm", "sad", "neutral"]), min_size=1, max_size=60), st.integers(0, 99))
def test_any_label_gives_its_part(labels, seed):
    samples = [Sample(Path(str(number)), label) for number, label in enumerate(labels)]
    training = hold_out(samples, "train", 0.2, seed)
    for label in set(labels):
        own = labels.count(label)
        assert sum(sample.label == label for sample in training) == own - round(0.2 * own)
    assert hold_out(samples, "train", 0, seed) == samples
