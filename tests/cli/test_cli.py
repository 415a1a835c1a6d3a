"""The command line as people and programs use it."""

from __future__ import annotations

import csv
import io
import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from msanet.cli import app as command
from msanet.cli import recognize as recognizing
from msanet.cli.show import with_progress
from msanet.errors import InputError
from msanet.images import read, write
from msanet.recognize.results import Results
from tests.conftest import build_clip

ROOT = Path(__file__).parents[2]


@pytest.fixture
def run(monkeypatch, capsys, tiny_model):
    """Runs `msanet ARGUMENTS` in this process: exit code, standard output, standard error."""

    def run(*arguments: object) -> tuple[int, str, str]:
        model = ["--model", str(tiny_model)] if arguments[0] == "recognize" and "--model" not in arguments else []
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
    (row,) = csv.DictReader(io.StringIO(output))
    assert row["source"] == str(photo)
    assert 0.9 < float(row["score"]) <= 1


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
    names = sorted(path.name for path in output.iterdir())
    assert names == ["Photo.png", "photo-2.jpg", "photo.jpg", "results.jsonl", "wall.png"]
    results = [json.loads(line) for line in (output / "results.jsonl").read_text().splitlines()]
    assert [Path(result["annotated"]).name for result in results] == [
        "photo.jpg",
        "photo-2.jpg",
        "Photo.png",
        "wall.png",
    ]
    original, drawn = read(photo).astype(int), read(output / "Photo.png")
    assert np.abs(drawn[: len(original)] - original).max() > 50
    assert len(drawn) > len(original)  # the reasons
    run("recognize", photo, "--output", output, "--format", "csv")
    assert (output / "results.csv").read_text().startswith("source,face,x1")


def test_output_never_overwrites_an_input(run, photo):
    before = photo.read_bytes()
    code, _, _ = run("recognize", photo, "--output", photo.parent)
    assert code == 0
    assert photo.read_bytes() == before
    assert (photo.parent / "photo-2.jpg").exists()


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
    assert copies == ["0.png", "1.png", "2.png", "sub/0.png", "sub/1.png", "sub/2.png"]
    for kept in (0, len(whole) // 2, len(whole) - 1, len(whole)):
        (output / "results.jsonl").write_bytes(whole[:kept])
        code, printed, _ = run("recognize", album, "--output", output, "--resume", "--format", "csv")
        assert code == 2
        assert (output / "results.jsonl").read_bytes() == whole
        assert [row["source"] for row in csv.DictReader((output / "results.csv").open())] == expected
        assert len(printed.splitlines()) == 1 + 6 - whole[:kept].count(b"\n")


def test_of_many_pictures_only_the_results_are_written(run, album, monkeypatch):
    monkeypatch.setattr(recognizing, "MANY", 3)
    output = album.parent / "out"
    code, printed, _ = run("recognize", album, "--output", output)
    assert (code, printed) == (2, f"7 pictures, 1 of them failed, 6 faces: {output / 'results.jsonl'}\n")
    assert [path.name for path in output.iterdir()] == ["results.jsonl"]
    run("recognize", album, "--output", output, "--annotate")
    assert (output / "sub" / "0.png").exists()
    code, printed, _ = run("recognize", album)
    assert [line.split("\t")[0] for line in printed.splitlines()] == sources(output / "results.jsonl")


def test_annotation_can_be_left_out(run, photo, tmp_path):
    run("recognize", photo, "--output", tmp_path / "out", "--no-annotate")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["results.jsonl"]


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
        (["--threads", "0"], "threads is 0"),
        (["--workers", "0"], "workers is 0"),
        (["--format", "xml"], "xml"),
        (["--unknown"], "unknown"),
    ],
)
def test_wrong_arguments_end_in_a_sentence(run, photo, arguments, words):
    code, output, errors = run("recognize", photo, *arguments)
    assert code == 2
    assert output == ""
    assert words in errors
    assert "Traceback" not in errors


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
    names = ["clip.jsonl", "clip.mp4", "clip.png"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names
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
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.csv", "clip.mp4", "clip.png"]


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
        (["CLIP", "PHOTO"], "apart from pictures"),
        (["CLIP", "--explain"], "--explain and --resume are for pictures"),
        (["CLIP", "--show"], "--show, --keep-all and --frame-size are for streams"),
        (["CLIP", "--size", "3"], "size is 3"),
        (["CLIP", "--threads", "0"], "threads is 0"),
        (["CLIP", "--smoothing", "-1"], "smoothing is -1"),
        (["CLIP", "--format", "parquet"], "Parquet cannot be printed"),
        (["CLIP", "--output", "PHOTO"], "cannot be written"),
        (["PHOTO", "--format", "parquet"], "Parquet is for the tables of videos"),
        (["-"], "--frame-size WIDTHxHEIGHT"),
        (["-", "CLIP"], "watched alone"),
        (["--camera", "0", "--output", "PHOTO"], "--output is for files"),
        (["--camera", "99"], "camera 99 cannot be opened"),
        (["--camera", "-1"], "there is no camera -1"),
        (["--camera", "99999999999"], "there is no camera 99999999999"),
        (["rtsp://127.0.0.1:9/x", "--format", "csv"], "--format csv is for files"),
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
