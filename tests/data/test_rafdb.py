"""RAF-DB in its official layout and in the widespread repackaging."""

from __future__ import annotations

import os
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest

from msanet import data
from msanet.data import rafdb, subsets
from msanet.data.sample import DataWarning, count
from msanet.errors import InputError
from msanet.images import write

LISTS = Path(os.environ.get("MSANET_LISTS", Path(__file__).parents[3] / "shared" / "data" / "lists")) / "rafdb"
# Pictures of each official code; test files have four digits, training files five.
TRAIN = {1: 10, 2: 10, 3: 10, 4: 20, 5: 10, 6: 10, 7: 20}
TEST = {1: 1, 2: 1, 3: 1, 4: 2, 5: 1, 6: 1, 7: 1}


def noise(*seed: int) -> np.ndarray:
    """Each picture is another, else it would be in two splits."""
    return np.random.default_rng(seed).integers(256, size=(20, 20, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def official(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("rafdb")
    lines, pictures = [], root / "basic" / "Image" / "aligned"
    pictures.mkdir(parents=True)
    for part, digits, codes in (("train", 5, TRAIN), ("test", 4, TEST)):
        labels = [code for code, number in codes.items() for _ in range(number)]
        for number, code in enumerate(labels, 1):
            name = f"{part}_{number:0{digits}}"
            lines.append(f"{name}.jpg {code}")
            write(pictures / f"{name}_aligned.jpg", noise(digits, number))
    (root / "basic" / "EmoLabel").mkdir()
    (root / "basic" / "EmoLabel" / "list_patition_label.txt").write_text("\n".join(lines) + "\n")
    (root / "subsets").mkdir()
    (root / "subsets" / "val_raf_db_list.txt").write_text("0/test_0001_aligned.jpg\n3/test_0004_aligned.jpg\n")
    (root / "subsets" / "val_raf_db_list_45.txt").write_text("6/test_0004_aligned.jpg\n")
    (root / "subsets" / "rafdb_occlusion_list.txt").write_bytes(b"test_0002_aligned 1 4\r\ntest_0002_aligned 1 4\r\n")
    return root


@pytest.fixture(scope="module")
def repackaged(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("repackaged")
    for part, codes in (("train", TRAIN), ("test", TEST)):
        for code, number in codes.items():
            folder = root / "DATASET" / part / str(code)
            folder.mkdir(parents=True)
            for index in range(number):
                write(folder / f"{part}_{code}{index:04}_aligned.jpg", noise(len(part), code, index))
    return root


@pytest.fixture(params=["official", "repackaged"])
def root(request) -> Path:
    return request.getfixturevalue(request.param)


def test_codes_become_names(root):
    expected = {"surprise": 1, "fear": 1, "disgust": 1, "happiness": 2, "sadness": 1, "anger": 1, "neutral": 1}
    assert count(rafdb.read(root, "test")) == expected


def test_a_stratified_tenth_is_held_out(root):
    training, held = rafdb.read(root, "train"), rafdb.read(root, "validation")
    assert count(held, rafdb.CODES) == dict(zip(rafdb.CODES, (1, 1, 1, 2, 1, 1, 2), strict=True))
    assert not {sample.path for sample in training} & {sample.path for sample in held}
    assert len(training) + len(held) == len(rafdb.read(root, "train", validation=0)) == sum(TRAIN.values())


def test_the_seed_decides_what_is_held_out(root):
    assert rafdb.read(root, "validation", seed=1) == rafdb.read(root, "validation", seed=1)
    assert rafdb.read(root, "validation", seed=1) != rafdb.read(root, "validation", seed=2)


@pytest.mark.parametrize("part", [-0.1, 1.0])
def test_impossible_parts_are_refused(root, part):
    with pytest.raises(InputError, match="from 0 to below 1"):
        rafdb.read(root, "train", validation=part)


def test_nothing_held_out_is_no_validation_split(root):
    with pytest.raises(InputError, match="no picture is held out"):
        rafdb.read(root, "validation", validation=0)


@pytest.mark.filterwarnings("ignore:1 lines of")
@pytest.mark.parametrize(("name", "numbers"), [("pose30", [1, 4]), ("pose45", [4]), ("occlusion", [2])])
def test_subsets(official, name, numbers):
    samples = data.read(f"rafdb:{official}", "test", name)
    assert [sample.path.stem for sample in samples] == [f"test_{number:04}_aligned" for number in numbers]


def test_a_list_may_have_its_own_labels(official):
    assert [sample.label for sample in rafdb.read_subset(official, "pose45")] == ["happiness"]
    assert [sample.label for sample in rafdb.read_subset(official, "pose45", own_labels=True)] == ["neutral"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("train_00001.jpg 11", "compound"),
        ("train_00001.jpg", "line 1"),
        ("train_00001.jpg 0", "line 1"),
        ("train_00001.jpg ²", "line 1"),
        ("x 3", "line 1"),
    ],
)
def test_broken_lists_are_refused(tmp_path, line, words):
    folder = tmp_path / "basic" / "EmoLabel"
    folder.mkdir(parents=True)
    (folder / "list_patition_label.txt").write_text(line + "\n")
    with pytest.raises(InputError, match=words):
        rafdb.read(tmp_path, "train")


def test_missing_pictures_and_repeated_rows_are_counted(tmp_path):
    lists, pictures = tmp_path / "basic" / "EmoLabel", tmp_path / "basic" / "Image" / "aligned"
    lists.mkdir(parents=True)
    pictures.mkdir(parents=True)
    (lists / "list_patition_label.txt").write_text("test_0001.jpg 1\ntest_0002.jpg 2\ntest_0002.jpg 3\n")
    write(pictures / "test_0002_aligned.jpg", noise(0))
    with pytest.warns(DataWarning) as caught:
        (sample,) = rafdb.read(tmp_path, "test")
    assert sample.label == "fear"
    repeat, missing = (str(warning.message) for warning in caught)
    assert repeat.startswith("1 of 3 rows of ")
    assert repeat.endswith("repeat a picture and are left out, the first test_0002_aligned.jpg")
    assert missing == "1 of 2 listed pictures are missing and left out, the first test_0001_aligned.jpg"
    (pictures / "test_0002_aligned.jpg").unlink()
    with (
        pytest.warns(DataWarning, match="repeat"),
        pytest.raises(InputError, match="none of 2 listed pictures is there"),
    ):
        rafdb.read(tmp_path, "test")
    with pytest.raises(InputError, match=r"list_patition_label\.txt is missing"):
        rafdb.read(tmp_path / "nowhere", "test")


def test_a_test_picture_among_the_training_pictures_is_left_out_unless_asked_for(repackaged, tmp_path):
    root = tmp_path / "copy"
    shutil.copytree(repackaged, root)
    shutil.copy(root / "DATASET/test/1/test_10000_aligned.jpg", root / "DATASET/train/2/test_10000_aligned.jpg")
    words = "of the train split are in the test split too"
    with pytest.warns(DataWarning, match=f"^1 of 91 pictures {words} and are left out, the first test_10000_aligned"):
        assert len(rafdb.read(root, "train", validation=0)) == 90
    with pytest.warns(DataWarning, match=f"^1 of 91 pictures {words}, the first test_10000_aligned"):
        assert len(rafdb.read(root, "train", validation=0, duplicates=True)) == 91
    # What is held out is the same either way, so that nothing of it is trained on.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        held = set(rafdb.read(root, "validation"))
        assert not set(rafdb.read(root, "train", duplicates=True)) & held
        assert set(rafdb.read(root, "validation", duplicates=True)) >= held
    (root / "DATASET" / "test" / "9").mkdir()
    with pytest.raises(InputError, match="holds the folders 9"):
        rafdb.read(root, "test")


@pytest.mark.skipif(not LISTS.is_dir(), reason="the published lists are not here (MSANET_LISTS)")
@pytest.mark.parametrize(
    ("name", "lines", "pictures"), [("pose30", 1247, 1247), ("pose45", 558, 558), ("occlusion", 735, 734)]
)
def test_the_published_lists_parse_whole(name, lines, pictures):
    file, pattern = rafdb.LISTS[name]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert len(subsets.read_list(LISTS / file, pattern)) == pictures
    repeats = [len(warning.message.names) for warning in caught]  # type: ignore[union-attr]
    assert pictures + sum(repeats) == len((LISTS / file).read_text().splitlines()) == lines
