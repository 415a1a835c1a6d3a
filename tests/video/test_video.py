"""Videos from end to end: what is found, what is written, and what remains when something goes wrong."""

from __future__ import annotations

import csv
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from msanet.errors import InputError
from msanet.images import read
from msanet.recognize.recognizer import Recognizer
from msanet.video.process import process, targets
from msanet.video.recognize import ahead
from msanet.video.tracks import Following
from tests.conftest import HEIGHT, WIDTH, build_clip, walking

av = pytest.importorskip("av")
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def recognizer(tiny_model) -> Recognizer:
    return Recognizer(tiny_model, threads=1)


@pytest.fixture(scope="module")
def done(tmp_path_factory, clip, recognizer):
    """The outcome for the clip, and the folder of its files."""
    folder = tmp_path_factory.mktemp("done")
    return process(clip, recognizer, Following(), folder / "clip"), folder


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def times(path: Path) -> list[float]:
    with av.open(str(path)) as container:
        return [frame.time for frame in container.decode(video=0)]


def pictures(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def sound(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(audio=0) if packet.size]


def test_everybody_is_followed_through_every_frame(done):
    outcome, folder = done
    assert (outcome.failures, outcome.interrupted) == ([], False)
    assert sorted(path.name for path in folder.iterdir()) == ["clip.csv", "clip.mp4", "clip.png"]
    assert sorted(outcome.files) == sorted(folder.iterdir())
    table = rows(folder / "clip.csv")
    assert len(table) == 30 * 3
    for track in ("1", "2", "3"):
        one = [row for row in table if row["track"] == track]
        assert [int(row["frame"]) for row in one] == list(range(30))
        assert np.array([float(row["time"]) for row in one]) == pytest.approx(np.arange(30) / 25)
        left = np.array([float(row["x1"]) for row in one])
        assert np.abs(np.diff(left)).max() < 20  # nobody jumps to another's place


def test_the_timeline_is_that_of_the_table(done):
    outcome, folder = done
    table = rows(folder / "clip.csv")
    for number, person in outcome.timeline.people.items():
        one = [row for row in table if row["track"] == str(number)]
        means = {name: np.mean([float(row[name]) for row in one]) for name in outcome.timeline.expressions}
        assert outcome.timeline.shares(person) == pytest.approx(means, abs=1e-4)
        assert (person.first, person.last, person.frames) == (0.0, pytest.approx(29 / 25), 30)
    assert read(folder / "clip.png").shape[1] == 1600


def test_the_annotated_video_is_the_video_with_drawings_and_its_own_sound(clip, done):
    _, folder = done
    assert times(folder / "clip.mp4") == pytest.approx(times(clip), abs=1e-4)
    assert sound(folder / "clip.mp4") == sound(clip)
    before, after = np.stack(pictures(clip)).astype(int), np.stack(pictures(folder / "clip.mp4")).astype(int)
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
    assert times(tmp_path / "out.mp4") == pytest.approx(np.array(uneven) / 1000, abs=1e-3)
    assert sorted({float(row["time"]) for row in rows(tmp_path / "out.csv")}) == [value / 1000 for value in uneven]


def test_a_video_that_begins_late_begins_at_zero(tmp_path, recognizer, portrait):
    path = build_clip(tmp_path / "late.mkv", walking(portrait, 4), times=[5000, 5040, 5080, 5120])
    process(path, recognizer, Following(), tmp_path / "out")
    assert times(tmp_path / "out.mp4") == pytest.approx([0, 0.04, 0.08, 0.12], abs=1e-3)
    assert {float(row["time"]) for row in rows(tmp_path / "out.csv")} == {0, 0.04, 0.08, 0.12}


def test_sound_of_a_transport_stream_is_kept(tmp_path, recognizer, portrait):
    """There AAC has a header in each packet (ADTS), and none that MP4 could begin with."""
    path = build_clip(tmp_path / "clip.ts", walking(portrait, 10), sound="aac")
    assert process(path, recognizer, Following(), tmp_path / "out").failures == []
    counts = []
    for name in (path, tmp_path / "out.mkv"):
        with av.open(str(name)) as container:
            counts.append(sum(frame.samples for frame in container.decode(audio=0)))
    assert 0 < counts[0] - 1025 <= counts[1] <= counts[0]


def test_sound_that_mp4_does_not_carry_makes_a_matroska_file(tmp_path, recognizer, portrait):
    path = build_clip(tmp_path / "clip.avi", walking(portrait, 5), codec="mpeg4", sound="pcm_s16le")
    outcome = process(path, recognizer, Following(), tmp_path / "out")
    assert outcome.failures == []
    assert b"".join(sound(tmp_path / "out.mkv")) == b"".join(sound(path))


def test_odd_sides_become_even(tmp_path, recognizer, portrait):
    path = build_clip(tmp_path / "odd.mkv", walking(portrait, 3, (641, 361)), codec="ffv1", pixels="yuv444p")
    assert process(path, recognizer, Following(), tmp_path / "out").failures == []
    assert pictures(tmp_path / "out.mp4")[0].shape == (360, 640, 3)
    assert len(rows(tmp_path / "out.csv")) == 9


def test_a_video_without_faces_has_an_empty_table(tmp_path, recognizer):
    path = build_clip(tmp_path / "wall.mp4", [np.full((96, 160, 3), 120, np.uint8)] * 5)
    outcome = process(path, recognizer, Following(), tmp_path / "out")
    assert (outcome.failures, outcome.timeline.people) == ([], {})
    assert rows(tmp_path / "out.csv") == []
    assert len(times(tmp_path / "out.mp4")) == 5
    assert (tmp_path / "out.png").exists()


def test_without_the_annotated_video_only_the_table_and_timeline_are_written(tmp_path, recognizer, clip):
    process(clip, recognizer, Following(), tmp_path / "out", kind="jsonl", annotate=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.jsonl", "out.png"]


def test_damage_is_told_and_the_rest_is_done(tmp_path, recognizer):
    random = np.random.default_rng(0)
    noise = [random.integers(0, 255, (96, 160, 3), np.uint8) for _ in range(30)]
    path = build_clip(tmp_path / "damaged.ts", noise, options={"g": "5"})
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 20_000] = random.bytes(20_000)
    path.write_bytes(data)
    outcome = process(path, recognizer, Following(), tmp_path / "out")
    (sentence,) = outcome.failures
    assert "damaged.ts is damaged" in sentence
    assert len(times(tmp_path / "out.mp4")) > 15


def test_nothing_is_left_where_nothing_could_be_done(tmp_path, recognizer, clip):
    path = build_clip(tmp_path / "empty.mkv", iter(()), sound="aac")
    with pytest.raises(InputError, match="holds no picture"):
        process(path, recognizer, Following(), tmp_path / "out")
    with pytest.raises(InputError, match="cannot be written"):
        process(clip, recognizer, Following(), tmp_path / "nowhere" / "out")
    with pytest.raises(InputError, match="threads is 0"):
        process(clip, recognizer, Following(), tmp_path / "out", workers=0)
    assert list(tmp_path.iterdir()) == [path]


def test_an_interrupt_leaves_what_was_done(tmp_path, recognizer, clip):
    before = signal.getsignal(signal.SIGINT)

    def progress(seconds: float, duration: float | None) -> None:
        assert duration == pytest.approx(1.2, abs=0.1)
        if seconds >= 0.4:
            signal.raise_signal(signal.SIGINT)

    outcome = process(clip, recognizer, Following(), tmp_path / "out", progress=progress)
    assert outcome.interrupted
    assert outcome.failures == []
    assert times(tmp_path / "out.mp4") == pytest.approx(np.arange(11) / 25, abs=1e-4)
    assert {int(row["frame"]) for row in rows(tmp_path / "out.csv")} == set(range(11))
    assert (tmp_path / "out.png").exists()
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.skipif(sys.platform == "win32", reason="limits of file size are POSIX")
def test_a_full_disk_leaves_what_was_done(tmp_path, tiny_model):
    random = np.random.default_rng(0)
    noise = [random.integers(100, 140, (180, 320, 3), np.uint8) for _ in range(150)]  # becomes 2 MB
    path = build_clip(tmp_path / "noise.mp4", noise, options={"preset": "ultrafast"})
    code = f"""
import resource, sys
from msanet.cli.app import main
resource.setrlimit(resource.RLIMIT_FSIZE, (1_500_000, 1_500_000))
sys.argv = ["msanet", "recognize", {str(path)!r}, "--output", {str(tmp_path / "out")!r}, "--model", {str(tiny_model)!r}]
main()
"""
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120
    )
    assert run.returncode == 2
    sentences = [line for line in run.stderr.splitlines() if line.startswith("msanet: ")]
    assert len(sentences) == 1
    assert "noise.mp4 cannot be written (File too large)" in sentences[0]
    assert "Traceback" not in run.stderr
    with av.open(str(tmp_path / "out" / "noise.mp4")) as container:
        seen: list[float] = []
        with suppress(av.error.InvalidDataError):  # the frame that the disk had no room for
            seen.extend(frame.time for frame in container.decode(video=0))
    assert len(seen) >= 50
    assert seen[0] < 0.1
    assert len(rows(tmp_path / "out" / "noise.csv")) == 0
    assert (tmp_path / "out" / "noise.png").exists()


def test_targets_never_meet(tmp_path):
    videos = [str(tmp_path / "a" / "clip.mp4"), str(tmp_path / "b" / "clip.mkv"), str(tmp_path / "out" / "clip.mp4")]
    found = targets(tmp_path / "out", videos)
    assert [found[video].name for video in videos] == ["clip-2", "clip-3", "clip-4"]
    assert (tmp_path / "out").is_dir()
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"):
        targets(tmp_path / "file", videos)


def test_ahead_keeps_order_and_its_distance():
    made = []

    def items():
        for number in range(50):
            made.append(number)
            yield number

    for number in ahead(items(), 3):
        time.sleep(0.002)
        assert len(made) <= number + 3 + 2  # and one in each hand
    assert made == list(range(50))


def test_ahead_passes_errors_on_and_ends_its_thread():
    def broken():
        yield 1
        raise InputError("broken")

    stream = ahead(broken(), 2)
    assert next(stream) == 1
    with pytest.raises(InputError, match="broken"):
        next(stream)
    threads = threading.active_count()
    endless = ahead(iter(int, 1), 2)
    assert next(endless) == 0
    assert threading.active_count() == threads + 1
    endless.close()
    assert threading.active_count() == threads
