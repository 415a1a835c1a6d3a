"""The command line as people and programs use it."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from msanet import __main__ as command
from msanet.images import read, write

ROOT = Path(__file__).parents[1]


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
    twin, png = other / "photo.jpg", other / "Photo.png"
    twin.write_bytes(photo.read_bytes())
    write(png, read(photo))
    output = tmp_path / "new" / "out"
    code, _, errors = run("recognize", photo, twin, png, wall, "--output", output, "--explain")
    assert (code, errors) == (0, "")
    names = sorted(path.name for path in output.iterdir())
    assert names == ["Photo.png", "photo-2.jpg", "photo.jpg", "results.json", "wall.png"]
    results = json.loads((output / "results.json").read_text())
    assert [Path(result["annotated"]).name for result in results] == [
        "photo.jpg",
        "photo-2.jpg",
        "Photo.png",
        "wall.png",
    ]
    assert np.abs(read(output / "Photo.png").astype(int) - read(photo)).max() > 50
    run("recognize", photo, "--output", output, "--format", "csv")
    assert (output / "results.csv").read_text().startswith("source,face,x1")


def test_output_never_overwrites_an_input(run, photo):
    before = photo.read_bytes()
    code, _, _ = run("recognize", photo, "--output", photo.parent)
    assert code == 0
    assert photo.read_bytes() == before
    assert (photo.parent / "photo-2.jpg").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--model", "unknown"], "there is no model 'unknown'"),
        (["--threshold", "7"], "threshold is 7"),
        (["--size", "3"], "size is 3"),
        (["--threads", "0"], "threads is 0"),
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


def test_an_interrupt_ends_with_130(run, photo, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("msanet.recognizer.Recognizer.recognize", interrupt)
    assert run("recognize", photo)[0] == 130


def test_models_lists_what_is_shipped(run, tiny_model, monkeypatch):
    monkeypatch.setattr("msanet.recognizer.PRETRAINED", tiny_model.parent)
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
    report = json.loads((tmp_path / "report" / "report.json").read_text())

    code, output, _ = run("export", "--model", weights, "--output", tmp_path / "mine.onnx")
    assert code == 0
    assert "agree with PyTorch" in output
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


@pytest.mark.parametrize(
    ("library", "arguments", "extra"),
    [
        ("torch", ["networks"], "train"),
        ("yaml", ["recipes"], "train"),
        ("safetensors", ["evaluate", "--data", "folder:nowhere"], "train"),
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
