"""The command line as people and programs use it."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import numpy as np
import pytest

import msanet
from msanet.cli import app as command
from msanet.cli import recognize as recognizing
from msanet.cli.show import with_progress
from msanet.errors import InputError
from msanet.images import read, write
from msanet.preprocessing import Preprocessing
from msanet.recognize.recognizer import Recognizer
from msanet.recognize.results import Results
from msanet.video import process
from tests.conftest import build_clip

ROOT = Path(__file__).parents[2]


@pytest.fixture
def run(monkeypatch, capsys, tiny_model):
    """Runs `msanet ARGUMENTS` in this process: exit code, standard output, standard error."""

    def run(*arguments: object) -> tuple[int, str, str]:
        model = ["--model", str(tiny_model)] if arguments[:1] == ("recognize",) and "--model" not in arguments else []
        monkeypatch.setattr(sys, "argv", ["msanet", *map(str, arguments), *model])
        with pytest.raises(SystemExit) as caught:
            command.main()
        output = capsys.readouterr()
        return int(caught.value.code or 0), output.out, output.err

    return run


@pytest.fixture
def photo(tmp_path, portrait) -> Path:
    path = tmp_path / "photos" / "photo.jpg"
    path.parent.mkdir()
    write(path, portrait)
    return path


@pytest.fixture
def wall(photo) -> Path:
    path = photo.with_name("wall.png")
    write(path, np.full((100, 120, 3), 200, np.uint8))
    return path


def test_a_table_names_the_expression(run, photo):
    code, output, errors = run("recognize", photo)
    assert (code, errors) == (0, "")
    header, line = output.splitlines()
    assert header.startswith("picture\tface\texpression")
    assert line.startswith(f"{photo}\t1\t")


def test_a_picture_without_faces_is_no_error(run, wall):
    code, output, _ = run("recognize", wall)
    assert code == 0
    assert "no face found" in output
    code, output, errors = run("recognize", wall, "--format", "json")
    assert code == 0
    assert json.loads(output)[0]["faces"] == []
    assert "no face found" in errors


def test_json_is_one_document(run, photo, wall):
    code, output, _ = run("recognize", photo.parent, "--format", "json")
    assert code == 0
    photo_result, wall_result = json.loads(output)
    assert (photo_result["source"], photo_result["width"], photo_result["height"]) == (str(photo), 512, 600)
    assert len(photo_result["faces"]) == 1
    assert wall_result["faces"] == []


def test_csv_has_a_header_and_a_line_per_face(run, photo, wall):
    code, output, _ = run("recognize", photo, wall, "--format", "csv")
    assert code == 0
    row, nobody = csv.DictReader(io.StringIO(output))
    assert row["source"] == str(photo)
    assert 0.9 < float(row["score"]) <= 1
    assert (nobody["source"], nobody["face"], nobody["expression"]) == (str(wall), "", "")


def test_the_bad_ones_are_listed_at_the_end(run, photo, tmp_path):
    text = tmp_path / "text.jpg"
    text.write_text("no picture")
    empty = tmp_path / "nothing"
    empty.mkdir()
    code, output, errors = run("recognize", text, tmp_path / "missing.png", empty, photo, "--format", "json")
    assert code == 2
    assert [result["source"] for result in json.loads(output)] == [str(photo)]
    lines = errors.splitlines()
    assert len(lines) == 3
    for name in (text, tmp_path / "missing.png", empty):
        assert sum(str(name) in line for line in lines) == 1
    assert all(line.startswith("msanet: ") for line in lines)


def test_output_holds_annotated_pictures_and_results(run, photo, wall, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    copy, png = other / "photo.jpg", other / "Photo.png"
    copy.write_bytes(photo.read_bytes())
    write(png, read(photo))
    output = tmp_path / "new" / "out"
    code, _, errors = run("recognize", photo, copy, png, wall, "--output", output, "--explain")
    assert (code, errors) == (0, "")
    copied = ["Photo.annotated.png", "photo-2.annotated.jpg", "photo.annotated.jpg", "wall.annotated.png"]
    assert sorted(names_in(output)) == sorted([*copied, "results.jsonl"])
    results = [json.loads(line) for line in (output / "results.jsonl").read_text().splitlines()]
    assert [Path(result["annotated"]).name for result in results] == [copied[2], copied[1], copied[0], copied[3]]
    original, drawn = read(photo).astype(int), read(output / "Photo.annotated.png")
    assert np.abs(drawn[: len(original)] - original).max() > 50
    assert len(drawn) > len(original)  # the reasons
    run("recognize", photo, "--output", output, "--explain", "--resume", "--format", "csv")
    assert (output / "results.csv").read_text().startswith("source,face,x1")


def test_output_never_overwrites_an_input(run, photo):
    before = photo.read_bytes()
    drawn = photo.with_name("photo.annotated.jpg")
    drawn.write_bytes(before)
    code, _, _ = run("recognize", photo, drawn, "--output", photo.parent)
    assert code == 0
    assert photo.read_bytes() == drawn.read_bytes() == before
    assert (photo.parent / "photo-2.annotated.jpg").exists()


def test_what_was_drawn_is_no_input_of_the_next_run(run, photo, wall):
    """Neither where the results lie among the pictures nor below them."""
    for output in (photo.parent / "out", photo.parent):
        assert run("recognize", photo.parent, "--output", output)[0] == 0
    code, output, _ = run("recognize", photo.parent, "--format", "json")
    assert code == 0
    assert [result["source"] for result in json.loads(output)] == [str(photo), str(wall)]


def test_a_second_run_leaves_the_results_of_the_first(run, photo, wall, tmp_path, make_model):
    """Whatever it is asked, and whether its picture can be read: what is there stays."""
    output = tmp_path / "out"
    run("recognize", photo, "--output", output)
    before = {name: (output / name).read_bytes() for name in names_in(output)}
    (tmp_path / "broken.jpg").write_text("no picture")
    other = make_model(preprocessing=Preprocessing(size=32))
    refused = "earlier run"
    for arguments, words in (
        ([tmp_path / "broken.jpg"], refused),
        ([wall, "--format", "csv"], refused),
        ([wall, "--resume", "--model", other], "was made with weights"),
        ([wall, "--resume", "--threshold", "0.5"], "was made with threshold 0.6, not 0.5"),
        ([wall, "--resume", "--explain"], "was made with explain False, not True"),
    ):
        code, printed, errors = run("recognize", *arguments, "--output", output)
        assert (code, printed) == (2, "")
        assert words in errors
        assert {name: (output / name).read_bytes() for name in names_in(output)} == before
    assert run("recognize", wall, "--output", output, "--resume")[0] == 0
    assert sources(output / "results.jsonl") == [str(photo), str(wall)]


def test_one_unexpected_error_is_kept_and_the_rest_is_done(run, photo, wall, tmp_path, monkeypatch):
    original = Recognizer.find

    def find(self: Recognizer, source: object) -> object:
        return original(self, source) if str(source) == str(photo) else 1 // 0  # type: ignore[arg-type]

    monkeypatch.setattr(Recognizer, "find", find)
    output = tmp_path / "out"
    code, printed, errors = run("recognize", wall, photo, "--output", output, "--format", "csv")
    assert code == 2
    assert len(printed.splitlines()) == 2
    assert f"{wall} failed unexpectedly (ZeroDivisionError" in errors
    assert "Traceback" not in errors
    failed, done = (json.loads(line) for line in (output / "results.jsonl").read_text().splitlines())
    assert failed["source"] == str(wall)
    assert failed["error"].startswith("Traceback (most recent call last)")
    assert "faces" not in failed
    assert done["source"] == str(photo)
    code, printed, _ = run("recognize", wall, "--format", "json")
    assert (code, json.loads(printed)[0]["source"]) == (2, str(wall))
    assert "ZeroDivisionError" in json.loads(printed)[0]["error"]
    monkeypatch.setattr(Recognizer, "find", original)
    assert run("recognize", wall, photo, "--output", output, "--resume")[0] == 0
    assert sources(output / "results.jsonl") == [str(photo), str(wall)]


# -- names that may hold anything --------------------------------------------------------------------------------------

NAMES = (
    b"name_\xff.png",
    "日本.png".encode(),
    b"=1+1.png",
    b"two\nlines\x1b[31m\r.png",
    "\u202egnp\x9b31m.png".encode(),
)


@pytest.fixture
def names(tmp_path, portrait) -> Path:
    folder = tmp_path / "names"
    folder.mkdir()
    write(tmp_path / "one.png", np.ascontiguousarray(portrait[:400:2, :400:2]))
    for name in NAMES:
        Path(os.fsdecode(os.fsencode(folder) + b"/" + name)).write_bytes((tmp_path / "one.png").read_bytes())
    return folder


def steers(text: str) -> bool:
    return any(letter in "\x1b\x9b\r\u202e" or "\ud800" <= letter <= "\udfff" for letter in text)


@pytest.mark.parametrize("form", ["table", "csv", "json"])
def test_names_of_any_bytes_are_read_and_steer_nothing(run, names, form):
    output = names.parent / "out"
    code, printed, errors = run("recognize", names, "--output", output, "--format", form)
    assert code == 0
    assert not steers(printed + errors)
    if form != "json":
        assert len(printed.splitlines()) == 1 + len(NAMES)
    results = [json.loads(line) for line in (output / "results.jsonl").read_bytes().splitlines()]
    assert {Path(result["annotated"]).is_file() for result in results} == {True}
    paths = {unquote_to_bytes(result["file"]["uri"].removeprefix("file://")) for result in results}
    assert paths == {os.fsencode(names) + b"/" + name for name in NAMES}
    before = (output / "results.jsonl").read_bytes()
    assert run("recognize", names, "--output", output, "--resume", "--format", form)[0] == 0
    assert (output / "results.jsonl").read_bytes() == before


def test_messages_about_such_names_steer_nothing(run, tmp_path):
    name = "\x9b2J\rmsanet: all is well\nforged\udcff"
    (tmp_path / f"{name}.jpg").touch()
    (tmp_path / name).mkdir()
    for arguments in ([tmp_path / f"{name}.jpg"], [tmp_path / name], [tmp_path], [f"--{name}"], ["x", "--model", name]):
        code, printed, errors = run("recognize", *arguments)
        assert (code, printed) == (2, "")
        assert not steers(errors)
        assert all(line.startswith("msanet: ") for line in errors.split("\n")[:-1])


@pytest.mark.parametrize("form", ["table", "csv", "json"])
def test_a_console_that_cannot_say_a_name(names, tiny_model, form):
    environment = {**os.environ, "PYTHONIOENCODING": "cp1252"}
    command = [sys.executable, "-m", "msanet", "recognize", names, "--model", tiny_model, "--format", form]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")
    text = done.stdout.decode("cp1252")
    assert r"\u65e5\u672c.png" in text
    if form == "json":
        assert f"{names}/日本.png" in [result["source"] for result in json.loads(text)]


@pytest.fixture
def album(tmp_path, portrait) -> Path:
    """Six pictures in a folder and one below it, and one that is damaged."""
    small = np.ascontiguousarray(portrait[:400:2, :400:2])
    for index in range(6):
        path = tmp_path / "album" / ("sub" if index % 2 else "") / f"{index // 2}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path, small[:, :: (-1) ** (index // 2)])
    (tmp_path / "album" / "broken.jpg").write_bytes(b"no picture")
    return tmp_path / "album"


def names_in(folder: Path) -> list[str]:
    """Without the lock."""
    return [path.name for path in folder.iterdir() if path.name[0] != "."]


def sources(path: Path) -> list[str]:
    return [json.loads(line)["source"] for line in path.read_text().splitlines()]


def test_a_folder_is_resumed(run, album):
    """Whatever the moment at which a run was killed: the rest is done, once, and damaged pictures are listed again."""
    output = album / "results"  # no pictures of it are taken for inputs
    code, _, errors = run("recognize", album, "--output", output, "--workers", 2)
    assert code == 2
    assert [line.split(" ")[1] for line in errors.splitlines()] == [str(album / "broken.jpg")]
    whole = (output / "results.jsonl").read_bytes()
    expected = [str(album / name) for name in ("0.png", "1.png", "2.png", "sub/0.png", "sub/1.png", "sub/2.png")]
    assert sources(output / "results.jsonl") == expected
    copies = sorted(path.relative_to(output).as_posix() for path in output.rglob("*.png"))
    assert copies == [f"{folder}{number}.annotated.png" for folder in ("", "sub/") for number in range(3)]
    for kept in (0, len(whole) // 2, len(whole) - 1, len(whole)):
        (output / "results.jsonl").write_bytes(whole[:kept])
        code, printed, _ = run("recognize", album, "--output", output, "--resume", "--format", "csv")
        assert code == 2
        assert (output / "results.jsonl").read_bytes() == whole
        assert [row["source"] for row in csv.DictReader((output / "results.csv").open())] == expected
        assert copies == sorted(path.relative_to(output).as_posix() for path in output.rglob("*.png"))
        assert len(printed.splitlines()) == 1 + 6 - whole[:kept].count(b"\n")


def test_of_many_pictures_only_the_results_are_written(run, album, monkeypatch):
    monkeypatch.setattr(recognizing, "MANY", 3)
    output = album.parent / "out"
    code, printed, _ = run("recognize", album, "--output", output)
    assert (code, printed) == (2, f"7 pictures, 1 of them failed, 6 faces: {output / 'results.jsonl'}\n")
    assert names_in(output) == ["results.jsonl"]
    run("recognize", album, "--output", album.parent / "drawn", "--annotate")
    assert (album.parent / "drawn" / "sub" / "0.annotated.png").exists()
    code, printed, _ = run("recognize", album)
    assert [line.split("\t")[0] for line in printed.splitlines()] == sources(output / "results.jsonl")


def test_annotation_can_be_left_out(run, photo, tmp_path):
    run("recognize", photo, "--output", tmp_path / "out", "--no-annotate")
    assert names_in(tmp_path / "out") == ["results.jsonl"]


def test_a_full_disk_keeps_what_was_done(run, album, monkeypatch):
    """One sentence, and the lines before it."""

    def add(self: Results, result: dict[str, object]) -> None:
        if Path(str(result["source"])).name == "2.png":
            raise InputError(f"{self.path} cannot be written (No space left on device)")
        original(self, result)

    original = Results.add
    monkeypatch.setattr(Results, "add", add)
    code, _, errors = run("recognize", album, "--output", album.parent / "out")
    assert code == 2
    assert errors.count("No space left") == 1
    assert len(sources(album.parent / "out" / "results.jsonl")) == 2


def test_resume_needs_an_output(run, photo):
    code, _, errors = run("recognize", photo, "--resume")
    assert code == 2
    assert "--output" in errors


@pytest.mark.parametrize("stdout", [True, False])
def test_a_terminal_sees_how_far_it_is(monkeypatch, stdout):
    """The bar goes to standard error; what is printed meanwhile still reaches standard output alone."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    errors, output = Terminal(), Terminal() if stdout else io.StringIO()
    monkeypatch.setattr(sys, "stderr", errors)
    monkeypatch.setattr(sys, "stdout", output)
    for item in with_progress(iter(range(3)), 3):
        print("line", item)
    assert "3/3" in errors.getvalue()
    if not stdout:
        assert output.getvalue() == "line 0\nline 1\nline 2\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--model", "unknown"], "there is no model 'unknown'"),
        (["--threshold", "7"], "threshold is 7"),
        (["--size", "3"], "size is 3"),
        (["--size", "0"], "size is 0"),
        (["--threads", "0"], "threads is 0"),
        (["--threads", "500"], "threads is 500: give 1 to 256"),
        (["--workers", "0"], "workers is 0"),
        (["--workers", "500"], "workers is 500"),
        (["--smoothing", "-5"], "--smoothing would change nothing for pictures"),
        (["--smoothing", "0", "--finer-every", "3"], "--smoothing and --finer-every would change nothing"),
        (["--show"], "--show would change nothing for pictures and videos"),
        (["--frame-size", "3x3"], "--frame-size would change nothing"),
        (["--annotate"], "--annotate and --resume are for a folder"),
        (["--no-annotate"], "--annotate and --resume are for a folder"),
        (["--format", "xml"], "xml"),
        (["--unknown"], "unknown"),
    ],
)
def test_wrong_arguments_end_in_a_sentence(run, photo, arguments, words):
    code, output, errors = run("recognize", photo, *arguments)
    assert code == 2
    assert output == ""
    assert words in errors
    assert len(errors.splitlines()) == 1
    assert errors.startswith("msanet: ")


def test_a_file_in_the_place_of_the_output(run, photo, tmp_path):
    (tmp_path / "taken").touch()
    code, _, errors = run("recognize", photo, "--output", tmp_path / "taken")
    assert code == 2
    assert "cannot be made a folder" in errors


def test_an_interrupt_ends_with_130(run, photo, monkeypatch, tmp_path):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("msanet.recognize.recognizer.Recognizer.find", interrupt)
    code, _, errors = run("recognize", photo, "--output", tmp_path / "out")
    assert code == 130
    assert "go on with --resume" in errors
    assert (tmp_path / "out" / "results.jsonl").read_text() == ""


# -- videos and streams ------------------------------------------------------------------------------------------------


def test_a_video_becomes_files_and_a_line_for_each_person(run, clip, tmp_path):
    code, output, errors = run("recognize", clip, "--output", tmp_path / "out", "--format", "json")
    assert code == 0
    names = ["clip.annotated.mp4", "clip.jsonl", "clip.timeline.png"]
    assert sorted(names_in(tmp_path / "out")) == [*names, "results.jsonl"]
    assert all(str(tmp_path / "out" / name) in errors for name in names)
    assert run("recognize", clip) == (0, output, "")
    header, *people = (line.split("\t") for line in output.splitlines())
    assert header[:3] == ["video", "person", "expression"]
    assert [(person[0], person[1], person[-1]) for person in people] == [(str(clip), str(n), "30") for n in (1, 2, 3)]


@pytest.mark.parametrize("form", ["csv", "json"])
def test_the_table_of_a_video_is_printed(run, clip, form):
    code, output, errors = run("recognize", clip, "--format", form)
    assert (code, errors) == (0, "")
    lines = output.splitlines()
    rows = list(csv.DictReader(lines)) if form == "csv" else [json.loads(line) for line in lines]
    assert len(rows) == 90
    assert {int(row["track"]) for row in rows} == {1, 2, 3}


def test_videos_that_cannot_be_read_are_listed_at_the_end(run, clip, tmp_path):
    text = tmp_path / "text.mp4"
    text.write_text("no video")
    code, output, errors = run("recognize", text, clip, tmp_path / "missing.mkv")
    assert code == 2
    assert len(output.splitlines()) == 4
    assert [line.split()[1] for line in errors.splitlines()] == [str(text), str(tmp_path / "missing.mkv")]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_video_in_order(run, clip, tmp_path, monkeypatch, number):
    def interrupt(*_: object) -> tuple[()]:
        signal.raise_signal(number)
        return ()

    monkeypatch.setattr("msanet.video.tracks.Smoother.__call__", interrupt)
    code, _, errors = run("recognize", clip, "--output", tmp_path)
    assert code == 128 + number
    assert "msanet: stopped at 0.0 s" in errors
    names = ["clip.annotated.mp4", "clip.csv", "clip.timeline.png", "results.jsonl"]
    assert sorted(names_in(tmp_path)) == names
    assert (tmp_path / "results.jsonl").read_text() == ""  # it is done again


def test_a_video_is_known_by_its_content(run, clip, portrait, tmp_path):
    (tmp_path / "noending").write_bytes(clip.read_bytes())
    code, output, _ = run("recognize", tmp_path / "noending")
    assert (code, len(output.splitlines())) == (0, 4)
    write(tmp_path / "picture.png", portrait)
    (tmp_path / "picture.png").rename(tmp_path / "picture.mp4")
    code, output, _ = run("recognize", tmp_path / "picture.mp4")
    assert (code, output.splitlines()[0].split("\t")[0]) == (0, "picture")
    (tmp_path / "notes.txt").write_text("no video\n" * 99)
    code, _, errors = run("recognize", tmp_path / "notes.txt")
    assert (code, len(errors.splitlines())) == (2, 1)


@pytest.mark.parametrize("form", ["table", "csv"])
def test_a_video_without_a_face_says_so(run, tmp_path, form):
    path = build_clip(tmp_path / "wall.mp4", [np.full((96, 160, 3), 120, np.uint8)] * 3)
    code, output, errors = run("recognize", path, "--format", form)
    assert code == 0
    assert "no face found" in (output if form == "table" else errors)


def test_raw_frames_on_standard_input_become_lines_of_json(run, portrait, monkeypatch):
    data = io.BytesIO(np.ascontiguousarray(portrait[:480]).tobytes() * 3)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(data))
    code, output, errors = run("recognize", "-", "--frame-size", "512x480", "--keep-all")
    assert (code, errors) == (0, "msanet: 0 frames dropped\n")
    assert [json.loads(line)["frame"] for line in output.splitlines()] == [0, 1, 2]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "there is nothing to recognize"),
        (["CLIP", "PHOTO", "--format", "csv"], "have different tables"),
        (["CLIP", "--explain", "--workers", "2"], "--explain and --workers would change nothing for videos"),
        (["CLIP", "--resume"], "--annotate and --resume are for a folder"),
        (["CLIP", "--show", "--keep-all"], "--show and --keep-all would change nothing for pictures and videos"),
        (["CLIP", "--size", "3"], "size is 3"),
        (["CLIP", "--threads", "0"], "threads is 0"),
        (["CLIP", "--smoothing", "-1"], "smoothing is -1"),
        (["CLIP", "--format", "parquet"], "Parquet cannot be printed"),
        (["CLIP", "--output", "PHOTO"], "cannot be made a folder"),
        (["-", "--format", "csv"], "--format csv would change nothing for streams"),
        (["RTSP://me:pa@ss@127.0.0.1:9/x", "--format", "csv"], "--format csv would change nothing for streams"),
        (["wtp://me:pa@ss@127.0.0.1:9/x"], "wtp://127.0.0.1:9/x does not exist"),
        (["PHOTO", "--format", "parquet"], "Parquet is for the tables of videos"),
        (["-"], "--frame-size WIDTHxHEIGHT"),
        (["-", "CLIP"], "watched alone"),
        (["--camera", "0", "--output", "PHOTO"], "--output would change nothing for streams"),
        (["--camera", "99"], "camera 99 cannot be opened"),
        (["--camera", "-1"], "there is no camera -1"),
        (["--camera", "99999999999"], "there is no camera 99999999999"),
        (["rtsp://127.0.0.1:9/x", "--format", "csv"], "--format csv would change nothing for streams"),
        (["RTSP://me:p@ss/word@127.0.0.1:9/x"], "rtsp://127.0.0.1:9/x cannot be opened"),
        (["rtsp://127.0.0.1:9/x"], "rtsp://127.0.0.1:9/x cannot be opened as a video (Connection refused)"),
    ],
)
def test_what_videos_and_streams_refuse(run, clip, photo, arguments, words):
    places = {"CLIP": clip, "PHOTO": photo}
    code, output, errors = run("recognize", *(places.get(argument, argument) for argument in arguments))
    assert (code, output) == (2, "")
    assert words in errors
    assert "Traceback" not in errors
    assert "pa@ss" not in errors


def test_a_folder_has_pictures_and_videos_and_says_what_else(run, clip, photo, wall):
    """Pictures first, then each video; a second run does what is left."""
    folder, output = photo.parent, photo.parent / "out"
    for name, source in (("a.mp4", clip), ("photo.jfif", photo)):
        (folder / name).write_bytes(source.read_bytes())
    for name in ("a.psd", "b.psd", "notes.TXT", "README", ".hidden"):
        (folder / name).touch()
    (folder / "text.mov").write_text("no video")
    code, printed, errors = run("recognize", folder, "--output", output)
    assert code == 2
    assert f"4 files left out of {folder}: 2 .psd, 1 without ending, 1 .txt\n" in errors
    assert f"msanet: {folder}/text.mov cannot be opened as a video" in errors
    found = [str(folder / name) for name in ("photo.jfif", "photo.jpg", "wall.png", "a.mp4")]
    assert sources(output / "results.jsonl") == found
    assert [line.split("\t")[0] for line in printed.splitlines()] == ["picture", *found[:3], "video", *[found[3]] * 3]
    *_, video = (json.loads(line) for line in (output / "results.jsonl").read_text().splitlines())
    assert [Path(path).name for path in video["files"]] == ["a.csv", "a.annotated.mp4", "a.timeline.png"]
    assert [person["person"] for person in video["people"]] == [1, 2, 3]
    before = {name: (output / name).read_bytes() for name in names_in(output)}
    code, printed, errors = run("recognize", folder, "--output", output, "--resume")
    assert (code, printed) == (2, "")
    assert {name: (output / name).read_bytes() for name in names_in(output)} == before


def test_what_a_missing_library_leaves_out_is_said(run, photo, monkeypatch):
    for module in ("av", "pillow_heif"):
        monkeypatch.setitem(sys.modules, module, None)
    for name in ("a.mov", "b.heic", "c.heic", *(f"d.x{number}" for number in range(6))):
        photo.with_name(name).touch()
    code, output, errors = run("recognize", photo.parent, photo.parent)
    assert (code, len(output.splitlines())) == (0, 2)
    said = f"msanet: 9 files left out of {photo.parent}: 2 .heic, 1 .mov, 1 .x0, 1 .x1, 1 .x2, 3 others; this needs av"
    assert errors.startswith(said)
    assert "pip install 'msanet[heif]'" in errors


def test_one_unexpected_error_does_not_end_the_other_videos(run, clip, tmp_path, monkeypatch):
    other = tmp_path / "other.mp4"
    other.write_bytes(clip.read_bytes())
    original = process.process

    def fail(path: str, *arguments: Any) -> object:
        return 1 // 0 if path == str(other) else original(path, *arguments)

    monkeypatch.setattr(process, "process", fail)
    code, printed, errors = run("recognize", other, clip, "--output", tmp_path / "out", "--no-annotate")
    assert code == 2
    assert f"{other} failed unexpectedly (ZeroDivisionError" in errors
    assert len(printed.splitlines()) == 4
    failed, done = (json.loads(line) for line in (tmp_path / "out" / "results.jsonl").read_text().splitlines())
    assert "in fail" in failed["error"]
    assert done["source"] == str(clip)


def test_tables_that_are_there_stay(run, clip, tmp_path):
    (tmp_path / "clip.csv").write_text("somebody's own")
    assert run("recognize", clip, "--output", tmp_path, "--no-annotate")[0] == 0
    assert (tmp_path / "clip.csv").read_text() == "somebody's own"
    assert (tmp_path / "clip-2.csv").exists()


# -- how it ends -------------------------------------------------------------------------------------------------------


def test_the_version(run):
    assert run("--version") == (0, f"msanet {msanet.__version__}\n", "")
    code, output, _ = run()
    assert code == 2
    assert "recognize" in output


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize(
    "arguments", [["recognize", "PHOTO"], ["recognize", "PHOTO", "--format", "json"], ["--version"]]
)
def test_a_full_disk_behind_standard_output_is_one_sentence(photo, tiny_model, arguments):
    arguments = [str(photo) if argument == "PHOTO" else argument for argument in arguments]
    model = ["--model", str(tiny_model)] if len(arguments) > 1 else []
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "msanet", *arguments, *model],
            cwd=ROOT,
            env=environment,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=60,
        )
    assert done.returncode == 2
    assert done.stderr.startswith("msanet: standard output cannot be used (No space left on device)")
    assert len(done.stderr.splitlines()) == 1


def test_a_termination_ends_in_order(tmp_path, tiny_model, portrait):
    folder, output = tmp_path / "pictures", tmp_path / "out"
    folder.mkdir()
    for index in range(300):
        write(folder / f"{index:03}.png", portrait[200:260:2, 200:260:2])
    command = [sys.executable, "-m", "msanet", "recognize", folder, "--output", output, "--model", tiny_model]
    running = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    results = output / "results.jsonl"
    while running.poll() is None and not (results.exists() and results.stat().st_size):
        time.sleep(0.005)
    running.terminate()
    _, errors = running.communicate(timeout=60)
    assert running.returncode == 143
    assert errors == f"msanet: what was done is in {results}: go on with --resume\n"
    assert results.read_bytes().endswith(b"}\n")


def test_models_lists_what_is_shipped(run, tiny_model, monkeypatch):
    monkeypatch.setattr("msanet.model.PRETRAINED", tiny_model.parent)
    code, output, _ = run("models")
    assert code == 0
    assert "tiny\tmsanet\t8\trandom numbers" in output


def test_the_module_runs_by_itself(photo, tiny_model):
    done = subprocess.run(
        [sys.executable, "-m", "msanet", "recognize", str(photo), "--model", str(tiny_model)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert str(photo) in done.stdout


# -- the lab ----------------------------------------------------------------------------------------------------------

QUICK = [
    f"--set={setting}"
    for setting in (
        "epochs=1",
        "batch_size=8",
        "small_epochs=0",
        "warmup_epochs=0",
        "workers=0",
        "precision=float32",
        "preprocessing.size=32",
        "network={channels: [16, 32]}",
    )
]


def test_train_evaluate_export_recognize(run, faces_folder, photo, tmp_path):
    source, folder = f"folder:{faces_folder}", tmp_path / "run"
    code, output, _ = run("train", "--data", source, "--network", "msanet_ms", "--output", folder, *QUICK)
    assert code == 0
    assert str(folder / "best.safetensors") in output
    code, output, errors = run("train", "--data", source, "--network", "msanet_ms", "--output", folder, *QUICK)
    assert code == 2
    assert "--resume" in errors

    weights = folder / "best.safetensors"
    code, output, _ = run("evaluate", "--model", weights, "--data", source, "--output", tmp_path / "report")
    assert code == 0
    assert "- Pictures: 16" in output
    assert str(tmp_path / "report" / "report.html") in output
    names = ["confusion.png", "report.html", "report.json", "report.md"]
    assert sorted(path.name for path in (tmp_path / "report").iterdir()) == names
    report = json.loads((tmp_path / "report" / "report.json").read_text())

    code, output, _ = run("export", "--model", weights, "--output", tmp_path / "mine.onnx")
    assert code == 0
    assert "ONNX opset 18" in output
    assert "100.00% of the answers are the same" in output
    int8 = ("--output", tmp_path / "int8.onnx", "--quantize", "int8")
    code, _, errors = run("export", "--model", weights, *int8)
    assert code == 2
    assert "--data NAME:DIR" in errors
    code, output, _ = run("export", "--model", weights, *int8, "--data", source)
    assert code == 0
    assert "accuracy: PyTorch" in output
    code, _, _ = run("evaluate", "--model", tmp_path / "mine.onnx", "--data", source, "--output", tmp_path / "onnx")
    assert code == 0
    assert json.loads((tmp_path / "onnx" / "report.json").read_text())["confusion"] == report["confusion"]

    code, output, _ = run("recognize", photo, "--model", tmp_path / "mine.onnx", "--format", "json")
    assert code == 0
    assert len(json.loads(output)[0]["faces"]) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["evaluate", "--data", "nowhere", "--model", "accurate"], "NAME:DIR"),
        (["evaluate", "--data", "ferplus:/nowhere", "--model", "accurate"], "fer2013new.csv is missing"),
        (["evaluate", "--data", "folder:FACES", "--model", "nobody"], "there is no model 'nobody'"),
        (["evaluate", "--data", "folder:FACES", "--model", "accurate", "--split", "nothing"], "no split"),
        (["evaluate", "--data", "folder:FACES", "--model", "accurate", "--subset", "pose30"], "no subset"),
        (["evaluate", "--data", "folder:FACES", "--set", "epochs=3"], "--set epochs=3: evaluation has the options"),
        (["evaluate", "--data", "folder:FACES", "--set", "data.nothing=3"], "folder has no option 'nothing'"),
        (["evaluate", "--data", "folder:FACES", "--embedding"], "--predictions: name that file too"),
        (["evaluate", "--data", "folder:FACES", "--predictions", "table.txt"], "table.txt ends in none of .csv"),
        (["train", "--data", "folder:FACES", "--output", "RUN", "--recipe", "nothing"], "there is no recipe"),
        (["train", "--data", "folder:FACES", "--output", "RUN", "--set", "speed=1"], "speed"),
        (["train", "--data", "folder:FACES", "--output", "RUN", "--set", "num_classes=9"], "num_classes"),
        (["train", "--data", "folder:FACES", "--output", "RUN", "--network", "nothing"], "there is no network"),
        (["train", "--data", "folder:FACES", "--output", "PICKLE/run", *QUICK], "cannot be written"),
        (["export", "--model", "PICKLE", "--output", "RUN.onnx"], "pickle"),
        (["export", "--model", "nobody", "--output", "RUN.onnx"], "there is no model"),
        (["datasets", "check", "folder:/nowhere"], "not a folder"),
    ],
)
def test_what_the_lab_refuses(run, faces_folder, tmp_path, arguments, words):
    (tmp_path / "weights.pt").write_bytes(b"\x80\x02}q\x00.")
    places = {"FACES": str(faces_folder), "RUN": str(tmp_path / "run"), "PICKLE": str(tmp_path / "weights.pt")}
    for name, place in places.items():
        arguments = [argument.replace(name, place) for argument in arguments]
    code, _, errors = run(*arguments)
    assert code == 2
    assert words in errors
    assert "Traceback" not in errors
    assert not (tmp_path / "run").exists()


def test_lists(run, faces_folder):
    assert "3.74 M\t1.28 G" in run("networks")[1]
    assert "paper\t" in run("recipes")[1]
    assert "ferplus\t" in run("datasets")[1]
    assert "train\thappiness\t4\t" in run("datasets", "check", f"folder:{faces_folder}")[1]


def test_a_check_names_what_is_wrong(run, own_ferplus):
    (own_ferplus / "FER2013Test" / "fer0000040.png").unlink()
    (own_ferplus / "FER2013Test" / "fer0000041.png").write_bytes(b"no picture")
    code, output, errors = run("datasets", "check", f"ferplus:{own_ferplus}")
    assert code == 2
    assert "test\tneutral\t0\t1089\t-1089" in output
    assert "1 of 8 listed pictures are missing and left out, the first fer0000040.png" in errors
    assert "fer0000041.png is not a picture" in errors
    assert "not a picture" not in run("datasets", "check", f"ferplus:{own_ferplus}", "--quick")[2]


@pytest.mark.parametrize(
    ("library", "arguments", "extra"),
    [
        ("torch", ["networks"], "train"),
        ("yaml", ["recipes"], "train"),
        ("safetensors", ["evaluate", "--data", "folder:nowhere"], "train"),
        ("av", ["recognize", "clip.mp4"], "video"),
    ],
)
def test_a_missing_extra_is_named(library, arguments, extra):
    code = f"import sys; sys.modules[{library!r}] = None; from msanet.__main__ import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 2
    assert f"needs {library}, which is not installed: run pip install 'msanet[{extra}]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_reader_that_goes_away_is_nothing_to_speak_of(tmp_path, tiny_model, clip):
    command = [sys.executable, "-m", "msanet", "recognize", clip, "--format", "json", "--model", tiny_model]
    run = subprocess.Popen(
        [*map(str, command)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ}
    )
    assert run.stdout is not None
    assert run.stderr is not None
    run.stdout.close()
    assert run.stderr.read() == b""
    assert run.wait() == 1  # typer's own, without a word
