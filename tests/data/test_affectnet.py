"""AffectNet in both of its forms."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import numpy as np
import pytest

from msanet import data
from msanet.data import affectnet, subsets
from msanet.data.sample import DataWarning, count
from msanet.errors import InputError
from msanet.images import write

LISTS = Path(os.environ.get("MSANET_LISTS", Path(__file__).parents[3] / "shared" / "data" / "lists")) / "affectnet"
HEADER = ",".join((*affectnet.COLUMNS, "valence", "arousal"))
PICTURE = np.zeros((40, 60, 3), np.uint8)
PICTURE[10:30, 20:50] = 255


def build_csv(root: Path, header: bool = True) -> Path:
    """The first form: ten training pictures of each code 0 to 10, one test picture of each."""
    (root / "Manually_Annotated_file_lists").mkdir()
    for name, number in (("training", 10), ("validation", 1)):
        lines = [HEADER] if header else []
        for code in range(11):
            folder = root / "Manually_Annotated_Images" / str(code)
            folder.mkdir(parents=True, exist_ok=True)
            for index in range(number):
                # Names are hashes, which are hexadecimal.
                path = folder / f"{'ab' if name == 'training' else 'cd'}{code:x}{index}.jpg"
                write(path, PICTURE)
                lines.append(f"{code}/{path.name},20,10,30,20,1;2;3,{code},0.1,-0.2")
        (root / "Manually_Annotated_file_lists" / f"{name}.csv").write_text("\n".join(lines) + "\n")
    (root / "subsets").mkdir()
    (root / "subsets" / "pose_30_affectnet_list.txt").write_text("0/cd00.jpg\n7/cd70.jpg\n")
    (root / "subsets" / "pose_45_affectnet_list.txt").write_text("6/cd70/8.jpg\n")
    (root / "subsets" / "occlusion_affectnet_list.txt").write_text("val/2/cd20/\n")
    return root


def build_arrays(root: Path, dtype: type) -> Path:
    """The later form, labels as numbers or as strings."""
    for name, number in (("train_set", 10), ("val_set", 1)):
        for folder in ("images", "annotations"):
            (root / name / folder).mkdir(parents=True)
        for code in range(11):
            for index in range(number):
                file = code * number + index
                write(root / name / "images" / f"{file}.jpg", PICTURE)
                np.save(root / name / "annotations" / f"{file}_exp.npy", np.array(code).astype(dtype))
    return root


@pytest.fixture(params=["csv", "csv without header", "numbers", "strings"])
def root(request, tmp_path) -> Path:
    if request.param.startswith("csv"):
        return build_csv(tmp_path, header=request.param == "csv")
    return build_arrays(tmp_path, np.int64 if request.param == "numbers" else np.str_)


def test_codes_become_names_and_the_others_are_left_out(root):
    samples = affectnet.read(root, "test")
    assert [sample.label for sample in samples] == list(affectnet.CODES)
    assert affectnet.CODES == (
        "neutral",
        "happiness",
        "sadness",
        "surprise",
        "fear",
        "disgust",
        "anger",
        "contempt",
    )


def test_a_stratified_tenth_is_held_out(root):
    assert set(count(affectnet.read(root, "train")).values()) == {9}
    assert set(count(affectnet.read(root, "validation")).values()) == {1}


def test_the_first_form_cuts_the_face_out(tmp_path):
    crop = affectnet.read(build_csv(tmp_path), "test")[0].crop()
    assert crop.shape == (20, 30, 3)
    assert crop.mean() > 240


@pytest.mark.parametrize(("name", "expected"), [("pose30", ["neutral", "contempt"]), ("pose45", ["contempt"])])
def test_subsets(tmp_path, name, expected):
    samples = data.read(f"affectnet:{build_csv(tmp_path)}", "test", name)
    assert [sample.label for sample in samples] == expected


def test_a_list_may_have_its_own_labels(tmp_path):
    (sample,) = affectnet.read_subset(build_csv(tmp_path), "pose45", own_labels=True)
    assert sample.label == "anger"


def test_the_lists_do_not_fit_the_later_form(tmp_path):
    with pytest.raises(InputError, match="first form"):
        affectnet.read_subset(build_arrays(tmp_path, np.int64), "pose30")


def test_missing_pictures_are_left_out_and_counted(tmp_path):
    root = build_csv(tmp_path)
    (root / "Manually_Annotated_Images" / "3" / "cd30.jpg").unlink()
    with pytest.warns(UserWarning, match=r"1 of 8 listed pictures are missing and left out, the first cd30\.jpg"):
        assert len(affectnet.read(root, "test")) == 7


def test_rows_that_repeat_a_picture_and_pictures_in_both_lists_are_warned_of(tmp_path):
    root = build_csv(tmp_path)
    training, validation = (
        root / "Manually_Annotated_file_lists" / f"{name}.csv" for name in ("training", "validation")
    )
    training.write_text(training.read_text() + training.read_text().splitlines()[1] + "\n")
    with pytest.warns(DataWarning, match=r"1 of 81 rows of .*training\.csv repeat a picture and are left out"):
        assert len(affectnet.read(root, "train", validation=0)) == 80
    training.write_text(training.read_text() + validation.read_text().splitlines()[1] + "\n")
    words = "1 of 81 pictures of the train split are in the test split too"
    with (
        pytest.warns(DataWarning, match="rows of"),
        pytest.warns(DataWarning, match=rf"{words} and are left out, the first cd00\.jpg"),
    ):
        assert len(affectnet.read(root, "train", validation=0)) == 80
    with pytest.warns(DataWarning, match="rows of"), pytest.warns(DataWarning, match=rf"{words}, the first cd00\.jpg"):
        assert len(affectnet.read(root, "train", validation=0, duplicates=True)) == 81


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("a/b.jpg,1,2,3,4,5;6,11,0,0", "line 1"),
        ("a/b.jpg,1,2,3,4,5;6,happy,0,0", "line 1"),
        ("a/b.jpg,1,nan,3,4,5;6,1,0,0", "line 1"),
        ("a/b.jpg,1,2,1e308,1e999,5;6,1,0,0", "line 1"),
        (HEADER + "\na/b.jpg,1,2", "line 2"),
        (HEADER.replace("face_x", "left"), "other columns"),
        (HEADER + "\nnowhere/b.jpg,1,2,3,4,5;6,1,0,0", "none of 1 listed pictures"),
    ],
)
def test_broken_tables_are_refused(tmp_path, content, words):
    (tmp_path / "Manually_Annotated_file_lists").mkdir()
    (tmp_path / "Manually_Annotated_file_lists" / "validation.csv").write_text(content + "\n")
    with pytest.raises(InputError, match=words):
        affectnet.read(tmp_path, "test")


@pytest.mark.parametrize("value", ["happy", [1, 2], 12, -1, "", np.nan, np.inf])
def test_broken_arrays_are_refused(tmp_path, value):
    np.save(build_arrays(tmp_path, np.int64) / "val_set" / "annotations" / "0_exp.npy", np.array(value))
    with pytest.raises(InputError, match=r"0_exp\.npy"):
        affectnet.read(tmp_path, "test")


def test_a_folder_of_neither_form_is_refused(tmp_path):
    with pytest.raises(InputError, match="not of AffectNet's layout"):
        affectnet.read(tmp_path, "test")


@pytest.mark.skipif(not LISTS.is_dir(), reason="the published lists are not here (MSANET_LISTS)")
@pytest.mark.parametrize(
    ("name", "lines", "pictures"), [("pose30", 1949, 1944), ("pose45", 985, 983), ("occlusion", 683, 683)]
)
def test_the_published_lists_parse_whole(name, lines, pictures):
    file, pattern = affectnet.LISTS[name]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert len(subsets.read_list(LISTS / file, pattern)) == pictures
    repeats = [len(warning.message.names) for warning in caught]  # type: ignore[union-attr]
    assert pictures + sum(repeats) == len((LISTS / file).read_text().splitlines()) == lines
