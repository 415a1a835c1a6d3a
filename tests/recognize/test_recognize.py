"""Many pictures: the order, the memory, the errors, and the file of the results."""

from __future__ import annotations

import errno
import io
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from msanet.errors import InputError
from msanet.faces.detector import Detections
from msanet.images import write
from msanet.preprocessing import Preprocessing
from msanet.recognize import batch as module
from msanet.recognize.batch import UnexpectedError, recognize_many, share_threads
from msanet.recognize.recognizer import Found, Recognition, Recognizer
from msanet.recognize.results import Results, copies, identify, origin_of, write_copy
from msanet.runtime import processors

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


def test_large_pictures_are_finished_one_at_a_time(recognizer, monkeypatch):
    """So that several workers together hold one of them."""
    files = []
    for picture in pictures(8):
        file = BytesIO()
        Image.fromarray(picture).save(file, "PNG")
        files.append(file.getvalue())
    expected = list(recognize_many(recognizer, files, 4, each=Recognition.to_dict))
    inside, most = [0], [0]

    def each(recognition: Recognition) -> dict[str, object]:
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        time.sleep(0.01)
        inside[0] -= 1
        return recognition.to_dict()

    monkeypatch.setattr(module, "PIXELS", 1)  # else all are finished together
    monkeypatch.setattr("msanet.images.ONE_AT_A_TIME", 1000)
    assert list(recognize_many(recognizer, files, 4, each=each)) == expected
    assert most == [1]
    (wrong,) = recognize_many(recognizer, [files[0][:200]], 4)
    assert isinstance(wrong, InputError)


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


def test_what_nobody_foresaw_ends_no_batch(recognizer, monkeypatch):
    """Whether finding, naming or what follows fails: the error stands in its place with its traceback."""

    def divide(recognition: Recognition) -> float:
        return 1 / (len(recognition) - 1)

    sources = pictures(8)
    outcomes: list[object] = list(recognize_many(recognizer, sources, 2, each=divide))
    assert [isinstance(outcome, UnexpectedError) for outcome in outcomes] == [False, True, False, False] * 2
    failure = outcomes[1]
    assert isinstance(failure, UnexpectedError)
    assert "the array failed unexpectedly (ZeroDivisionError" in str(failure)
    assert failure.to_dict()["error"] == failure.details
    assert "in divide" in failure.details

    original = recognizer.classify_found

    def classify(found: list[Found], explain: bool) -> list[Recognition]:
        if any(len(item.crops) == 3 for item in found):
            raise MemoryError
        return original(found, explain)

    monkeypatch.setattr(recognizer, "classify_found", classify)
    outcomes = list(recognize_many(recognizer, sources, 2))
    assert [isinstance(outcome, UnexpectedError) for outcome in outcomes] == [False, False, False, True] * 2
    assert "MemoryError" in str(outcomes[3])
    monkeypatch.setattr(recognizer, "find", lambda source: 1 // 0)
    assert all(isinstance(outcome, UnexpectedError) for outcome in recognize_many(recognizer, sources, 2))
    with pytest.raises(InputError, match="workers is 0"):
        recognize_many(recognizer, [], 0)


def test_what_the_model_cannot_do_is_said_once(make_model):
    plain = make_model(preprocessing=Preprocessing(size=32), outputs=("logits", "embedding"))
    with pytest.raises(InputError, match="no evidence"):
        list(recognize_many(Recognizer(plain, detector, threads=1), pictures(8), 1, explain=True))


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
    assert many * each <= max(min(threads or 8, processors()), many)
    if number == 1 and workers is None:
        assert many == 1


def test_copies_never_meet(tmp_path):
    names = ["a/x.jpg", "b/x.jpg", "b/X.jpg", "b/x.png", "b/x.tif", "b/x-3.annotated.jpg"]
    places = {str(tmp_path / "in" / name): "x" + Path(name).suffix for name in names[:5]} | {
        str(tmp_path / "in" / names[5]): os.path.join("..", "..", "y\udcff\n.gif")[6:]
    }
    taken = [str(tmp_path / "in" / "b" / "X.annotated.jpg")]
    targets = [path.name for path in copies(tmp_path / "in" / "b", places, taken).values()]
    stems = ["x-2.annotated.jpg", "x-4.annotated.jpg", "x-5.annotated.jpg", "x.annotated.png", "x-2.annotated.png"]
    assert targets == [*stems, "y__.annotated.png"]
    assert len(set(map(str.casefold, targets))) == 6


ORIGIN = {"model": "tiny", "settings": {"weights": "0123", "size": 640}}


@pytest.fixture
def files(tmp_path) -> dict[str, str]:
    """Six files to have results of, one of a name that is not UTF-8: name -> path."""
    (tmp_path / "in").mkdir()
    names = ["a", "b", "c", "d", "e", os.fsdecode(b"\xff\n")]
    for name in names:
        (tmp_path / "in" / name).write_text(name[:1].encode("ascii", "replace").decode())
    return {name: str(tmp_path / "in" / name) for name in names}


def fill(results: Results, *without: str) -> None:
    for source in results.begin(results.todo):
        if source not in without:
            results.add({"source": source, "faces": []})


def test_results_are_on_disk_at_once_and_say_where_they_come_from(tmp_path, files):
    with Results(tmp_path / "new", list(files.values()), ORIGIN) as results:
        assert results.todo == list(files.values())
        for number, source in enumerate(results.begin(results.todo)):
            assert len(lines(results.path)) == number
            results.add({"source": source, "faces": []})
        first = next(iter(results))
        assert first == {"source": files["a"], "file": identify(files["a"]), **ORIGIN, "faces": []}
        assert first["file"]["bytes"] == 1
    last = results.path.read_bytes().splitlines()[-1]
    assert json.loads(last)["file"]["uri"] == (tmp_path / "in").as_uri() + "/%FF%0A"
    assert json.loads(last)["source"].endswith("\\xff\n")


def test_results_are_never_begun_anew(tmp_path, files):
    with Results(tmp_path, list(files.values()), ORIGIN) as results:
        fill(results)
    before = results.path.read_bytes()
    with pytest.raises(InputError, match="earlier run: go on with --resume"):
        Results(tmp_path, list(files.values()), ORIGIN)
    assert results.path.read_bytes() == before
    results.path.rename(tmp_path / "results.csv")
    with pytest.raises(InputError, match=r"results\.csv holds results"):
        Results(tmp_path, list(files.values()), ORIGIN)


def test_two_runs_do_not_write_into_one_folder(tmp_path, files):
    with Results(tmp_path, [files["a"]], ORIGIN), pytest.raises(InputError, match="another msanet"):
        Results(tmp_path, [files["b"]], ORIGIN, resume=True)


def test_what_is_done_is_not_done_again_from_anywhere(tmp_path, files, monkeypatch):
    with Results(tmp_path / "out", list(files.values()), ORIGIN) as results:
        fill(results)
    before = results.path.read_bytes()
    (tmp_path / "link").symlink_to(tmp_path / "in")
    (tmp_path / "elsewhere").mkdir()
    for folder, there in (("in", "."), ("elsewhere", "../in"), ("elsewhere", "../link"), ("link", "")):
        monkeypatch.chdir(tmp_path / folder)
        with Results(Path("../out"), [os.path.join(there, name) for name in files], ORIGIN, resume=True) as results:
            assert results.todo == []
    assert (tmp_path / "out" / "results.jsonl").read_bytes() == before


def test_changed_pictures_and_errors_are_done_again_and_stand_once(tmp_path, files):
    sources = list(files.values())
    with Results(tmp_path / "out", sources, ORIGIN) as results:
        for source in results.begin(sources):
            error = source == files["d"]
            copy = {"annotated": str(tmp_path / "out" / f"{Path(source).name[:1]}.annotated.png")}
            results.add({"source": source} | ({"error": "Traceback"} if error else {"faces": [], **copy}))
    Path(files["b"]).write_text("changed")
    os.utime(files["c"], ns=(0, 1))
    Path(files["e"]).write_text("changed, but not asked for")
    again = [files[name] for name in "abcd"]
    with Results(tmp_path / "out", again, ORIGIN, resume=True) as results:
        assert results.todo == again[1:]
        left = [json.loads(line)["file"]["uri"] for line in results.path.read_text().splitlines()]
        assert left == [Path(files[name]).as_uri() for name in ("a", "e")] + [(tmp_path / "in").as_uri() + "/%FF%0A"]
        assert [Path(path).name[0] for path in results.annotated[:2]] == ["a", "e"]  # the copies that stay
        fill(results)
    assert [Path(source).name[0] for source in lines(results.path)] == ["a", "e", "\\", "b", "c", "d"]


@pytest.mark.parametrize(
    "changed", [{"model": "other"}, {"settings": {"weights": "0124", "size": 640}}, {"settings": {}}]
)
def test_other_models_and_settings_do_not_mix(tmp_path, files, changed):
    with Results(tmp_path, [files["a"]], ORIGIN) as results:
        fill(results)
    before = results.path.read_bytes()
    with pytest.raises(InputError, match=r"was made with (model tiny, not other|weights 0123, not (0124|None))"):
        Results(tmp_path, list(files.values()), ORIGIN | changed, resume=True)
    assert results.path.read_bytes() == before


def test_the_origin_names_the_weights(recognizer, tiny_model, make_model):
    origin = origin_of(recognizer, size=640)
    assert origin == origin_of(Recognizer(tiny_model, detector), size=640)
    other = Recognizer(make_model(preprocessing=Preprocessing(size=32)), detector)  # of the same name
    assert (origin["model"], origin["settings"]["size"]) == ("tiny", 640)
    assert origin_of(other, size=640)["settings"]["weights"] != origin["settings"]["weights"]


@given(st.floats(0, 1))
def test_a_line_that_was_cut_short_is_done_again(tmp_path_factory, share):
    folder = tmp_path_factory.mktemp("results")
    sources = [str(folder / f"{name}.jpg") for name in "abcdef"]
    for source in sources:
        Path(source).touch()
    with Results(folder, sources, ORIGIN) as results:
        fill(results)
    whole = results.path.read_bytes()
    results.path.write_bytes(whole[: round(share * len(whole))])
    with Results(folder, sources, ORIGIN, resume=True) as results:
        fill(results)
    assert results.path.read_bytes() == whole


def test_files_that_are_no_results_are_refused(tmp_path, files):
    path = tmp_path / "results.jsonl"
    with Results(tmp_path, [files["a"]], ORIGIN) as results:
        fill(results)
    good = path.read_text()
    for content in ("nonsense\n", "[]\n", '{"source": "a", "faces": []}\n', good.replace('"bytes"', '"size"')):
        path.write_text(good + content)
        with pytest.raises(InputError, match=r"line 2 of .*results\.jsonl is no result"):
            Results(tmp_path, [], ORIGIN, resume=True)
        assert path.read_text() == good + content
    (tmp_path / "folder" / "results.jsonl").mkdir(parents=True)
    with pytest.raises(InputError, match=r"results\.jsonl cannot be written"):
        Results(tmp_path / "folder", [], ORIGIN, resume=True)
    with pytest.raises(InputError, match="cannot be made a folder"):
        Results(path, [], ORIGIN)


class NearlyFull(io.FileIO):
    """A file on a disk with room for 500 bytes, which takes what fits, as the system does."""

    def write(self, data: Any, /) -> int:
        room = 500 - os.fstat(self.fileno()).st_size
        if room <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(memoryview(data)[:room])


def test_a_disk_that_fills_up_within_a_line_keeps_the_lines_before(tmp_path, files):
    with Results(tmp_path / "out", list(files.values()), ORIGIN) as results:
        results._file = NearlyFull(results.path, "ab")
        with pytest.raises(InputError, match=r"cannot be written \(No space left"):
            fill(results)
    assert 0 < results.path.stat().st_size < 500
    assert results.path.read_bytes().endswith(b"}\n")
    with Results(tmp_path / "out", list(files.values()), ORIGIN, resume=True) as results:
        fill(results)
    assert len(lines(results.path)) == 6


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_is_one_sentence(tmp_path, files):
    (tmp_path / "results.jsonl").symlink_to("/dev/full")
    with (
        Results(tmp_path, [files["a"]], ORIGIN) as results,
        pytest.raises(InputError, match=r"cannot be written \(No space left"),
    ):
        fill(results)


def test_a_killed_run_leaves_results_that_can_be_resumed(tmp_path, tiny_model, portrait):
    folder, output = tmp_path / "pictures", tmp_path / "out"
    folder.mkdir()
    for index in range(400):  # so many that the machine cannot have done with them before it is killed
        write(folder / f"{index:03}.png", portrait[200:260:2, 200:260:2])
    command = [sys.executable, "-m", "msanet", "recognize", folder, "--output", output, "--model", tiny_model]
    run = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    results = output / "results.jsonl"
    while run.poll() is None and not (results.exists() and results.stat().st_size):
        time.sleep(0.005)
    run.send_signal(signal.SIGKILL)
    run.wait()
    assert 0 < results.read_bytes().count(b"\n") < 400
    done = subprocess.run([*command, "--resume"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert lines(results) == [str(folder / f"{index:03}.png") for index in range(400)]
