"""Readers on their official layouts, and what becomes of a sample on its way into a network."""

from __future__ import annotations

import os
import shutil
import warnings
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from msanet import data
from msanet.data import ferplus as ferplus_reader
from msanet.data import subsets
from msanet.data.alignment import aligned, cache_folder
from msanet.data.augmentation import Augmentation
from msanet.data.dataset import FaceDataset, evaluation_loader, training_loader
from msanet.data.sample import DataWarning, Sample, count
from msanet.data.sampling import EpochSampler
from msanet.errors import InputError
from msanet.faces.aligner import Aligner
from msanet.labels import EXPRESSIONS, expressions_for
from msanet.preprocessing import Framing, Preprocessing

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    # What is warned of has tests of its own below.
    pytest.mark.filterwarnings("ignore::msanet.data.sample.DataWarning"),
]


def labels(samples: list[Sample]) -> dict[int, str]:
    """Number in the file name -> expression."""
    return {int(sample.path.stem.removeprefix("fer")): sample.label for sample in samples}


# -- NAME:DIR ---------------------------------------------------------------------------------------------------------


def test_the_readers_that_exist():
    assert {"ferplus", "folder"} <= set(data.READERS)
    for reader in data.READERS.values():
        assert reader.layout
        assert reader.license


def test_a_source_is_a_name_and_a_folder():
    name, reader, root = data.parse("folder:some/place:with colon")
    assert (name, reader, root) == ("folder", data.READERS["folder"], Path("some/place:with colon"))
    assert data.parse("ferplus:~/x")[2] == Path.home() / "x"


@pytest.mark.parametrize("source", ["", "ferplus", "ferplus:", ":x", "fer:x", "FERPLUS:x", "some/folder"])
def test_a_source_of_another_form_is_refused(source):
    with pytest.raises(InputError, match=r"is not NAME:DIR with a NAME of ferplus, .*folder"):
        data.parse(source)


def test_an_option_that_a_reader_lacks_is_refused(ferplus, faces_folder):
    with pytest.raises(InputError, match=r"^folder has no option 'protocol' here: it has .*validation, seed"):
        data.read(f"folder:{faces_folder}", "train", protocol="top")
    with pytest.raises(InputError, match=r"^ferplus has no option 'votes' here: it has protocol, duplicates$"):
        data.read(f"ferplus:{ferplus}", "test", votes=3)
    with pytest.raises(InputError, match=r"^ferplus has no option 'protocol' here: it has own_labels$"):
        data.read(f"ferplus:{ferplus}", "test", "pose45", protocol="top")
    with pytest.raises(InputError, match="no option 'root' here"):
        data.read(f"ferplus:{ferplus}", "test", root=ferplus)


def only_one(root: Path, split: str) -> list[Sample]:
    return [Sample(root / "x.png", "tired"), Sample(root / "y.png", "awake")]


def test_a_reader_from_outside_is_registered_by_its_name(monkeypatch):
    monkeypatch.setitem(data.READERS, "mine", data.Reader(only_one, "x.png", "mine"))
    samples = data.read("mine:somewhere", "test")
    assert samples[0].path == Path("somewhere/x.png")
    assert data.labels_of("mine:somewhere", samples) == ("awake", "tired")
    assert data.subsets_of("mine:somewhere") == []
    with pytest.raises(InputError, match="mine has no option 'seed' here: it has none"):
        data.read("mine:somewhere", "test", seed=1)
    with pytest.raises(InputError, match="there is one label: give at least two"):
        data.labels_of("mine:somewhere", samples[:1])


def test_a_bug_inside_a_reader_is_not_told_as_a_wrong_option(monkeypatch):
    def broken(root: Path, split: str, *, seed: int = 0) -> list[Sample]:
        raise TypeError("f() got an unexpected keyword argument 'seed'")

    monkeypatch.setitem(data.READERS, "broken", data.Reader(broken, "x", "x"))
    with pytest.raises(TypeError):
        data.read("broken:x", "test", seed=1)


def open_ended(root: Path, split: str, **options: object) -> list[Sample]:
    return [Sample(root, str(options["any"]))]


def test_a_reader_may_take_any_options(monkeypatch):
    monkeypatch.setitem(data.READERS, "open", data.Reader(open_ended, "x", "x"))
    assert data.read("open:x", "test", any="fear")[0].label == "fear"


def test_what_the_labels_of_a_set_tell_apart(make_faces):
    some = unequal(1, 1, 0, 1)
    assert data.labels_of("ferplus:x", some) == EXPRESSIONS
    assert data.labels_of("rafdb:x", some) == EXPRESSIONS[:7]


def test_subsets_are_of_the_test_split_of_sets_that_have_them(ferplus, faces_folder):
    with pytest.raises(InputError, match="ferplus has no subset 'pose30' of its train split"):
        data.read(f"ferplus:{ferplus}", "train", "pose30")
    with pytest.raises(InputError, match="folder has no subset 'pose30'"):
        data.read(f"folder:{faces_folder}", "test", "pose30")
    with pytest.raises(InputError, match="no subset 'pose60': choose one of pose30, pose45, occlusion"):
        data.read(f"ferplus:{ferplus}", "test", "pose60")
    assert data.subsets_of(f"ferplus:{ferplus}") == ["pose30", "pose45", "occlusion"]
    assert data.subsets_of(f"folder:{faces_folder}") == []
    assert data.read(f"ferplus:{ferplus}", "test", "pose45") == ferplus_reader.read_subset(ferplus, "pose45")


# -- FERPlus ----------------------------------------------------------------------------------------------------------


def test_each_column_of_the_csv_is_its_expression(ferplus):
    assert labels(ferplus_reader.read(ferplus, "test")) == {
        40: "neutral",
        41: "happiness",
        42: "surprise",
        43: "sadness",
        44: "anger",
        45: "disgust",
        46: "fear",
        47: "contempt",
    }


def test_columns_are_found_by_name(own_ferplus):
    path = own_ferplus / "fer2013new.csv"
    rows = [line.split(",") for line in path.read_text().splitlines()]
    path.write_text("".join(",".join([*reversed(row)]) + "\n" for row in rows))
    assert labels(ferplus_reader.read(own_ferplus, "test"))[42] == "surprise"


def test_pictures_are_joined_by_name_and_not_by_row(ferplus):
    """Rows without a name stand between; the picture of a sample is the one that its name names."""
    samples = ferplus_reader.read(ferplus, "train", protocol="top", duplicates=True)
    assert {number: label for number, label in labels(samples).items() if number < 8} == {
        0: "neutral",
        1: "happiness",
        2: "surprise",
        3: "sadness",
        4: "anger",
        5: "disgust",
        6: "fear",
        7: "contempt",
    }
    for sample in samples:
        assert sample.path.parent.name == "FER2013Train"
        assert sample.path.is_file()


def test_rows_without_a_name_are_skipped(ferplus):
    votes = ferplus_reader.read_votes(ferplus / "fer2013new.csv")
    assert "" not in votes
    assert len(votes) == 20 + 3 + 9


def test_of_a_name_that_stands_twice_the_last_row_counts(ferplus):
    for protocol in ("majority", "top"):
        train = labels(ferplus_reader.read(ferplus, "train", protocol=protocol))
        assert 6953 not in train  # happiness first, NF last
        assert train[8403] == "anger"  # sadness first


def test_names_that_stand_twice_are_warned_of_unless_they_do_officially(own_ferplus):
    path = own_ferplus / "fer2013new.csv"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ferplus_reader.read_votes(path)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines, *(line for line in lines if "fer0000001" in line)]) + "\n")
    with pytest.warns(
        DataWarning, match=r"1 names stand twice in .*fer2013new\.csv, the first fer0000001\.png"
    ) as caught:
        ferplus_reader.read_votes(path)
    assert caught[0].message.names == ("fer0000001.png",)  # type: ignore[union-attr]


def test_pictures_that_are_unknown_or_no_face_are_left_out(ferplus):
    for protocol in ("majority", "top"):
        train = labels(ferplus_reader.read(ferplus, "train", protocol=protocol))
        assert not {8, 9} & set(train)
        assert train[19] == "happiness"  # some say unknown, but most do not


def test_votes_of_one_annotator_alone_are_dropped(ferplus):
    samples = {sample.path.stem: sample for sample in ferplus_reader.read(ferplus, "train")}
    assert samples["fer0000012"].label == "anger"  # 5 of 10 with the single votes, 5 of 5 without
    assert dict(samples["fer0000012"].votes)["anger"] == 1
    assert dict(samples["fer0000001"].votes)["happiness"] == 1
    for protocol in ("majority", "top"):  # ten single votes: nothing is left
        assert "fer0000017" not in {
            sample.path.stem for sample in ferplus_reader.read(ferplus, "train", protocol=protocol)
        }


def test_the_top_vote_needs_more_than_half_unless_the_protocol_is_top(ferplus):
    majority, top = (labels(ferplus_reader.read(ferplus, "train", protocol=name)) for name in ("majority", "top"))
    assert set(top) - set(majority) == {10, 11}  # 5 of 10 is not more than half
    assert top[11] == "sadness"
    assert set(majority) < set(top)
    assert [
        len(ferplus_reader.read(ferplus, split, protocol=name))
        for split in ("validation", "test")
        for name in ("majority", "top")
    ] == [2, 3, 8, 9]


def test_training_pictures_that_repeat_a_held_out_picture_are_left_out_unless_asked_for(ferplus):
    without = labels(ferplus_reader.read(ferplus, "train"))
    kept = labels(ferplus_reader.read(ferplus, "train", duplicates=True))
    assert set(kept) - set(without) == {13, 14}
    assert len(without) == 12
    for split in ("validation", "test"):
        assert ferplus_reader.read(ferplus, split) == ferplus_reader.read(ferplus, split, duplicates=True)
    assert labels(data.read(f"ferplus:{ferplus}", "train", duplicates=True)) == kept


def test_duplicates_are_warned_of_kept_or_not(ferplus):
    words = "2 of 14 pictures of the train split are in the validation or the test split too"
    with pytest.warns(DataWarning, match=f"^{words}, the first fer0000013.png$"):
        ferplus_reader.read(ferplus, "train", duplicates=True)
    with pytest.warns(DataWarning, match=f"^{words} and are left out, the first fer0000013.png$"):
        ferplus_reader.read(ferplus, "train")


def test_a_held_out_picture_that_is_not_scored_counts_as_a_duplicate_too(own_ferplus):
    """Test picture 48 has no majority; its pixels still must not be trained on."""
    shutil.copy(own_ferplus / "FER2013Test" / "fer0000048.png", own_ferplus / "FER2013Train" / "fer0000000.png")
    assert 0 not in labels(ferplus_reader.read(own_ferplus, "train"))


def test_soft_targets_are_the_votes_that_remain(ferplus):
    samples = {sample.path.stem: sample for sample in ferplus_reader.read(ferplus, "train")}
    for sample in samples.values():
        assert sum(dict(sample.votes).values()) == pytest.approx(1)
        assert max(sample.votes, key=lambda vote: vote[1])[0] == sample.label
    votes = dict(samples["fer0000018"].votes)
    expected = {"neutral": 0.6, "contempt": 0.2, "sadness": 0.2}
    assert votes == pytest.approx(expected)
    # "unknown" is no expression: its votes are taken out and the rest is normalised.
    assert dict(samples["fer0000019"].votes)["happiness"] == pytest.approx(1)


def test_with_seven_classes_the_votes_for_contempt_are_shared_out(ferplus):
    samples = {sample.path.stem: sample for sample in ferplus_reader.read(ferplus, "train")}
    eight = samples["fer0000018"].target(expressions_for(8), soft=True)
    seven = samples["fer0000018"].target(expressions_for(7), soft=True)
    np.testing.assert_allclose(eight, [0.6, 0, 0.2, 0, 0, 0, 0, 0.2], atol=1e-6)
    np.testing.assert_allclose(seven, [0.75, 0, 0.25, 0, 0, 0, 0], atol=1e-6)
    assert seven.dtype == np.float32
    np.testing.assert_array_equal(samples["fer0000018"].target(expressions_for(7), soft=False), np.eye(7)[0])


def test_a_split_or_a_protocol_that_does_not_exist_is_refused(ferplus):
    with pytest.raises(InputError, match="no split 'dev': choose one of train, validation, test"):
        ferplus_reader.read(ferplus, "dev")
    with pytest.raises(InputError, match="no protocol 'mean': choose majority or top"):
        ferplus_reader.read(ferplus, "test", protocol="mean")


def test_a_folder_without_the_csv_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"fer2013new\.csv is missing: give the folder of FERPlus's official layout"):
        ferplus_reader.read(tmp_path, "train")
    with pytest.raises(InputError, match=r"nowhere.fer2013new\.csv is missing"):
        ferplus_reader.read(tmp_path / "nowhere", "train")


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_missing_pictures_are_counted_and_named(own_ferplus, split):
    samples = ferplus_reader.read(own_ferplus, split, duplicates=True)
    samples[-1].path.unlink()
    words = f"1 of {len(samples)} listed pictures are missing and left out, the first {samples[-1].name}"
    with pytest.warns(DataWarning) as caught:
        assert ferplus_reader.read(own_ferplus, split, duplicates=True) == samples[:-1]
    missing = caught[0].message
    assert isinstance(missing, DataWarning)
    assert (str(missing), missing.names) == (words, (samples[-1].name,))
    shutil.rmtree(samples[0].path.parent)
    with pytest.raises(InputError, match=f"none of {len(samples)} listed pictures is there"):
        ferplus_reader.read(own_ferplus, split, duplicates=True)


@pytest.mark.parametrize("column", ["Usage", "Image name", "neutral", "NF"])
def test_a_missing_column_is_named(own_ferplus, column):
    path = own_ferplus / "fer2013new.csv"
    path.write_text(path.read_text().replace(column, "something", 1))
    with pytest.raises(InputError, match=rf"fer2013new\.csv lacks the columns {column}: it is not FERPlus's"):
        ferplus_reader.read(own_ferplus, "train")


@pytest.mark.parametrize(
    "line",
    [
        "Training,fer0000002.png,0,0,7",
        "Training,fer0000002.png,0,0,seven,0,0,0,3,0,0,0",
        "Training,fer0000002.png,0,0,7.5,0,0,0,3,0,0,0",
        "Training,fer0000002.png,0,0,,0,0,0,3,0,0,0",
        "Training,fer0000002.png,0,0,1000001,0,0,0,3,0,0,0",
        "Training,fer0000002.png,0,0,100000000000000000000,0,0,0,3,0,0,0",
        "Testing,fer0000002.png,0,0,7,0,0,0,3,0,0,0",
        ",fer0000002.png,0,0,7,0,0,0,3,0,0,0",
        "Training,fer0000002.png,\xff\xfe\x00",
    ],
)
def test_a_broken_line_is_named_by_its_number(own_ferplus, line):
    path = own_ferplus / "fer2013new.csv"
    lines = path.read_text().splitlines()
    number = next(index for index, text in enumerate(lines) if "fer0000002" in text)
    lines[number] = line
    path.write_bytes("\n".join(lines).encode("latin-1"))
    with pytest.raises(InputError, match=rf"fer2013new\.csv, line {number + 1}: not a usage and ten numbers"):
        ferplus_reader.read(own_ferplus, "train")


@pytest.mark.parametrize("content", [b"", b"\n\n", b"PK\x03\x04\xff\xfe\x80" * 99, b"\x89PNG\r\n\x1a\n\0\0\0"])
def test_a_file_that_is_no_csv_is_refused(own_ferplus, content):
    (own_ferplus / "fer2013new.csv").write_bytes(content)
    with pytest.raises(InputError, match=r"fer2013new\.csv lacks the columns"):
        ferplus_reader.read(own_ferplus, "train")


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm(own_ferplus):
    before = ferplus_reader.read(own_ferplus, "train")
    path = own_ferplus / "fer2013new.csv"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert ferplus_reader.read(own_ferplus, "train") == before


# -- FERPlus's subsets ------------------------------------------------------------------------------------------------


def test_subsets_are_the_listed_test_pictures_that_pass_the_majority_protocol(ferplus):
    assert labels(ferplus_reader.read_subset(ferplus, "pose30")) == {40: "neutral", 43: "sadness", 44: "anger"}
    assert labels(ferplus_reader.read_subset(ferplus, "pose45")) == {43: "sadness"}
    assert labels(ferplus_reader.read_subset(ferplus, "occlusion")) == {
        42: "surprise",
        44: "anger",
        46: "fear",
        47: "contempt",
    }


def test_the_lists_own_labels_follow_the_columns_of_the_csv(ferplus):
    own = ferplus_reader.read_subset(ferplus, "pose30", own_labels=True)
    assert labels(own) == {40: "neutral", 43: "sadness", 44: "neutral"}
    assert all(sample.votes == () for sample in own)
    agreeing = labels(ferplus_reader.read_subset(ferplus, "occlusion", own_labels=True))
    assert agreeing == labels(ferplus_reader.read_subset(ferplus, "occlusion"))


def test_listed_pictures_that_are_not_there_are_counted_and_named(own_ferplus):
    path = own_ferplus / "subsets" / "pose_45_ferplus_list.txt"
    path.write_text("3/fer0000043.jpg\n3/fer0000043.jpg\n1/fer0000077.jpg\n4/fer0000048.jpg\n")
    with pytest.warns(DataWarning) as caught:
        assert labels(ferplus_reader.read_subset(own_ferplus, "pose45")) == {43: "sadness"}
    sentences = [str(warning.message) for warning in caught]
    assert len(sentences) == 2  # 48 is there, and not scored
    assert sentences[0].startswith("1 lines of ")
    assert sentences[0].endswith("repeat a picture, the first fer0000043: it counts once")
    assert sentences[1] == "1 of 3 pictures of pose_45_ferplus_list.txt are not there, the first fer0000077"
    path.write_text("3/fer0000077.jpg\n")
    with pytest.raises(InputError, match=r"none of the 1 pictures of .*pose_45"):
        ferplus_reader.read_subset(own_ferplus, "pose45")


@pytest.mark.parametrize("name", ["pose30", "pose45", "occlusion"])
def test_a_missing_list_is_named(own_ferplus, name):
    shutil.rmtree(own_ferplus / "subsets")
    with pytest.raises(InputError, match=r"subsets.*_ferplus_list\.txt is missing: put the published list"):
        ferplus_reader.read_subset(own_ferplus, name)


@pytest.mark.parametrize(
    ("name", "file", "line"),
    [
        ("pose30", "pose_30_ferplus_list.txt", "8/fer0000040.jpg"),
        ("pose30", "pose_30_ferplus_list.txt", "1_fer0000040.jpg"),
        ("pose45", "pose_45_ferplus_list.txt", "1/fer40.jpg"),
        ("pose45", "pose_45_ferplus_list.txt", "1/fer0000040.jpg 5"),
        ("pose45", "pose_45_ferplus_list.txt", "\xff\xfe"),
        ("occlusion", "occlusion_ferplus_list.txt", "1/fer0000040.jpg 5 0"),
    ],
)
def test_a_broken_line_of_a_list_is_named_by_its_number(own_ferplus, name, file, line):
    path = own_ferplus / "subsets" / file
    lines = path.read_text().splitlines()
    path.write_bytes("\n".join([*lines, "", line]).encode("latin-1"))
    with pytest.raises(InputError, match=rf"{file}, line {len(lines) + 2}: .* is not an entry of this list"):
        ferplus_reader.read_subset(own_ferplus, name)


# -- folder:DIR -------------------------------------------------------------------------------------------------------


def test_a_folder_with_splits(faces_folder):
    for split, number in (("train", 4), ("validation", 2), ("test", 2)):
        samples = data.read(f"folder:{faces_folder}", split)
        assert count(samples) == dict.fromkeys(EXPRESSIONS, number)
        assert all(sample.path.parent == faces_folder / split / sample.label for sample in samples)


def test_a_folder_without_splits(make_faces):
    root = make_faces({"": 2})
    shutil.rmtree(root / "contempt")
    samples = data.read(f"folder:{root}", "test")
    assert count(samples) == dict.fromkeys(EXPRESSIONS[:7], 2)


@pytest.mark.parametrize("split", ["", "train"])
def test_a_folder_without_validation_pictures_holds_some_out(make_faces, split):
    source = f"folder:{make_faces({split: 4})}"
    training, held = data.read(source, "train", validation=0.25), data.read(source, "validation", validation=0.25)
    assert count(training) == dict.fromkeys(EXPRESSIONS, 3)
    assert count(held) == dict.fromkeys(EXPRESSIONS, 1)
    assert not {sample.path for sample in training} & {sample.path for sample in held}


def test_the_order_of_a_folder_is_the_expressions_and_then_the_names(make_faces):
    paths = [sample.path for sample in data.read(f"folder:{make_faces({'test': 3})}", "test")]
    assert paths == sorted(paths, key=lambda path: (EXPRESSIONS.index(path.parent.name), path.name))


def test_other_files_and_deeper_folders(make_faces):
    root = make_faces({"test": 1})
    (root / "test" / "fear" / "notes.txt").write_text("no picture")
    (root / "test" / "README.md").write_text("no folder")
    (root / "test" / "fear" / "more").mkdir()
    (root / "test" / "fear" / "0.png").rename(root / "test" / "fear" / "more" / "DEEP.PNG")
    assert [sample.path.name for sample in data.read(f"folder:{root}", "test") if sample.label == "fear"] == [
        "DEEP.PNG"
    ]


def test_folders_that_cannot_be_read_are_refused(make_faces, tmp_path):
    root = make_faces({"train": 1})
    with pytest.raises(InputError, match="has no split 'test': choose one of train"):
        data.read(f"folder:{root}", "test")
    with pytest.raises(InputError, match="folder has no split 'dev': choose one of train, validation, test"):
        data.read(f"folder:{root}", "dev")
    with pytest.raises(InputError, match="nowhere is not a folder"):
        data.read(f"folder:{tmp_path / 'nowhere'}", "test")
    (tmp_path / "empty" / "fear").mkdir(parents=True)
    with pytest.raises(InputError, match=r"empty.fear holds no pictures: put some there, or delete the folder"):
        data.read(f"folder:{tmp_path / 'empty'}", "test")
    with pytest.raises(InputError, match="fear holds no pictures in sub-folders"):
        data.read(f"folder:{tmp_path / 'empty' / 'fear'}", "test")


def test_adjectives_and_short_names_of_splits_are_understood(make_faces):
    root = make_faces({"train": 1, "val": 1, "test": 1})
    for split, (old, new) in zip(
        ("train", "val", "test"), (("happiness", "Happy"), ("anger", "angry"), ("surprise", "SURPRISED")), strict=True
    ):
        (root / split / old).rename(root / split / new)
    for split in ("train", "validation", "test"):
        assert count(data.read(f"folder:{root}", split)) == dict.fromkeys(EXPRESSIONS, 1)


def test_a_file_in_two_splits_is_left_out_of_the_earlier_unless_asked_for(make_faces):
    root = make_faces({"train": 2, "validation": 2, "test": 2})
    shutil.copy(root / "train" / "fear" / "0.png", root / "test" / "anger" / "x.png")
    shutil.copy(root / "validation" / "fear" / "1.png", root / "test" / "anger" / "y.png")
    for split, name in (("train", "0"), ("validation", "1")):
        words = f"1 of 16 pictures of the {split} split are in the test split too"
        with pytest.warns(DataWarning, match=rf"{words} and are left out, the first {name}\.png"):
            assert len(data.read(f"folder:{root}", split)) == 15
        with pytest.warns(DataWarning, match=rf"{words}, the first {name}\.png"):
            assert len(data.read(f"folder:{root}", split, duplicates=True)) == 16


def test_a_folder_without_splits_tests_on_what_it_trains_on_and_says_so(make_faces):
    root = make_faces({"": 2})
    with pytest.warns(DataWarning, match="has no split of its own, so its test split holds the training pictures"):
        data.read(f"folder:{root}", "train")


# -- samples ----------------------------------------------------------------------------------------------------------


def test_a_box_cuts_the_face(tmp_path):
    picture = np.random.default_rng(0).integers(256, size=(20, 30, 3), dtype=np.uint8)
    path = tmp_path / "x.png"
    Image.fromarray(picture).save(path)
    np.testing.assert_array_equal(Sample(path, "fear").crop(), picture)
    np.testing.assert_array_equal(Sample(path, "fear", box=(3, 2, 12.4, 9.6)).crop(), picture[2:10, 3:12])
    np.testing.assert_array_equal(Sample(path, "fear", box=(-5, -5, 99, 99)).crop(), picture)
    with pytest.raises(InputError, match=r"x\.png: the face box .* lies outside the picture; correct the label file"):
        Sample(path, "fear", box=(40, 2, 60, 9)).crop()


@pytest.fixture
def mixed(tmp_path, portrait) -> list[Sample]:
    """A face, a picture without one, and a whole photograph with the face's box."""
    pictures = {
        "face": portrait[130:330, 168:368],
        "noise": np.random.default_rng(0).integers(256, size=(48, 48, 3), dtype=np.uint8),
        "whole": portrait,
    }
    for name, picture in pictures.items():
        Image.fromarray(picture).save(tmp_path / f"{name}.png")
    boxes = {"whole": (168.0, 130.0, 368.0, 330.0)}
    return [Sample(tmp_path / f"{name}.png", "fear", box=boxes.get(name)) for name in pictures]


ALIGNED = Preprocessing(size=32, framing=Framing(scale=1.1), align=True)


@pytest.mark.parametrize("workers", [0, 2])
def test_crops_are_aligned_where_there_is_a_face(mixed, workers):
    face, noise, whole = aligned(mixed, ALIGNED, workers)
    placement = Aligner(ALIGNED.framing)(mixed[0].crop())
    assert placement is not None
    assert face.placement == tuple(placement.ravel())
    np.testing.assert_array_equal(face.crop(), Aligner(ALIGNED.framing).align(mixed[0].crop()))
    assert noise == mixed[1]
    np.testing.assert_array_equal(whole.crop(), face.crop())
    assert (face.digest(), whole.digest()) == (mixed[0].digest(), mixed[2].digest())


def test_a_small_aligned_crop_keeps_its_detail(mixed, tmp_path, portrait):
    path = tmp_path / "small.png"
    Image.fromarray(portrait[130:330, 168:368]).resize((48, 48)).save(path)
    (sample,) = aligned([Sample(path, "fear")], ALIGNED)
    assert sample.placement
    assert sample.crop().shape == (96, 96, 3)


def test_what_was_found_is_kept_until_pictures_change_whatever_the_framing(mixed, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    first = aligned(mixed, ALIGNED)
    (file,) = cache_folder().iterdir()
    with monkeypatch.context() as patch:
        patch.setattr(Aligner, "find", lambda self, crop: pytest.fail("looked again"))
        assert aligned(mixed, ALIGNED) == first
    file.write_bytes(b"half")
    assert aligned(mixed, ALIGNED) == first
    wider = replace(ALIGNED, framing=Framing(scale=1.3))
    assert aligned(mixed, wider)[0].placement != first[0].placement
    Image.fromarray(mixed[0].crop()[:, ::-1]).save(mixed[0].path)
    assert aligned(mixed, ALIGNED)[0].placement != first[0].placement
    assert len(list(cache_folder().iterdir())) == 1
    with monkeypatch.context() as patch:
        patch.setattr(Aligner, "find", lambda self, crop: pytest.fail("looked again"))
        assert aligned(mixed[:0:-1], ALIGNED) == first[:0:-1]  # some of them, in another order


def test_a_search_that_was_cut_short_goes_on(mixed, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("msanet.data.alignment.PART", 1)
    look = Aligner.find

    def stop_at_noise(self, crop):
        if crop.shape[0] == 48:
            raise KeyboardInterrupt
        return look(self, crop)

    with monkeypatch.context() as patch:
        patch.setattr(Aligner, "find", stop_at_noise)
        with pytest.raises(KeyboardInterrupt):
            aligned(mixed, ALIGNED)
        patch.setattr(Aligner, "find", lambda self, crop: pytest.fail("looked again"))
        assert aligned(mixed[:1], ALIGNED)[0].placement
    assert [bool(sample.placement) for sample in aligned(mixed, ALIGNED)] == [True, False, True]


def test_a_cache_that_cannot_be_written_only_costs_time(mixed, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert aligned(mixed, ALIGNED)[0].placement


def test_nothing_is_aligned_unasked_or_twice(mixed):
    assert aligned(mixed, Preprocessing(framing=Framing(scale=1.1))) == mixed
    once = aligned(mixed, ALIGNED)
    assert aligned(once, ALIGNED) == once
    assert aligned([], ALIGNED) == []


def test_a_damaged_picture_is_named(ferplus, tmp_path):
    path = tmp_path / "half.png"
    path.write_bytes(next((ferplus / "FER2013Test").glob("*.png")).read_bytes()[:200])
    dataset = FaceDataset([Sample(path, "fear")], Preprocessing(), EXPRESSIONS)
    with pytest.raises(InputError, match=r"half\.png"):
        dataset[0]


@given(
    st.sampled_from(EXPRESSIONS),
    st.lists(st.floats(0, 1), min_size=8, max_size=8) | st.just([]),
    st.permutations(EXPRESSIONS).flatmap(lambda names: st.integers(1, 8).map(lambda number: names[:number])),
    st.booleans(),
)
def test_a_target_sums_to_1_and_follows_the_names(expression, votes, names, soft):
    names = [*names] if expression in names else [*names, expression]
    pairs = tuple(zip(EXPRESSIONS, votes, strict=True)) if votes else ()
    target = Sample(Path("x"), expression, pairs).target(names, soft)
    assert target.dtype == np.float32
    assert target.sum() == pytest.approx(1, abs=1e-5)
    if not soft or not votes:
        assert names[int(target.argmax())] == expression
    elif sum(votes[EXPRESSIONS.index(name)] for name in names) > 1e-3:
        raw = np.array([votes[EXPRESSIONS.index(name)] for name in names])
        np.testing.assert_allclose(target, raw / raw.sum(), atol=1e-5)


BUSY = Augmentation(
    flip=0.5, rotation=20, scale=1.3, stretch=1.1, shift=0.1, brightness=0.2, contrast=0.3, gamma=0.4, sharpness=0.5,
    noise=0.05, erase=0.5,
)  # fmt: skip
SMALL = Preprocessing(size=32, gray=True)


def epoch_of(dataset: FaceDataset, sampler: EpochSampler, workers: int, batch_size: int = 5) -> tuple[Tensor, Tensor]:
    items = list(training_loader(dataset, sampler, batch_size, workers))
    return torch.cat([item["images"] for item in items]), torch.cat([item["targets"] for item in items])


def test_a_training_picture_depends_on_seed_epoch_and_place_and_not_on_the_workers(ferplus):
    samples = ferplus_reader.read(ferplus, "train")
    results = {}
    for seed, epoch, workers in ((0, 0, 0), (0, 0, 2), (0, 0, 1), (0, 3, 0), (1, 0, 0)):
        dataset = FaceDataset(samples, SMALL, EXPRESSIONS, soft=True, augmentation=BUSY, seed=seed)
        sampler = EpochSampler(samples, 0.5, seed)
        sampler.set_epoch(epoch)
        results[seed, epoch, workers] = epoch_of(dataset, sampler, workers)
    images, targets = results[0, 0, 0]
    assert images.shape == (10, 3, 32, 32)  # the last two of 12 do not fill a batch
    for workers in (1, 2):
        assert torch.equal(images, results[0, 0, workers][0])
        assert torch.equal(targets, results[0, 0, workers][1])
    assert not torch.equal(images, results[0, 3, 0][0])
    assert not torch.equal(images, results[1, 0, 0][0])


def test_the_same_index_gives_the_same_tensors_and_every_part_of_it_counts(ferplus):
    samples = ferplus_reader.read(ferplus, "train")
    dataset = FaceDataset(samples, SMALL, EXPRESSIONS, augmentation=BUSY)
    first = dataset[(1, 2, 3)]["images"]
    assert torch.equal(first, dataset[(1, 2, 3)]["images"])
    for other in ((0, 2, 3), (1, 1, 3), (1, 2, 4)):
        assert not torch.equal(first, dataset[other]["images"])


def test_without_augmentation_a_picture_is_what_the_preprocessing_makes_of_it(ferplus):
    samples = ferplus_reader.read(ferplus, "test")
    dataset = FaceDataset(samples, SMALL, expressions_for(8))
    for index, sample in enumerate(samples):
        item = dataset[index]
        np.testing.assert_array_equal(item["images"].numpy(), SMALL([sample.crop()])[0])
        assert item["targets"].argmax() == EXPRESSIONS.index(sample.label)
        assert int(item["index"]) == index


def test_the_first_epochs_may_come_at_a_smaller_size(ferplus):
    samples = ferplus_reader.read(ferplus, "train")
    preprocessing = Preprocessing(size=40, resize=48)
    dataset = FaceDataset(samples, preprocessing, EXPRESSIONS, augmentation=Augmentation(), small=(24, 2))
    sizes = [tuple(dataset[(epoch, 0, 0)]["images"].shape) for epoch in range(3)]
    assert sizes == [(3, 24, 24), (3, 24, 24), (3, 40, 40)]
    assert dataset.small.resize == 29  # the same part of the crop: 40 of 48
    evaluation = FaceDataset(samples, preprocessing, EXPRESSIONS, small=(24, 2))
    assert evaluation[0]["images"].shape == (3, 40, 40)


def test_evaluation_sees_each_picture_once_in_order(ferplus):
    samples = ferplus_reader.read(ferplus, "test")
    batches = list(evaluation_loader(FaceDataset(samples, SMALL, EXPRESSIONS), 3))
    assert [len(item["images"]) for item in batches] == [3, 3, 2]
    targets = torch.cat([item["targets"] for item in batches]).argmax(dim=1)
    assert [EXPRESSIONS[int(target)] for target in targets] == [sample.label for sample in samples]


def test_a_set_smaller_than_a_batch_is_still_trained_on(ferplus):
    samples = ferplus_reader.read(ferplus, "train")
    loader = training_loader(FaceDataset(samples, SMALL, EXPRESSIONS), EpochSampler(samples), 64)
    assert [len(item["images"]) for item in loader] == [12]


# -- the order of training --------------------------------------------------------------------------------------------


def unequal(*numbers: int) -> list[Sample]:
    return [
        Sample(Path(f"{expression}{index}"), expression)
        for expression, number in zip(EXPRESSIONS, numbers, strict=False)
        for index in range(number)
    ]


@given(st.integers(1, 60), st.integers(0, 5), st.integers(0, 5))
def test_without_balance_an_epoch_is_a_permutation(number, epoch, seed):
    sampler = EpochSampler(unequal(number, 3), seed=seed)
    sampler.set_epoch(epoch)
    drawn = list(sampler)
    assert len(drawn) == len(sampler) == number + 3
    assert {item[0] for item in drawn} == {epoch}
    assert [item[1] for item in drawn] == list(range(number + 3))
    assert sorted(item[2] for item in drawn) == list(range(number + 3))
    assert drawn == list(sampler)


@pytest.mark.parametrize("balance", [0.0, 0.5])
def test_epoch_and_seed_change_the_order(balance):
    samples = unequal(40, 10)
    orders = set()
    for seed, epoch in ((0, 0), (0, 1), (1, 0), (1, 1)):
        sampler = EpochSampler(samples, balance, seed)
        sampler.set_epoch(epoch)
        orders.add(tuple(index for _, _, index in sampler))
    assert len(orders) == 4


@pytest.mark.parametrize(("balance", "share"), [(0.0, 100 / 111), (0.5, 10 / (10 + 10**0.5 + 1)), (1.0, 1 / 3)])
def test_balance_draws_a_class_of_c_pictures_in_proportion_to_c_to_the_1_minus_balance(balance, share):
    samples = unequal(1000, 100, 10)
    drawn: Counter[str] = Counter()
    sampler = EpochSampler(samples, balance)
    for epoch in range(10):
        sampler.set_epoch(epoch)
        drawn.update(samples[index].label for _, _, index in sampler)
    assert drawn["neutral"] / drawn.total() == pytest.approx(share, abs=0.02)
    if balance == 1:
        assert max(drawn.values()) < 1.1 * min(drawn.values())


@pytest.mark.parametrize("balance", [0.0, 1.0])
def test_an_epoch_keeps_its_length_and_gives_the_extra_pictures_their_share(balance):
    samples, extra = unequal(1000), unequal(30, 10)
    sampler = EpochSampler(samples, balance, 0, extra, 0.2)
    drawn = [index for _, _, index in sampler]
    assert len(drawn) == len(sampler) == 1000
    further = [extra[index - 1000].label for index in drawn if index >= 1000]
    assert len(further) / 1000 == pytest.approx(0.2, abs=0.05)
    assert further.count(EXPRESSIONS[1]) / len(further) == pytest.approx(0.5 if balance else 0.25, abs=0.12)


# -- augmentation -----------------------------------------------------------------------------------------------------


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(256, size=(height, width, 3), dtype=np.uint8)


@given(st.integers(8, 80), st.integers(8, 80), st.sampled_from([None, 40]), st.booleans(), st.integers(0, 9))
def test_the_default_augmentation_is_the_preprocessing_itself(height, width, resize, gray, seed):
    preprocessing = Preprocessing(size=32, resize=resize, gray=gray)
    crop = noise(height, width)
    result = Augmentation()(crop, preprocessing, np.random.default_rng(seed))
    np.testing.assert_array_equal(result, preprocessing.center(preprocessing.fit(crop)))
    np.testing.assert_array_equal(preprocessing.normalize(result[None]), preprocessing([crop]))


@pytest.mark.parametrize(
    "field",
    [
        {"flip": 1.0},
        {"rotation": 20},
        {"scale": 1.3},
        {"stretch": 1.2},
        {"shift": 0.2},
        {"brightness": 0.3},
        {"contrast": 0.5},
        {"gamma": 0.5},
        {"sharpness": 1.0},
        {"noise": 0.2},
        {"erase": 1.0},
        {"bar": 1.0},
        {"degrade": 1.0},
        {"randaugment": 20},
        {"crop": "corners"},
    ],
)
def test_each_field_changes_the_picture(field):
    preprocessing = Preprocessing(size=64, resize=72)
    crop = noise(72, 72) // 2 + 64
    plain = preprocessing.center(preprocessing.fit(crop))
    results = [Augmentation(**field)(crop, preprocessing, np.random.default_rng(seed)) for seed in range(6)]
    assert sum((result != plain).any() for result in results) >= 3  # the centre may be drawn
    again = Augmentation(**field)(crop, preprocessing, np.random.default_rng(0))
    np.testing.assert_array_equal(again, results[0])


def test_a_bar_hides_a_band_over_the_whole_width():
    preprocessing, crop = Preprocessing(size=64), np.full((64, 64, 3), 100, np.uint8)
    heights = set()
    for seed in range(50):
        hidden = (Augmentation(bar=1)(crop, preprocessing, np.random.default_rng(seed)) != crop).any(axis=2)
        rows = np.flatnonzero(hidden.any(axis=1))
        assert hidden[rows].mean() > 0.95  # noise may hit the old value
        assert len(rows) == rows[-1] - rows[0] + 1
        heights.add(len(rows))
    assert min(heights) < 8
    assert 16 < max(heights) <= 22


def test_degrading_takes_detail_and_keeps_the_mean():
    preprocessing, crop = Preprocessing(size=64, gray=True), noise(64, 64)
    plain = preprocessing.fit(crop)
    results = [Augmentation(degrade=1)(crop, preprocessing, np.random.default_rng(seed)) for seed in range(20)]
    assert all(abs(result.mean() - plain.mean()) < 8 for result in results)
    assert np.median([result.std() for result in results]) < 0.8 * plain.std()


def test_randaugment_leaves_torchs_generator_alone_and_changes_more_with_strength():
    preprocessing, crop = Preprocessing(size=64), noise(64, 64)
    state = torch.get_rng_state()
    changed = {}
    for strength in (1, 30):
        augmentation = Augmentation(randaugment=strength)
        results = [augmentation(crop, preprocessing, np.random.default_rng(seed)) for seed in range(40)]
        changed[strength] = np.mean([np.abs(result - 1.0 * crop) for result in results])
    assert changed[30] > 1.3 * changed[1] > 0
    assert torch.equal(torch.get_rng_state(), state)


def test_a_flip_is_the_mirror_image():
    crop = noise(32, 32)
    preprocessing = Preprocessing(size=32)
    rng = np.random.default_rng(0)
    np.testing.assert_array_equal(Augmentation(flip=1)(crop, preprocessing, rng), crop[:, ::-1])
    flipped = [
        bool((Augmentation(flip=0.5)(crop, preprocessing, np.random.default_rng(seed)) != crop).any())
        for seed in range(200)
    ]
    assert 70 < sum(flipped) < 130


def test_corner_crops_are_the_four_corners_and_the_centre():
    preprocessing = Preprocessing(size=32, resize=40)
    crop = noise(40, 40)
    places = {(0, 0), (0, 8), (8, 0), (8, 8), (4, 4)}
    expected = {crop[top : top + 32, left : left + 32].tobytes(): (top, left) for top, left in places}
    drawn = Counter(
        expected[Augmentation(crop="corners")(crop, preprocessing, np.random.default_rng(seed)).tobytes()]
        for seed in range(200)
    )
    assert set(drawn) == places
    assert min(drawn.values()) > 20


@given(
    st.builds(
        Augmentation,
        crop=st.sampled_from(["center", "corners"]),
        flip=st.floats(0, 1),
        rotation=st.floats(0, 180),
        scale=st.floats(1, 3),
        stretch=st.floats(1, 3),
        shift=st.floats(0, 1),
        brightness=st.floats(0, 1),
        contrast=st.floats(0, 1),
        gamma=st.floats(0, 3),
        sharpness=st.floats(0, 1),
        noise=st.floats(0, 1),
        erase=st.floats(0, 1),
        bar=st.floats(0, 1),
        degrade=st.floats(0, 1),
        randaugment=st.integers(0, 30),
    ),
    st.integers(4, 90),
    st.integers(4, 90),
    st.sampled_from([None, 40]),
    st.booleans(),
    st.integers(0, 99),
)
def test_any_augmentation_gives_a_picture_of_the_networks_size_and_grey_stays_grey(
    augmentation, height, width, resize, gray, seed
):
    preprocessing = Preprocessing(size=32, resize=resize, gray=gray)
    rng = np.random.default_rng(seed)
    crop = noise(height, width)
    crop.setflags(write=False)  # it is not written to
    result = augmentation(crop, preprocessing, rng)
    assert result.shape == (32, 32, 3)
    assert result.dtype == np.uint8
    if gray:
        assert (result == result[..., :1]).all()
    grey = augmentation(crop[..., :1].repeat(3, axis=2), preprocessing, rng)
    assert (grey == grey[..., :1]).all()


@pytest.mark.parametrize(
    "field",
    [
        {"flip": 1.5},
        {"scale": 0.9},
        {"rotation": -1},
        {"crop": "top"},
        {"erase": -0.1},
        {"randaugment": 31},
        {"zoom": 2},
    ],
)
def test_augmentation_refuses_what_it_cannot_do(field):
    with pytest.raises(ValueError, match=next(iter(field))):
        Augmentation(**field)


# -- the real FERPlus, where it is ------------------------------------------------------------------------------------

REAL = Path(os.environ.get("MSANET_FERPLUS", "~/data/ferplus")).expanduser()
real = pytest.mark.skipif(not REAL.is_dir(), reason="no FERPlus here: set MSANET_FERPLUS to its folder")


@real
def test_the_official_counts_are_met():
    sizes = {}
    for protocol in ("majority", "top"):
        for split in ("train", "validation", "test"):
            samples = ferplus_reader.read(REAL, split, protocol=protocol, duplicates=True)
            sizes[protocol, split] = len(samples)
            if protocol == "majority" and split in ferplus_reader.OFFICIAL_COUNTS:
                assert count(samples) == ferplus_reader.OFFICIAL_COUNTS[split]
    assert list(sizes.values()) == [25_057, 3_199, 3_152, 28_386, 3_553, 3_545]


@real
def test_the_duplicates_of_held_out_pictures_are_left_out():
    sizes = [len(ferplus_reader.read(REAL, "train", protocol=protocol)) for protocol in ("majority", "top")]
    assert sizes == [24_443, 27_698]


@real
def test_the_published_lists_parse_whole():
    numbers = [len(subsets.read_list(REAL / "subsets" / file, line)) for file, line in ferplus_reader.LISTS.values()]
    assert numbers == [1_170, 633, 605]


@real
def test_the_subsets_have_their_sizes():
    sizes = [len(ferplus_reader.read_subset(REAL, name)) for name in ("pose30", "pose45", "occlusion")]
    assert sizes == [1_167, 630, 600]
    ours, own = (ferplus_reader.read_subset(REAL, "pose30", own_labels=value) for value in (False, True))
    changed = sum(a.label != b.label for a, b in zip(ours, own, strict=True))
    assert 0 < changed < 10
