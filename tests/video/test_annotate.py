"""The annotated video: its pictures, its times, its sound."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from shutil import copy

import numpy as np
import pytest

from msanet.video.process import process
from msanet.video.tracks import Following
from tests.conftest import HEIGHT, WIDTH, build_clip, walking
from tests.video.conftest import pictures, rows, times

av = pytest.importorskip("av")


def sound(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(audio=0) if packet.size]


def test_the_annotated_video_is_the_video_with_drawings_and_its_own_sound(clip, done):
    _, folder = done
    assert times(folder / "clip.annotated.mp4") == pytest.approx(times(clip), abs=1e-4)
    assert sound(folder / "clip.annotated.mp4") == sound(clip)
    before, after = np.stack(pictures(clip)).astype(int), np.stack(pictures(folder / "clip.annotated.mp4")).astype(int)
    assert before.shape == after.shape == (30, HEIGHT, WIDTH, 3)
    differences = np.abs(before - after).max(axis=3)
    assert np.median(differences) <= 3
    for row in rows(folder / "clip.csv"):
        x, y1, y2 = round(float(row["x1"])), round(float(row["y1"])), round(float(row["y2"]))
        assert differences[int(row["frame"]), y1 + 10 : y2 - 10, x - 1 : x + 2].max(axis=1).mean() > 30


def test_uneven_times_are_kept(tmp_path, recognizer, portrait):
    uneven = [0, 40, 45, 400, 410, 2000, 2033]
    path = build_clip(tmp_path / "uneven.mkv", walking(portrait, 7), times=uneven)
    process(path, recognizer, Following(), tmp_path / "out")
    assert times(tmp_path / "out.annotated.mp4") == pytest.approx(np.array(uneven) / 1000, abs=1e-3)
    assert sorted({float(row["time"]) for row in rows(tmp_path / "out.csv")}) == [value / 1000 for value in uneven]


def test_a_video_that_begins_late_begins_at_zero(tmp_path, recognizer, portrait):
    path = build_clip(tmp_path / "late.mkv", walking(portrait, 4), times=[5000, 5040, 5080, 5120])
    process(path, recognizer, Following(), tmp_path / "out")
    assert times(tmp_path / "out.annotated.mp4") == pytest.approx([0, 0.04, 0.08, 0.12], abs=1e-3)
    assert {float(row["time"]) for row in rows(tmp_path / "out.csv")} == {0, 0.04, 0.08, 0.12}


def test_sound_of_a_transport_stream_is_kept(tmp_path, recognizer, portrait):
    """There AAC has a header in each packet (ADTS), and none that MP4 could begin with."""
    path = build_clip(tmp_path / "clip.ts", walking(portrait, 10), sound="aac")
    assert process(path, recognizer, Following(), tmp_path / "out").failures == []
    counts = []
    for name in (path, tmp_path / "out.annotated.mkv"):
        with av.open(str(name)) as container:
            counts.append(sum(frame.samples for frame in container.decode(audio=0)))
    assert 0 < counts[0] - 1025 <= counts[1] <= counts[0]


def test_sound_that_mp4_does_not_carry_makes_a_matroska_file(tmp_path, recognizer, portrait):
    path = build_clip(tmp_path / "clip.avi", walking(portrait, 5), codec="mpeg4", sound="pcm_s16le")
    outcome = process(path, recognizer, Following(), tmp_path / "out")
    assert outcome.failures == []
    assert b"".join(sound(tmp_path / "out.annotated.mkv")) == b"".join(sound(path))


def test_sound_without_a_place_in_matroska_is_left_out_and_said(tmp_path, recognizer, portrait):
    path = build_clip(tmp_path / "clip.flv", walking(portrait, 5), codec="flv", sound="nellymoser")
    (sentence,) = process(path, recognizer, Following(), tmp_path / "out").failures
    assert "lacks sound" in sentence
    assert "nellymoser" in sentence
    assert len(times(tmp_path / "out.annotated.mkv")) == 5


def test_sound_of_which_nothing_can_be_read_is_none(tmp_path, recognizer, portrait):
    """The stream is announced, but no packet says how many channels it has."""
    path = build_clip(tmp_path / "clip.ts", walking(portrait, 5), sound="mp3")
    data = bytearray(path.read_bytes())
    for start in range(0, len(data), 188):
        if int.from_bytes(data[start + 1 : start + 3], "big") & 0x1FFF == 0x101:
            begins = data[start + 1] & 0x40
            data[start + (60 if begins else 30) : start + 188] = bytes(128 if begins else 158)
    path.write_bytes(data)
    outcome = process(path, recognizer, Following(), tmp_path / "out")
    assert [sentence for sentence in outcome.failures if "cannot be written" in sentence] == []
    assert len(times(tmp_path / "out.annotated.mp4")) == 5


def test_pixels_are_square_in_the_annotated_video(tmp_path, recognizer, portrait):
    squeezed = [np.ascontiguousarray(picture[:, ::2]) for picture in walking(portrait, 3)]
    path = build_clip(tmp_path / "wide.mp4", squeezed, aspect=Fraction(2))
    process(path, recognizer, Following(), tmp_path / "out")
    with av.open(str(tmp_path / "out.annotated.mp4")) as container:
        assert container.streams.video[0].sample_aspect_ratio in (None, 1)
    assert pictures(tmp_path / "out.annotated.mp4")[0].shape == (HEIGHT, WIDTH, 3)
    table = rows(tmp_path / "out.csv")
    assert len(table) == 9
    assert max(float(row["x2"]) for row in table) > WIDTH / 2
    for row in table:  # Grace Hopper's face is a little higher than wide
        width, height = (float(row[f"{axis}2"]) - float(row[f"{axis}1"]) for axis in "xy")
        assert 0.6 < width / height < 1


@pytest.mark.parametrize("ending", [".mp4", ".mkv"])
def test_the_file_can_be_played_while_it_is_written(tmp_path, recognizer, portrait, ending):
    """So it can after a SIGKILL; and the table has at least as much."""
    sound = "pcm_s16le" if ending == ".mkv" else None
    path = build_clip(tmp_path / f"clip{ending}", walking(portrait, 80), sound=sound)
    seen = []

    def kill(seconds: float, _: float | None) -> None:
        if seconds == pytest.approx(3.0):
            copy(tmp_path / "out.csv", tmp_path / "killed.csv")
            copy(tmp_path / f"out.annotated{ending}", tmp_path / f"killed{ending}")
        seen.append(seconds)

    process(path, recognizer, Following(), tmp_path / "out", progress=kill)
    assert {int(row["frame"]) for row in rows(tmp_path / "killed.csv")} == set(range(76))
    assert 0 < len(times(tmp_path / f"killed{ending}")) <= 76
    assert len(seen) == len(times(tmp_path / f"out.annotated{ending}")) == 80


def test_odd_sides_become_even(tmp_path, recognizer, portrait):
    path = build_clip(tmp_path / "odd.mkv", walking(portrait, 3, (641, 361)), codec="ffv1", pixels="yuv444p")
    assert process(path, recognizer, Following(), tmp_path / "out").failures == []
    assert pictures(tmp_path / "out.annotated.mp4")[0].shape == (360, 640, 3)
    assert len(rows(tmp_path / "out.csv")) == 9
