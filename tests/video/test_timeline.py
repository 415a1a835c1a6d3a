"""The table of every face and the picture of each person's expressions."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from msanet.drawing.annotate import COLOURS
from msanet.drawing.text import shown
from msanet.errors import InputError
from msanet.faces.face import Face
from msanet.labels import EXPRESSIONS
from msanet.video.frames import Frame, Moment
from msanet.video.timeline import HELD, SHARE_BINS, SHOWN, Table, Timeline, clock, columns

av = pytest.importorskip("av")
IMAGE = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 90, np.uint8), format="rgb24")


def face(track: int, best: str, share: float = 0.9) -> Face:
    rest = (1 - share) / (len(EXPRESSIONS) - 1)
    probabilities = {name: share if name == best else rest for name in EXPRESSIONS}
    points = np.array([[20, 20], [40, 20], [30, 30], [22, 40], [38, 40]], np.float32)
    return Face((10.0, 10.0, 50.0, 50.0), 0.95, points, best, probabilities, np.zeros((4, 2), np.float32), track=track)


def moment(index: int, time: float, *faces: Face) -> Moment:
    return Moment(Frame(IMAGE, index, time), faces)


MOMENTS = [moment(0, 0.0, face(1, "anger"), face(2, "fear")), moment(1, 0.04), moment(2, 0.0801, face(2, "happiness"))]


def test_csv_and_json_lines_hold_every_face_of_every_frame(tmp_path):
    for kind in ("csv", "jsonl"):
        table = Table(tmp_path / f"table.{kind}", kind, EXPRESSIONS)
        for item in MOMENTS:
            table.add(item)
        table.close()
    with (tmp_path / "table.csv").open() as file:
        rows = list(csv.DictReader(file))
    lines = [json.loads(line) for line in (tmp_path / "table.jsonl").read_text().splitlines()]
    assert [(row["frame"], row["time"], row["track"], row["expression"]) for row in rows] == [
        ("0", "0.0", "1", "anger"),
        ("0", "0.0", "2", "fear"),
        ("2", "0.0801", "2", "happiness"),
    ]
    assert [{name: str(value) for name, value in line.items()} for line in lines] == rows
    assert list(lines[0]) == columns(EXPRESSIONS)
    assert sum(float(rows[0][name]) for name in EXPRESSIONS) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_what_was_added_is_in_the_file_at_once(tmp_path, kind):
    """So that a run that is killed leaves it."""
    table = Table(tmp_path / "table", kind, EXPRESSIONS)
    for index in range(3):
        table.add(moment(index, index / 25, face(1, "anger")))
        assert len((tmp_path / "table").read_text().splitlines()) == index + 1 + (kind == "csv")
    table.close()


def test_parquet_holds_the_same(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    table = Table(tmp_path / "table.parquet", "parquet", EXPRESSIONS)
    for item in MOMENTS:
        table.add(item)
    table.close()
    rows = parquet.read_table(tmp_path / "table.parquet").to_pylist()
    assert [(row["frame"], row["track"], row["expression"]) for row in rows] == [
        (0, 1, "anger"),
        (0, 2, "fear"),
        (2, 2, "happiness"),
    ]
    empty = Table(tmp_path / "empty.parquet", "parquet", EXPRESSIONS)
    empty.close()
    assert parquet.read_table(tmp_path / "empty.parquet").column_names == columns(EXPRESSIONS)


def test_other_formats_are_refused(tmp_path):
    with pytest.raises(InputError, match="choose one of csv, jsonl, parquet"):
        Table(tmp_path / "table.xlsx", "xlsx", EXPRESSIONS)


def test_parquet_says_what_it_needs(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="--output"):
        Table(io.StringIO(), "parquet", EXPRESSIONS)
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(InputError, match="pip install pyarrow"):
        Table(tmp_path / "table.parquet", "parquet", EXPRESSIONS)
    assert list(tmp_path.iterdir()) == []


def test_a_table_that_cannot_be_written_is_one_sentence(tmp_path):
    with pytest.raises(InputError, match=r"nowhere/table.csv cannot be written \(No such file"):
        Table(tmp_path / "nowhere" / "table.csv", "csv", EXPRESSIONS)


def test_the_curve_is_what_was_seen_and_blank_in_between():
    timeline = Timeline(EXPRESSIONS)
    for index in range(101):
        time = index / 25
        people = [face(1, "sadness" if time < 2 else "surprise")] if not 1 <= time < 3 else []
        timeline.add(moment(index, time, *people))
    times = np.array([0.0, 0.5, 1.1, 2.0, 2.9, 3.0, 3.9])
    curve = timeline.curve(timeline.people[1], times)
    best = [None if np.isnan(row[0]) else EXPRESSIONS[int(row.argmax())] for row in curve]
    assert best == ["sadness", "sadness", "sadness", None, None, "surprise", "surprise"]
    row = timeline.summary("clip.mp4")[0]
    assert row == ["clip.mp4", 1, "surprise", "47%", "0:00.0", "0:04.0", 51]


def test_the_picture_shows_the_curve():
    timeline = Timeline(EXPRESSIONS)
    for index in range(100):
        timeline.add(moment(index, index / 25, face(1, "sadness" if index < 50 else "anger", 1.0)))
    picture = timeline.draw("clip.mp4")
    middle = picture[70 + 48, 300:-40]  # of the first row
    quarter = len(middle) // 4
    assert (middle[quarter - 50 : quarter + 50] == COLOURS["sadness"]).all()
    assert (middle[-quarter - 50 : -quarter + 50] == COLOURS["anger"]).all()
    assert Timeline(EXPRESSIONS).draw().shape[1] == picture.shape[1]


def test_the_picture_shows_labels_and_titles_of_other_languages():
    if shown("а", 1) != "а":
        pytest.skip("no font here has Cyrillic letters")
    # as boxes for missing letters they would look alike
    for one, other in (((("ша", "я"), "a"), (("аш", "я"), "a")), ((("a", "b"), "ша"), (("a", "b"), "аш"))):
        first, second = (Timeline(labels).draw(f"{title}\udce9\n.mp4")[:, :, 0] < 100 for labels, title in (one, other))
        assert not np.array_equal(first, second)


@given(st.lists(st.floats(0.001, 3000), min_size=1, max_size=60))
def test_the_mean_is_kept_in_bounded_memory(steps):
    timeline = Timeline(EXPRESSIONS)
    rng = np.random.default_rng(0)
    shares = []
    for index, time in enumerate(np.cumsum(steps)):
        shares.append(float(rng.uniform(0.3, 1)))
        timeline.add(moment(index, float(time), face(1, "fear", shares[-1])))
    person = timeline.people[1]
    assert timeline.shares(person)["fear"] == pytest.approx(np.mean(shares))
    assert max(person.sums) < SHARE_BINS


def test_crowds_are_held_in_bounded_memory():
    timeline = Timeline(EXPRESSIONS)
    for index in range(3 * HELD):
        timeline.add(moment(index, index / 25, face(1, "fear"), face(index + 2, "anger")))
    assert len(timeline.people) <= HELD + 1
    assert timeline.people[1].frames == 3 * HELD
    assert len(timeline.people) + timeline.others == 3 * HELD + 1
    assert timeline.draw().shape[0] < 70 + 118 * SHOWN + 111


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00.0"), (83.44, "1:23.4"), (59.97, "1:00.0"), (3723, "1:02:03")])
def test_clock(seconds, text):
    assert clock(seconds) == text
