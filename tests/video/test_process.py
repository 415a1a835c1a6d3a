"""Videos from end to end: what is found, what is written, and what remains when something goes wrong."""

from __future__ import annotations

import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from msanet.errors import InputError
from msanet.images import read
from msanet.video.process import process, targets
from msanet.video.tracks import Following
from tests.conftest import WIDTH, build_clip, walking
from tests.video.conftest import rows, times

av = pytest.importorskip("av")
ROOT = Path(__file__).parents[2]


def test_everybody_is_followed_through_every_frame(done):
    outcome, folder = done
    assert (outcome.failures, outcome.interrupted) == ([], None)
    assert sorted(path.name for path in folder.iterdir()) == ["clip.annotated.mp4", "clip.csv", "clip.timeline.png"]
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
    assert read(folder / "clip.timeline.png").shape[1] == 1600


def test_a_video_without_faces_has_an_empty_table(tmp_path, recognizer):
    path = build_clip(tmp_path / "wall.mp4", [np.full((96, 160, 3), 120, np.uint8)] * 5)
    outcome = process(path, recognizer, Following(), tmp_path / "out")
    assert (outcome.failures, outcome.timeline.people) == ([], {})
    assert rows(tmp_path / "out.csv") == []
    assert len(times(tmp_path / "out.annotated.mp4")) == 5
    assert (tmp_path / "out.timeline.png").exists()


def test_without_the_annotated_video_only_the_table_and_timeline_are_written(tmp_path, recognizer, clip):
    process(clip, recognizer, Following(), tmp_path / "out", kind="jsonl", annotate=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.jsonl", "out.timeline.png"]


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
    assert len(times(tmp_path / "out.annotated.mp4")) > 15


def test_nothing_is_left_where_nothing_could_be_done(tmp_path, recognizer, clip):
    path = build_clip(tmp_path / "empty.mkv", iter(()), sound="aac")
    with pytest.raises(InputError, match="holds no picture"):
        process(path, recognizer, Following(), tmp_path / "out")
    with pytest.raises(InputError, match="cannot be written"):
        process(clip, recognizer, Following(), tmp_path / "nowhere" / "out")
    with pytest.raises(InputError, match="threads is 0"):
        process(clip, recognizer, Following(), tmp_path / "out", workers=0)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_what_was_done(tmp_path, recognizer, clip, number: signal.Signals):
    before = signal.getsignal(number)

    def progress(seconds: float, duration: float | None) -> None:
        assert duration == pytest.approx(1.2, abs=0.1)
        if seconds >= 0.4:
            signal.raise_signal(number)

    outcome = process(clip, recognizer, Following(), tmp_path / "out", progress=progress)
    assert outcome.interrupted is number
    assert outcome.failures == []
    assert times(tmp_path / "out.annotated.mp4") == pytest.approx(np.arange(11) / 25, abs=1e-4)
    assert {int(row["frame"]) for row in rows(tmp_path / "out.csv")} == set(range(11))
    assert (tmp_path / "out.timeline.png").exists()
    assert signal.getsignal(number) is before


def test_a_cut_makes_a_new_person(tmp_path, recognizer, portrait):
    here, there = walking(portrait, 8), walking(portrait, 8)
    there = [np.ascontiguousarray(255 - (255 - picture[:, ::-1]) // 3 * 2) for picture in there]
    there = [np.where(np.arange(WIDTH)[:, None] // 40 % 2, picture, picture // 2) for picture in there]
    path = build_clip(tmp_path / "cuts.mp4", here + there + here, options={"crf": "10"})
    outcome = process(path, recognizer, Following(smoothing=1), tmp_path / "out", annotate=False)
    frames_of: dict[str, list[int]] = {}
    for row in rows(tmp_path / "out.csv"):
        frames_of.setdefault(row["track"], []).append(int(row["frame"]))
    assert len(outcome.timeline.people) >= 6
    assert all(seen[0] // 8 == seen[-1] // 8 for seen in frames_of.values())


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
    assert "noise.annotated.mp4 cannot be written (File too large)" in sentences[0]
    assert "Traceback" not in run.stderr
    with av.open(str(tmp_path / "out" / "noise.annotated.mp4")) as container:
        seen: list[float] = []
        with suppress(av.error.InvalidDataError):  # the frame that the disk had no room for
            seen.extend(frame.time for frame in container.decode(video=0))
    assert len(seen) >= 50
    assert seen[0] < 0.1
    assert len(rows(tmp_path / "out" / "noise.csv")) == 0
    assert (tmp_path / "out" / "noise.timeline.png").exists()


def test_targets_never_meet(tmp_path):
    videos = [str(tmp_path / "a" / "clip.mp4"), str(tmp_path / "b" / "clip.mkv"), str(tmp_path / "out" / "clip.mp4")]
    found = targets(tmp_path / "out", videos)
    assert [found[video].name for video in videos] == ["clip-2", "clip-3", "clip-4"]
    assert (tmp_path / "out").is_dir()
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"):
        targets(tmp_path / "file", videos)
