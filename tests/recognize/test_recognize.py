"""Many pictures: the order, the memory, the errors, and the file of the results."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from msanet.errors import InputError
from msanet.faces.detector import Detections
from msanet.images import write
from msanet.recognize import batch as module
from msanet.recognize.batch import recognize_many, share_threads
from msanet.recognize.recognizer import Recognition, Recognizer
from msanet.recognize.results import Results, copies, write_copy

ROOT = Path(__file__).parents[2]
POINTS = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.75], [0.65, 0.75]], np.float32)


def detector(picture: np.ndarray) -> Detections:
    """As many faces as the first pixel says; slow for some pictures, so that they are done out of order."""
    number = int(picture[0, 0, 0]) % 4
    time.sleep(0.002 * (int(picture[0, 0, 0]) % 3))
    boxes = np.array([[5 * index, 3, 5 * index + 20, 25] for index in range(number)], np.float32).reshape(-1, 4)
    return boxes, np.full(number, 0.9, np.float32), POINTS * 20 + boxes[:, None, :2]


@pytest.fixture(scope="module")
def recognizer(tiny_model) -> Recognizer:
    return Recognizer(tiny_model, detector, threads=1)


def pictures(number: int) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    made = [random.integers(0, 256, (40, 50, 3), np.uint8) for _ in range(number)]
    for index, picture in enumerate(made):
        picture[0, 0, 0] = index
    return made


def lines(path: Path) -> list[str]:
    return [json.loads(line)["source"] for line in path.read_text().splitlines()]


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_results_come_in_order_and_as_one_by_one(recognizer, workers):
    sources = pictures(40)
    results = [result for result in recognize_many(recognizer, sources, workers) if isinstance(result, Recognition)]
    assert [result.picture is source for result, source in zip(results, sources, strict=True)] == [True] * 40
    assert [len(result) for result in results] == [index % 4 for index in range(40)]
    for result, source in zip(results, sources, strict=True):
        for face, alone in zip(result, recognizer.recognize(source), strict=True):
            assert face.box == alone.box
            assert face.probabilities == pytest.approx(alone.probabilities, abs=1e-5)
    assert list(recognize_many(recognizer, [])) == []


def test_faces_of_several_pictures_share_a_batch(recognizer, monkeypatch):
    sizes = []
    classify = recognizer.classifier.classify

    def count(crops: list[np.ndarray], *_: object) -> np.ndarray:
        sizes.append(len(crops))
        return classify(crops)

    monkeypatch.setattr(recognizer.classifier, "classify", count)
    list(recognize_many(recognizer, pictures(40), 2))
    assert sum(sizes) == 60
    assert all(module.FACES <= size < module.FACES + 4 for size in sizes[:-1])
    # large pictures do not wait for each other
    monkeypatch.setattr(module, "PIXELS", 40 * 50)
    sizes.clear()
    list(recognize_many(recognizer, pictures(8), 1))
    assert sizes == [0, 1, 2, 3] * 2


def test_what_cannot_be_read_stands_in_its_place(recognizer, tmp_path):
    (tmp_path / "text.jpg").write_text("no picture")
    good = pictures(3)
    sources = [good[0], tmp_path / "text.jpg", good[1], tmp_path / "missing.png", good[2]]
    results = list(recognize_many(recognizer, sources, 2))
    assert [isinstance(result, InputError) for result in results] == [False, True, False, True, False]
    assert "text.jpg is not a picture" in str(results[1])

    def refuse(recognition: Recognition) -> int:
        if len(recognition) == 1:
            raise InputError("one face only")
        return len(recognition)

    assert [str(result) for result in recognize_many(recognizer, good, 2, each=refuse)] == ["0", "one face only", "2"]


def test_other_errors_are_not_hidden(recognizer):
    with pytest.raises(ZeroDivisionError):
        list(recognize_many(recognizer, pictures(2), 1, each=lambda recognition: 1 // 0))
    with pytest.raises(InputError, match="workers is 0"):
        recognize_many(recognizer, [], 0)


def test_memory_is_flat_and_nothing_runs_on_after_a_stop(recognizer):
    """An endless source: only a few pictures are read ahead of the consumer, and the threads end with it."""
    taken = itertools.count()
    before = threading.active_count()

    def endless():
        while True:
            next(taken)
            picture = np.zeros((500, 500, 3), np.uint8)
            picture[0, 0, 0] = 3
            yield picture

    tracemalloc.start()
    stream = recognize_many(recognizer, endless(), 2, each=Recognition.to_dict)
    peaks = []
    for _ in range(4):
        tracemalloc.reset_peak()
        for result in itertools.islice(stream, 25):
            assert isinstance(result, dict)
            assert len(result["faces"]) == 3
        peaks.append(tracemalloc.get_traced_memory()[1])
    tracemalloc.stop()
    assert next(taken) < 100 + 60
    assert peaks[-1] < peaks[0] * 1.3
    stream.close()  # what a for loop that is left does
    assert threading.active_count() == before


def test_explanations_and_drawings_are_made_by_the_workers(recognizer, tmp_path):
    def draw(recognition: Recognition) -> str:
        assert threading.current_thread() is not threading.main_thread()
        assert all(face.attention is not None for face in recognition)
        return write_copy(recognition, tmp_path / "deep" / "er" / f"{len(recognition)}.png")

    paths = list(recognize_many(recognizer, pictures(4), 2, explain=True, each=draw))
    assert [Path(str(path)).name for path in paths if Path(str(path)).exists()] == [f"{n}.png" for n in range(4)]
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"):
        write_copy(recognizer.recognize(pictures(1)[0]), tmp_path / "file" / "a.png")


@given(st.integers(0, 1000), st.none() | st.integers(1, 20), st.none() | st.integers(1, 20))
def test_workers_share_the_threads(number, workers, threads):
    many, each = share_threads(number, workers, threads)
    assert many >= 1
    assert each >= 1
    assert workers in (None, many)
    if threads is not None:
        assert many * each <= max(threads, many)
    if number == 1 and workers is None:
        assert many == 1


def test_copies_never_meet(tmp_path):
    names = ["a/x.jpg", "b/x.jpg", "b/X.jpg", "b/x.png", "b/x.tif"]
    places = {str(tmp_path / "in" / name): "x" + Path(name).suffix for name in names}
    targets = [path.name for path in copies(tmp_path / "in" / "b", places).values()]
    assert targets == ["x-2.jpg", "x-3.jpg", "x-4.jpg", "x-2.png", "x-3.png"]
    assert len(set(map(str.casefold, targets))) == 5


RESULT = {"source": "a.jpg", "faces": []}


def test_results_are_on_disk_at_once_and_resumed(tmp_path):
    with Results(tmp_path / "new", ()) as results:
        results.add(RESULT)
        assert lines(results.path) == ["a.jpg"]
    with Results(tmp_path / "new", (), resume=True) as results:
        assert "a.jpg" in results
        assert str(Path("a.jpg").absolute()) in results
        assert "b.jpg" not in results
        results.add(RESULT | {"source": "b.jpg", "annotated": "copy.jpg"})
        assert [result["source"] for result in results] == ["a.jpg", "b.jpg"]
    with Results(tmp_path / "new", (), resume=True) as results:
        assert "copy.jpg" in results  # no input, should it lie among them
    with Results(tmp_path / "new", ()) as results:
        assert "a.jpg" not in results
    assert results.path.read_text() == ""


@given(st.integers(0, 400))
def test_a_line_that_was_cut_short_is_done_again(tmp_path_factory, cut):
    folder = tmp_path_factory.mktemp("results")
    whole = b"".join(json.dumps(RESULT | {"source": f"{name}.jpg"}).encode() + b"\n" for name in "abcdef")
    (folder / "results.jsonl").write_bytes(whole[:cut])
    with Results(folder, (), resume=True) as results:
        for name in "abcdef":
            if f"{name}.jpg" not in results:
                results.add(RESULT | {"source": f"{name}.jpg"})
    assert (folder / "results.jsonl").read_bytes() == whole


def test_files_that_are_no_results_are_refused(tmp_path, monkeypatch):
    path = tmp_path / "results.jsonl"
    for content in ("nonsense\n", "[]\n", '{"source": 1, "faces": []}\n'):
        path.write_text(json.dumps(RESULT) + "\n" + content)
        with pytest.raises(InputError, match=r"line 2 of .*results\.jsonl is no result"):
            Results(tmp_path, (), resume=True)
        assert path.read_text().endswith(content)
    path.write_text(json.dumps({"source": "a.jpg", "faces": [{"probabilities": {"joy": 1.0}}]}) + "\n")
    with pytest.raises(InputError, match="a model of other expressions"):
        Results(tmp_path, ("happiness",), resume=True)
    (tmp_path / "folder" / "results.jsonl").mkdir(parents=True)
    with pytest.raises(InputError, match=r"results\.jsonl cannot be written"):
        Results(tmp_path / "folder", ())
    with pytest.raises(InputError, match="cannot be made a folder"):
        Results(path, ())


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_is_one_sentence(tmp_path):
    (tmp_path / "results.jsonl").symlink_to("/dev/full")
    with Results(tmp_path, ()) as results, pytest.raises(InputError, match=r"cannot be written \(No space left"):
        results.add(RESULT)


def test_a_killed_run_leaves_results_that_can_be_resumed(tmp_path, tiny_model, portrait):
    folder, output = tmp_path / "pictures", tmp_path / "out"
    folder.mkdir()
    for index in range(200):
        write(folder / f"{index:03}.png", portrait[200:260:2, 200:260:2])
    command = [sys.executable, "-m", "msanet", "recognize", folder, "--output", output, "--model", tiny_model]
    run = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    results = output / "results.jsonl"
    while run.poll() is None and not (results.exists() and results.stat().st_size):
        time.sleep(0.005)
    run.send_signal(signal.SIGKILL)
    run.wait()
    assert 0 < results.read_bytes().count(b"\n") < 200
    done = subprocess.run([*command, "--resume"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert lines(results) == [str(folder / f"{index:03}.png") for index in range(200)]
