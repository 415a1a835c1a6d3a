"""`msanet datasets check`: counts, what is missing or damaged, what differs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from msanet.data import ferplus
from msanet.data.check import check
from msanet.errors import InputError


def test_counts_stand_beside_the_official_ones(ferplus):
    result = check(f"ferplus:{ferplus}")
    rows = {(split, name): (number, official) for split, name, number, official in result.rows}
    assert rows["test", "fear"] == (1, 83)
    assert rows["train", "all"] == (14, 25_057)
    assert rows["validation", "all"] == (2, 3_199)
    assert rows["test", "pose30"] == (3, None)
    assert len(result.differing) == 27
    assert result.failures == []
    assert [sentence for sentence, _ in result.warnings] == [
        "2 of 14 pictures of the train split are in the validation or the test split too, the first fer0000013.png"
    ]


def test_missing_and_damaged_pictures_are_named(own_ferplus):
    folder = own_ferplus / "FER2013Test"
    (folder / "fer0000040.png").unlink()
    (folder / "fer0000041.png").unlink()
    (folder / "fer0000042.png").write_bytes((folder / "fer0000042.png").read_bytes()[:300])
    result = check(f"ferplus:{own_ferplus}")
    assert (
        "2 of 8 listed pictures are missing and left out, the first fer0000040.png",
        ("fer0000040.png", "fer0000041.png"),
    ) in result.warnings
    (failure,) = result.failures
    assert "fer0000042.png" in failure
    assert check(f"ferplus:{own_ferplus}", decode=False).failures == []


def test_a_split_that_cannot_be_read_is_named_and_the_others_are_counted(own_ferplus):
    for path in (own_ferplus / "FER2013Valid").iterdir():
        path.unlink()
    (own_ferplus / "subsets" / "pose_45_ferplus_list.txt").write_text("?\n")
    result = check(f"ferplus:{own_ferplus}")
    assert {split for split, *_ in result.rows} == {"train", "test"}
    assert [sentence.rsplit("/", 1)[-1].split(":")[0] for sentence in result.failures] == [
        "FER2013Valid",
        "pose_45_ferplus_list.txt, line 1",
    ]


def test_a_plain_folder_has_no_official_counts(faces_folder, tmp_path):
    result = check(f"folder:{faces_folder}")
    assert [row for row in result.rows if row[1] == "all"] == [
        ("train", "all", 32, None),
        ("validation", "all", 16, None),
        ("test", "all", 16, None),
    ]
    assert (result.differing, result.failures, result.warnings) == ([], [], [])
    with pytest.raises(InputError, match="is not a folder"):
        check(f"folder:{tmp_path / 'nowhere'}")


REAL = Path(os.environ.get("MSANET_FERPLUS", "~/data/ferplus")).expanduser()


@pytest.mark.skipif(not REAL.is_dir(), reason="no FERPlus here: set MSANET_FERPLUS to its folder")
def test_the_official_counts_are_met_by_the_official_files():
    result = check(f"ferplus:{REAL}", decode=False)
    assert result.differing == []
    assert sum(number for _, name, number, _ in result.rows if name == "all") == 25_057 + 3_199 + 3_152
    assert ferplus.OFFICIAL_COUNTS.keys() == {"train", "validation", "test"}
    (duplicates,) = result.warnings
    assert duplicates[0].startswith(
        "614 of 25,057 pictures of the train split are in the validation or the test split too,"
    )
