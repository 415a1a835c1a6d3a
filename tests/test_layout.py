"""The rules of the house, which docs/decisions.md explains: import order, two wings, one owner per heavy library, and a
test for each file.

The rules are read from the source by `ast`, imports inside functions included, so a broken rule is found even where no
test reaches the line. `test_a_planted_violation_is_found` shows that each rule can fail.
"""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import msanet
from msanet.images import write

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "msanet"

# Top to bottom: a file imports only from the ground floor above it and from its own wing above it. An entry is a file
# or a folder; within a folder the rule is that imports do not go round in a circle.
GROUND = (
    "errors",
    "labels",
    "files",
    "images",
    "preprocessing",
    "runtime",
    "model",
    "classifier",
    "faces",
    "drawing",
)
LAB = ("networks", "weights", "data", "methods", "measure", "train", "study")
DOOR = ("export",)  # from the lab to the shop: may see both
SHOP = ("recognize", "video", "serve")
TOP = ("__init__", "cli", "__main__")  # may see everything
ORDER = (*GROUND, *LAB, *DOOR, *SHOP, *TOP)

# Heavy library -> the files and folders that may import it. Everybody else asks one of them.
OWNERS: dict[str, tuple[str, ...]] = {
    "cv2": ("images", "preprocessing", "faces", "drawing", "video/cuts", "video/live", "video/timeline"),
    "onnxruntime": ("runtime", "export"),
    "torch": (*LAB, *DOOR),
    "torchvision": (*LAB, *DOOR),
    "timm": ("networks/timm_backbone",),
    "sklearn": ("networks/sift_words",),
    "accelerate": ("measure/predict", "methods", "train", "study/ablate"),
    "safetensors": ("weights",),
    "pydantic": ("data", "methods", "train", "study", "serve"),
    "yaml": ("train", "study"),
    "jinja2": ("measure/report",),
    "matplotlib": ("measure/scores", "study/tables"),
    "onnx": ("export",),
    "onnxscript": ("export",),
    "av": ("video",),
    "pillow_heif": ("images",),
    "pyarrow": ("video/timeline", "recognize", "measure"),
    "pandas": ("recognize/tables",),
    "polars": ("recognize/tables",),
    "supervision": ("recognize/recognizer",),
}
# Imported at first use, so never at the top of a file.
LATE = (
    "cv2",
    "onnxruntime",
    "matplotlib",
    "onnx",
    "onnxscript",
    "av",
    "pillow_heif",
    "pyarrow",
    "pandas",
    "polars",
    "supervision",
    "timm",
    "sklearn",
)
# The shop must work where none of these is installed. (pydantic comes with typer, so it is always there.)
LAB_ONLY = ("torch", "torchvision", "accelerate", "safetensors", "yaml", "matplotlib", "onnx", "jinja2")
DRAWERS = ("utils", "util", "common", "core", "helpers", "misc")

PUBLIC = ["Face", "InputError", "Recognition", "Recognizer", "__version__", "create_network"]


@dataclass(frozen=True)
class Import:
    """One imported name: `target` is a dotted module, `late` says that it stands inside a function."""

    target: str
    line: int
    late: bool
    typing_only: bool


def unit(module: str) -> str:
    """msanet.networks.resnet -> networks: the entry of ORDER that a module belongs to."""
    return module.split(".")[1] if "." in module else "__init__"


def owns(module: str, library: str) -> bool:
    """Whether a module, or the folder that it lies in, may import a library."""
    place = "/".join(module.split(".")[1:])
    return any(place == owner or place.startswith(f"{owner}/") for owner in OWNERS[library])


def modules(package: Path) -> dict[str, Path]:
    """Dotted name -> file, for each Python file of the package; a folder's __init__ has the folder's name."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = ("msanet", *path.relative_to(package).with_suffix("").parts)
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(path: Path, known: set[str]) -> Iterator[Import]:
    """Every import of a file; `from msanet import images` counts as msanet.images where that is a module."""

    def visit(node: ast.AST, late: bool, typing_only: bool) -> Iterator[Import]:
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            full = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in known else str(node.module) for name in full]
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            # require("torch"), import_module("torch"), __import__("torch")
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in ("require", "import_module", "__import__"):
                names = [str(node.args[0].value)]
        for name in names:
            yield Import(name, getattr(node, "lineno", 0), late, typing_only)
        for child in ast.iter_child_nodes(node):
            inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            guarded = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test) and child in node.body
            yield from visit(child, late or inside, typing_only or guarded)

    yield from visit(ast.parse(path.read_text(encoding="utf-8")), False, False)


def visible(name: str) -> set[str]:
    """The entries of ORDER that the file or folder `name` may import from, itself excluded."""
    above = set(ORDER[: ORDER.index(name)])
    if name in LAB:
        return above & {*GROUND, *LAB}
    if name in SHOP:
        return above & {*GROUND, *SHOP}
    return above


def violations(package: Path) -> list[str]:
    """Each broken rule of the import order, the owners, the late libraries and the names, as a sentence."""
    found = []
    files = modules(package)
    edges: dict[str, set[str]] = {}
    for module, path in files.items():
        own = unit(module)
        place = path.relative_to(package.parent)
        if own not in ORDER:
            found.append(f"{place} has no place in the import order: give it one in tests/test_layout.py")
            continue
        allowed = visible(own) | {own}
        edges[module] = set()
        for item in imports(path, set(files)):
            where = f"{place}:{item.line}"
            library = item.target.split(".")[0]
            if library == "msanet":
                edges[module].add(item.target)
                if item.target != module and unit(item.target) not in allowed:
                    found.append(f"{where} imports {item.target}, which {own} may not see")
            elif library in OWNERS and not item.typing_only:
                if not owns(module, library):
                    found.append(f"{where} imports {library}, which belongs to {', '.join(OWNERS[library])}")
                if library in LATE and not item.late:
                    found.append(f"{where} imports {library} at the top: import it at first use")
    found += [f"the imports go round in a circle: {' -> '.join(circle)}" for circle in circles(edges)]
    found += [
        f"{path.relative_to(package.parent)}: name it after what it does"
        for path in sorted(package.rglob("*"))
        if path.stem.strip("_") in DRAWERS
    ]
    return found


def circles(edges: dict[str, set[str]]) -> list[list[str]]:
    """Circles among the imports, one for each that a walk through all modules meets."""
    found: list[list[str]] = []
    done: set[str] = set()

    def walk(module: str, way: list[str]) -> None:
        if module in way:
            found.append([*way[way.index(module) :], module])
        elif module not in done:
            for target in sorted(edges.get(module, ())):
                walk(target, [*way, module])
            done.add(module)

    for module in sorted(edges):
        walk(module, [])
    return found


def untested(package: Path, tests: Path) -> list[str]:
    """Files without a test file in the same place below tests/; a folder's files may share test_FOLDER.py there.

    __init__.py is tested here, __main__.py with cli/.
    """
    found = []
    for path in modules(package).values():
        place = path.relative_to(package)
        if place.name in ("__init__.py", "__main__.py"):
            continue
        folder = tests / place.parent
        names = {f"test_{place.stem}.py", f"test_{place.parent.name}.py"}
        if not any((folder / name).exists() for name in names):
            found.append(f"{path.relative_to(package.parent)} has no {folder / min(names)}")
    return found


def repeated_names(package: Path) -> list[str]:
    """Public classes and constants of one name in two files, in sentences; readers of data sets are alike."""
    homes: dict[str, list[str]] = {}
    for module, path in modules(package).items():
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            names = [node.name] if isinstance(node, ast.ClassDef) else [getattr(item, "id", "") for item in targets]
            for name in names:
                if name and not name.startswith("_") and name not in ("Item",):
                    homes.setdefault(name, []).append(module)
    return [
        f"{name} is a name in {' and '.join(places)}: one word, one meaning"
        for name, places in homes.items()
        if len(places) > 1 and not all(place.startswith("msanet.data.") for place in places)
    ]


def python(code: str) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh interpreter that sees this source tree."""
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_the_package_keeps_the_rules():
    assert violations(PACKAGE) == []


def test_every_file_has_its_test_file():
    assert untested(PACKAGE, ROOT / "tests") == []


PLANTED = [
    ("labels.py", "from msanet.faces.face import Face", "faces.face, which labels may not see"),
    ("runtime.py", "def late():\n    from msanet.faces import face", "faces.face, which runtime may not see"),
    ("recognize/recognizer.py", "from msanet.measure.scores import score", "which recognize may not see"),
    ("recognize/recognizer.py", "def late():\n    from msanet.networks import create_network", "may not see"),
    ("recognize/batch.py", "class A:\n    def late(self):\n        import torch.nn", "imports torch, which belongs to"),
    ("recognize/batch.py", "from msanet.errors import require\nx = require('torch')", "imports torch, which belongs"),
    ("measure/evaluate.py", "from msanet.recognize.recognizer import Recognizer", "which measure may not see"),
    ("measure/evaluate.py", "def late():\n    import msanet.video.live", "video.live, which measure may not see"),
    ("measure/evaluate.py", "def late():\n    import cv2", "imports cv2, which belongs to"),
    ("measure/evaluate.py", "def late():\n    import matplotlib", "imports matplotlib, which belongs to"),
    ("networks/blocks.py", "from msanet import data", "data, which networks may not see"),
    ("networks/blocks.py", "from msanet.networks import create_network", "go round in a circle"),
    ("errors.py", "import msanet", "imports msanet, which errors may not see"),
    ("faces/crops.py", "import cv2", "imports cv2 at the top"),
    ("faces/crops.py", "import onnxruntime", "imports onnxruntime, which belongs to runtime"),
    ("runtime.py", "try:\n    import onnxruntime\nexcept ImportError:\n    pass", "imports onnxruntime at the top"),
    ("train/run.py", "import safetensors.torch", "imports safetensors, which belongs to weights"),
    ("utils.py", "", "utils.py: name it after what it does"),
    ("data/common.py", "", "common.py: name it after what it does"),
    ("other.py", "", "no place in the import order"),
    ("core/__init__.py", "", "core: name it after what it does"),
]


@pytest.mark.parametrize(
    ("file", "code", "words"), PLANTED, ids=[f"{number}-{line[0]}" for number, line in enumerate(PLANTED)]
)
def test_a_planted_violation_is_found(tmp_path, file, code, words):
    package = tmp_path / "msanet"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__", "pretrained"))
    before = violations(package)
    path = package / file
    path.parent.mkdir(exist_ok=True)
    with path.open("a", encoding="utf-8") as stream:
        stream.write("\n" + code + "\n")
    assert any(words in sentence for sentence in violations(package) if sentence not in before)


@pytest.mark.parametrize(
    ("file", "code"),
    [
        ("faces/crops.py", "def late():\n    import cv2"),
        ("faces/crops.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import onnxruntime"),
        ("recognize/recognizer.py", "from msanet.drawing.annotate import draw"),
        ("export.py", "from msanet.networks import create_network\nfrom msanet.runtime import Session"),
        ("networks/new.py", "from msanet.networks.network import Network\nfrom msanet.errors import InputError"),
        ("__main__.py", "def late():\n    from msanet.recognize.recognizer import Recognizer"),
    ],
)
def test_what_is_allowed_is_not_found(tmp_path, file, code):
    package = tmp_path / "msanet"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__", "pretrained"))
    before = violations(package)
    with (package / file).open("a", encoding="utf-8") as stream:
        stream.write("\n" + code + "\n")
    assert [sentence for sentence in violations(package) if sentence not in before] == []


def test_a_missing_test_file_is_found(tmp_path):
    assert any("errors.py has no" in line for line in untested(PACKAGE, tmp_path))
    (tmp_path / "networks").mkdir()
    (tmp_path / "networks" / "test_networks.py").touch()
    assert not any("networks/" in line for line in untested(PACKAGE, tmp_path))


def test_no_name_has_two_meanings(tmp_path):
    assert repeated_names(PACKAGE) == []
    package = tmp_path / "msanet"
    package.mkdir()
    (package / "a.py").write_text("class Report: ...\nLIMIT = 1\n")
    (package / "b.py").write_text("class Report: ...\nLIMIT: int = 2\n")
    assert len(repeated_names(package)) == 2


def test_the_public_names_are_the_documented_ones():
    assert sorted(msanet.__all__) == PUBLIC
    missing = [name for name in PUBLIC if not hasattr(msanet, name)]
    assert missing == []
    assert set(PUBLIC) <= set(dir(msanet))
    with pytest.raises(AttributeError, match="nothing"):
        msanet.nothing  # noqa: B018


def test_import_is_light():
    code = """
import sys, time
start = time.perf_counter()
import msanet
print(time.perf_counter() - start, *(name for name in HEAVY if name in sys.modules))
""".replace("HEAVY", repr(list(OWNERS)))
    runs = [python(code) for _ in range(5)]
    assert {run.returncode for run in runs} == {0}, runs[0].stderr
    words = [run.stdout.split() for run in runs]
    assert [names for _, *names in words] == [[]] * 5
    assert min(float(seconds) for seconds, *_ in words) < 0.3


def test_what_reports_home_is_told_not_to_whatever_the_environment_says():
    code = """
import os
names = ["ORT_DISABLE_TELEMETRY", "HF_HUB_DISABLE_TELEMETRY", "RAY_USAGE_STATS_ENABLED", "WANDB_ERROR_REPORTING"]
os.environ.update(dict.fromkeys(names, ""))
import msanet
print(*(os.environ[name] for name in names))
"""
    assert python(code).stdout.split() == ["1", "1", "0", "false"]


def test_the_shop_works_without_the_lab(tiny_model, portrait, tmp_path):
    """Import every file of the ground floor and the shop, and recognise, where torch and its like cannot be found.

    Nothing of it opens a window or loads a library that draws on a screen.
    """
    photo = tmp_path / "photo.png"
    write(photo, portrait)
    names = [name for name in modules(PACKAGE) if unit(name) in (*GROUND, *SHOP, "__main__")]
    code = f"""
import importlib, sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {LAB_ONLY!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

def window(*arguments):
    raise AssertionError("a window")

sys.meta_path.insert(0, Blocker())
import cv2
for name in dir(cv2):
    if name in ("imshow", "waitKey") or name.endswith(("Window", "Windows", "WindowThread")) and "Hanning" not in name:
        setattr(cv2, name, window)
for name in {names!r}:
    importlib.import_module(name)
import numpy as np
import msanet
recognizer = msanet.Recognizer({str(tiny_model)!r})
picture = np.full((240, 320, 3), 128, np.uint8)
assert len(recognizer.recognize(picture)) == 0
assert recognizer.classify([picture]).shape == (1, len(recognizer.expressions))
from msanet.recognize.batch import recognize_many
for recognition in recognize_many(recognizer, [{str(photo)!r}] * 3, explain=True):
    assert len(recognition) == 1
    assert recognition._repr_png_()
from pathlib import Path
maps = Path("/proc/self/maps")
assert not maps.exists() or not any(name in maps.read_text() for name in ("libGL", "libX11", "libgtk", "libQt"))
sys.argv = ["msanet", "recognize", {str(photo)!r}, "--model", {str(tiny_model)!r}, "--output", {str(tmp_path)!r}]
from msanet.__main__ import main
try:
    main()
except SystemExit as end:
    assert not end.code
    print("done")
"""
    run = python(code)
    assert run.stdout.splitlines()[-1:] == ["done"], run.stderr
    assert (tmp_path / "photo.annotated.png").is_file()


def test_only_the_headless_opencv_is_asked_for():
    tomllib = pytest.importorskip("tomllib")  # Python 3.11
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = [*project["dependencies"], *(line for lines in project["optional-dependencies"].values() for line in lines)]
    assert [line for line in asked if line.startswith(("opencv", "supervision"))] == []
    heavy = ("torch", "matplotlib", "onnx>", "onnxscript", "safetensors", "accelerate", "tensorboard", "pydantic")
    assert [line for line in project["dependencies"] if line.startswith(heavy)] == []
    assert project["version"] == msanet.__version__
