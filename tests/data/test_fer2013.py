"""FER2013 in the challenge's csv and as FERPlus's pictures."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from msanet import data
from msanet.data import fer2013, ferplus
from msanet.data.dataset import FaceDataset
from msanet.data.sample import DataWarning, count
from msanet.errors import InputError
from msanet.labels import EXPRESSIONS, expressions_for
from msanet.preprocessing import Preprocessing

# What is warned of has tests of its own below.
pytestmark = pytest.mark.filterwarnings("ignore::msanet.data.sample.DataWarning")
NAMES = Path(__file__).parents[3] / "shared" / "data" / "fer2013_emotions.csv"
USAGES = ("Training", "PublicTest", "PrivateTest")


def pixels(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(256, size=(48, 48), dtype=np.uint8)


def line(code: int, usage: str, seed: int, order: tuple[str, ...] = ("emotion", "pixels", "Usage")) -> str:
    fields = {"emotion": str(code), "pixels": " ".join(map(str, pixels(seed).ravel())), "Usage": usage}
    return ",".join(fields[name] for name in order)


@pytest.fixture
def challenge(tmp_path) -> Path:
    """Each code once in each split; the last training row is the picture of the first test row."""
    lines = ["emotion,pixels,Usage"]
    lines += [line(code, usage, 10 * part + code) for part, usage in enumerate(USAGES) for code in range(7)]
    lines.append(line(3, "Training", 20))
    (tmp_path / "fer2013.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


@pytest.fixture
def pictures(tmp_path) -> Path:
    """FERPlus's folders: a row without a name, and one name that stands twice."""
    lines = ["row,Image name,Usage,emotion", "0,,Training,0", "1,fer0000000.png,Training,1"]
    for number, usage in enumerate(("Training", "Training", "PublicTest", "PrivateTest")):
        name = f"fer{number:07}.png"
        path = tmp_path / ferplus.FOLDERS[ferplus.USAGES[usage]] / name
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(pixels(3 if number == 1 else number)).save(path)
        lines.append(f"{number + 2},{name},{usage},{number + 3}")
    (tmp_path / "fer2013_emotions.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_codes_become_names(challenge, split):
    samples = fer2013.read(challenge, split)
    expected = ["anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral"]
    assert [sample.label for sample in samples] == expected
    assert data.labels_of(f"fer2013:{challenge}", samples) == expressions_for(7)


def test_a_picture_is_read_from_its_line(challenge):
    sample = fer2013.read(challenge, "test")[2]
    assert sample.name == "fer2013.csv, line 18"
    crop = sample.crop()
    assert crop.shape == (48, 48, 3)
    for channel in range(3):
        np.testing.assert_array_equal(crop[:, :, channel], pixels(22))
    item = FaceDataset([sample], Preprocessing(size=48), EXPRESSIONS)[0]
    assert item["images"].shape == (3, 48, 48)
    assert EXPRESSIONS[int(item["targets"].argmax())] == "fear"


def test_columns_are_found_by_name(challenge):
    path = challenge / "fer2013.csv"
    order = ("emotion", "Usage", "pixels")  # as in the challenge's other file
    path.write_text("emotion, Usage, pixels\r\n" + line(4, "PrivateTest", 5, order) + "\r\n\r\n")
    (sample,) = fer2013.read(challenge, "test")
    assert sample.label == "sadness"
    np.testing.assert_array_equal(sample.crop()[:, :, 0], pixels(5))


def test_training_pictures_of_the_other_splits_are_left_out_unless_asked_for(challenge, pictures):
    (pictures / "fer2013.csv").rename(pictures / "away.csv")
    assert [sample.name for sample in fer2013.read(pictures, "train")] == ["fer0000000.png"]
    with pytest.warns(
        DataWarning, match="1 of 2 pictures of the train split are in the validation or the test split too, "
    ):
        assert len(fer2013.read(pictures, "train", duplicates=True)) == 2
    (pictures / "away.csv").rename(pictures / "fer2013.csv")
    with pytest.warns(DataWarning, match=r"1 of 8 pictures of the train split .* the first fer2013\.csv, line 23"):
        assert len(fer2013.read(challenge, "train", duplicates=True)) == 8


def test_names_are_joined_with_pictures_and_the_last_row_counts(pictures):
    assert {sample.name: sample.label for sample in fer2013.read(pictures, "train")} == {"fer0000000.png": "happiness"}
    assert [sample.label for sample in fer2013.read(pictures, "test")] == ["neutral"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text.replace("pixels", "image"), "lacks the columns pixels"),
        (lambda text: text.replace("\n0,", "\n7,", 1), "line 2: not an emotion 0 to 6"),
        (lambda text: text.replace("\n0,", "\nangry,", 1), "line 2"),
        (lambda text: text.replace(",PrivateTest", ",Test", 1), "line 16"),
        (lambda text: text.replace(" ", "", 1), "line 2"),
    ],
)
def test_broken_tables_are_refused(challenge, change, words):
    path = challenge / "fer2013.csv"
    path.write_text(change(path.read_text()))
    with pytest.raises(InputError, match=words):
        fer2013.read(challenge, "test")


@pytest.mark.parametrize("value", ["256", "-1", "x"])
def test_a_value_that_is_no_grey_level_is_named(challenge, value):
    path = challenge / "fer2013.csv"
    head, first, *rest = path.read_text().splitlines()
    code, numbers, usage = first.split(",")
    path.write_text("\n".join([head, f"{code},{value} {numbers.split(' ', 1)[1]},{usage}", *rest]) + "\n")
    with pytest.raises(InputError, match=r"fer2013\.csv, line 2: not 2304 numbers 0 to 255"):
        fer2013.read(challenge, "train")[0].crop()


def test_other_folders_are_refused(tmp_path, pictures):
    with pytest.raises(InputError, match="holds neither"):
        fer2013.read(tmp_path / "nowhere", "test")
    path = pictures / "fer2013_emotions.csv"
    text = path.read_text()
    path.write_text(text.replace("emotion", "label", 1))
    with pytest.raises(InputError, match="lacks the columns emotion"):
        fer2013.read(pictures, "test")
    path.write_text(text + "9,fer0000009.png,Training,7\n")
    with pytest.raises(InputError, match="line 8: not a usage and an emotion"):
        fer2013.read(pictures, "test")


@pytest.mark.skipif(not NAMES.is_file(), reason="the challenge's labels are not here")
def test_the_official_counts_are_those_of_the_challenge(tmp_path):
    import csv

    codes = {split: [0] * 7 for split in data.SPLITS}
    with NAMES.open(newline="") as file:
        for row in csv.DictReader(file):
            codes[ferplus.USAGES[row["Usage"]]][int(row["emotion"])] += 1
    for split, numbers in codes.items():
        assert dict(zip(fer2013.CODES, numbers, strict=True)) == fer2013.OFFICIAL_COUNTS[split]


FERPLUS = Path(os.environ.get("MSANET_FERPLUS", "~/data/ferplus")).expanduser()


@pytest.mark.skipif(not (NAMES.is_file() and FERPLUS.is_dir()), reason="no FERPlus here: set MSANET_FERPLUS")
def test_ferplus_holds_nearly_all_pictures(tmp_path):
    for folder in ferplus.FOLDERS.values():
        (tmp_path / folder).symlink_to(FERPLUS / folder)
    (tmp_path / "fer2013_emotions.csv").symlink_to(NAMES)
    assert [len(fer2013.read(tmp_path, split)) for split in ("validation", "test")] == [3_579, 3_573]
    assert sum(count(fer2013.read(tmp_path, "test")).values()) == 3_573
