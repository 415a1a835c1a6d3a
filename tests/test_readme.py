"""The commands of README, of the first page of the documentation and of the guide run as they are written, on tiny data
and one epoch; what README prints is what is printed, and tables that stand in several places are the same."""

from __future__ import annotations

import csv
import io
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
DOCS = ROOT / "docs"
GUIDE = sorted(path.relative_to(ROOT).as_posix() for path in (DOCS / "guide").glob("*.md"))
PAGES = ["README.md", "docs/index.md", *GUIDE]
QUICK = (
    "epochs=1 small_epochs=0 warmup_epochs=0 batch_size=4 workers=0 precision=float32 "
    "preprocessing.size=32 preprocessing.resize=36"
)
ELSEWHERE = ("--camera", "rtsp://")
"""What no test can have: a camera, a stream's address."""

MADE = {
    "README.md": ["annotated/photo.annotated.jpg", "runs/mine/best.safetensors", "mine.onnx"],
    "docs/index.md": ["annotated/photo.annotated.jpg"],
    "docs/guide/photos.md": ["annotated/photo.annotated.jpg", "reasons/photo.annotated.jpg"],
    "docs/guide/folders.md": ["results/results.jsonl", "copies/another.annotated.png"],
    "docs/guide/videos.md": ["followed/clip.annotated.mp4", "followed/clip.csv", "followed/clip.timeline.png"],
    "docs/guide/training.md": ["runs/first/best.safetensors", "runs/first/metrics.csv"],
    "docs/guide/evaluation.md": ["report/report.html", "answers.csv"],
    "docs/guide/ablation.md": ["runs/table3/ablation.md"],
    "docs/guide/export.md": ["half.onnx"],
    "docs/guide/own-labels.md": ["mine.onnx"],
}
"""Page -> files that its commands leave behind."""


def text(page: str) -> str:
    return (ROOT / page).read_text()


def blocks(page: str, language: str) -> list[str]:
    found = re.findall(r"^```(\w*)\n(.*?)^```", text(page), re.MULTILINE | re.DOTALL)
    return [block for name, block in found if name == language]


def commands(page: str) -> list[str]:
    lines = [line for block in blocks(page, "bash") for line in block.splitlines()]
    return [line for line in lines if line.startswith("msanet ") and not any(word in line for word in ELSEWHERE)]


def tables(page: str) -> list[str]:
    return [line for line in text(page).splitlines() if line.startswith("| ") and "---" not in line]


@pytest.fixture(scope="module")
def filled(tmp_path_factory, portrait, faces_folder, clip) -> Path:
    """A folder with all that the pages name, shared by all of them."""
    folder = tmp_path_factory.mktemp("workplace")
    write(folder / "photo.jpg", portrait)
    (folder / "photos").mkdir()
    write(folder / "photos" / "another.png", portrait)
    (folder / "faces").symlink_to(faces_folder)
    (folder / "clip.mp4").symlink_to(clip)
    (folder / "mine.py").write_text(blocks("docs/guide/plugins.md", "python")[0])
    return folder


@pytest.fixture
def workplace(filled, monkeypatch) -> Path:
    monkeypatch.chdir(filled)
    return filled


@pytest.fixture(scope="module")
def ran() -> set[str]:
    """Commands that ran there already: pages repeat each other's."""
    return set()


# Of the training pictures that repeat test pictures.
@pytest.mark.filterwarnings("ignore::msanet.data.sample.DataWarning")
@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)])
def test_the_commands_run(page, workplace, ran, one_thread, ferplus, monkeypatch, capsys):
    for line in commands(page):
        if line in ran:
            continue
        words = line.replace("ferplus:DIR", f"ferplus:{ferplus}").replace("--seeds 0,1,2", "--seeds 0")
        arguments = shlex.split(words, comments=True)
        if arguments[1] in ("train", "ablate"):
            arguments += [part for setting in QUICK.split() for part in ("--set", setting)]
        monkeypatch.setattr(sys, "argv", arguments)
        with pytest.raises(SystemExit) as caught:
            command.main()
        differs = arguments[1] == "datasets" and caught.value.code == 2  # the tiny set has not the official counts
        assert differs or not caught.value.code, f"{line}: {capsys.readouterr().err}"
        ran.add(line)
    assert [path for path in MADE.get(page, []) if not Path(path).is_file()] == []


def test_every_page_of_the_guide_has_commands():
    without = {page for page in PAGES if not commands(page)}
    assert without <= {"docs/guide/cameras.md"}  # it needs a camera


@pytest.mark.parametrize("page", ["README.md", "docs/guide/photos.md", "docs/guide/folders.md"])
def test_the_python_runs(page, workplace, capsys):
    for code in blocks(page, "python"):
        exec(compile(code, page, "exec"), {})
    assert set(EXPRESSIONS) & set(re.findall(r"\w+", capsys.readouterr().out))


def test_the_weights_of_other_programs_are_converted(tmp_path, monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": {"fc.weight": torch.ones(2, 3)}}, "resnet18_faces.pth")
    (code,) = blocks("docs/guide/own-labels.md", "python")
    exec(compile(code, "own-labels.md", "exec"), {})
    from safetensors.torch import load_file

    assert load_file("faces.safetensors")["fc.weight"].shape == (2, 3)


def test_the_first_minute_prints_what_it_says(tmp_path, monkeypatch, capsys):
    """README's own pair of portraits, as benchmarks/pictures.py makes it."""
    pytest.importorskip("skimage")
    from pictures import pair

    monkeypatch.chdir(tmp_path)
    write("photo.jpg", pair())
    (code,) = blocks("README.md", "python")
    exec(compile(code, "README.md", "exec"), {})
    monkeypatch.setattr(sys, "argv", shlex.split(commands("README.md")[0]))
    with pytest.raises(SystemExit):
        command.main()
    printed = capsys.readouterr().out
    tables_and_lines = "".join(block for block in blocks("README.md", "") if "happiness" in block)
    # versions of the libraries differ by a pixel or a hundredth
    numbers = [[float(word) for word in re.findall(r"\d+\.?\d*", part)] for part in (printed, tables_and_lines)]
    words = [sorted(re.findall(r"[a-z]\w+", part)) for part in (printed, tables_and_lines)]
    assert words[0] == words[1]
    assert sorted(numbers[0]) == pytest.approx(sorted(numbers[1]), abs=3)


def test_sizes():
    assert len(text("README.md").encode()) <= 6000
    assert len(text("MODEL_CARD.md").encode()) <= 6000
    pictures = list((DOCS / "pictures").iterdir())
    assert pictures
    assert all(path.stat().st_size < 120_000 for path in pictures)


@pytest.mark.parametrize("page", ["README.md", "MODEL_CARD.md", "CONTRIBUTING.md"])
def test_links_lead_somewhere(page):
    """Those of the site are checked by `make docs`."""
    links = [link for link in re.findall(r"\]\(([^)#]*)", text(page)) if link and "://" not in link]
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_ablation_is_that_of_the_results():
    lines = tables("docs/results/ablation.md")
    results = text("benchmarks/results/ablation/ablation.md").splitlines()
    assert len(lines) > 30
    assert [line for line in lines if line not in results] == []


@pytest.mark.parametrize("page", ["MODEL_CARD.md", "docs/results/scores.md"])
def test_the_scores_are_those_of_the_reports(page):
    report = "".join(path.read_text() for path in (ROOT / "msanet" / "pretrained").glob("*.md"))
    shipped = text(page).split("## With the duplicates")[0]  # of another run
    scores = re.findall(r"\d\d\.\d\d \(\d\d\.\d\d to \d\d\.\d\d\)", shipped)
    known = re.sub(r"(\d\d\.\d\d) \| (\d\d\.\d\d to \d\d\.\d\d)", r"\1 (\2)", report)
    assert len(scores) >= 10
    assert [score for score in scores if score not in known] == []


def test_readme_has_the_other_programs_figures():
    for line in tables("README.md"):
        if match := re.match(
            r"\| (`(?:accurate|fast|fer)`[^|]*)\| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \| ([\d,]+) \|", line
        ):
            name, *figures, installed = (part.strip() for part in match.groups())
            name = name.replace("on the same aligned crops", "aligned")
            row = next(
                row for row in tables("docs/results/peers.md") if re.match(rf"\| {re.escape(name)} \| \d\d\.", row)
            )
            assert [part.strip() for part in row.split("|")[2:5]] == figures
            assert f"{installed} MB" in text("docs/results/peers.md")


def test_the_experiments_have_a_row_a_run():
    rows = list(csv.DictReader(io.StringIO(text("docs/history/experiments.csv"))))
    assert [int(row["run"]) for row in rows] == list(range(1, len(rows) + 1))
    meanings = text("docs/history/learnt.md")
    for row in rows:
        assert None not in row
        assert 0 < float(row["average"]) < float(row["accuracy"]) < 100
        assert float(row["hours"]) >= 0
    assert [name for name in rows[0] if name not in ("run", "what", "note") and f"`{name}`" not in meanings] == []


def test_the_tree_names_every_file_and_folder_of_the_package():
    page = text("docs/decisions.md")
    tree = page[page.index("## The tree") :].replace("/", " ").split()
    package = Path(msanet.__file__).parent
    names = {path.name for path in package.iterdir() if not path.name.startswith("__") and path.name != "py.typed"}
    assert names - set(tree) == set()
