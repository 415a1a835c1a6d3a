"""The README's commands run as they are written, on tiny data and one epoch."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest

import msanet
from msanet.cli import app as command
from msanet.images import write
from msanet.labels import EXPRESSIONS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
QUICK = (
    "epochs=1 small_epochs=0 warmup_epochs=0 batch_size=4 workers=0 precision=float32 "
    "preprocessing.size=32 preprocessing.resize=36"
)


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


@pytest.fixture
def workplace(tmp_path, portrait, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write("photo.jpg", portrait)
    Path("photos").mkdir()
    write("photos/another.png", portrait)
    return tmp_path


# Of the training pictures that repeat test pictures.
@pytest.mark.filterwarnings("ignore::msanet.data.sample.DataWarning")
def test_the_commands_run(workplace, ferplus, monkeypatch, capsys):
    lines = [line for block in blocks("bash") for line in block.splitlines() if line.startswith("msanet ")]
    assert len(lines) > 8
    for line in lines:
        arguments = shlex.split(
            line.replace("ferplus:DIR", f"ferplus:{ferplus}").replace("--seeds 0,1,2", "--seeds 0"), comments=True
        )
        if arguments[1] in ("train", "ablate"):
            arguments += [part for setting in QUICK.split() for part in ("--set", setting)]
        monkeypatch.setattr(sys, "argv", arguments)
        with pytest.raises(SystemExit) as caught:
            command.main()
        differs = arguments[1] == "datasets" and caught.value.code == 2  # the tiny set has not the official counts
        assert differs or not caught.value.code, f"{line}: {capsys.readouterr().err}"
    made = {
        "annotated/photo.annotated.jpg",
        "reasons/photo.annotated.jpg",
        "runs/mine/best.safetensors",
        "runs/mine/report/report.html",
    }
    assert {path for path in made if not Path(path).is_file()} == set()


def test_the_python_runs(workplace, capsys):
    (code,) = blocks("python")
    exec(compile(code, "README.md", "exec"), {})
    assert capsys.readouterr().out.split()[0] in EXPRESSIONS


def test_the_ablation_is_that_of_the_results():
    section = README[README.index("## The paper's claims") :].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ") and "---" not in line]
    results = (ROOT / "benchmarks" / "results" / "ablation" / "ablation.md").read_text().splitlines()
    assert len(lines) > 4
    assert [line for line in lines if line not in results] == []


def test_the_tree_names_every_file_and_folder_of_the_package():
    tree = README[README.index("## The tree") :].replace("/", " ").split()
    package = Path(msanet.__file__).parent
    names = {path.name for path in package.iterdir() if not path.name.startswith("__") and path.name != "py.typed"}
    assert names - set(tree) == set()
