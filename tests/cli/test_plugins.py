"""Plug-ins from a folder outside of the package: each kind of thing that they add."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from msanet.cli.plugins import load_plugin, take_plugins
from msanet.errors import InputError

ROOT = Path(__file__).parents[2]

PLUGIN = """
import numpy as np
from torch import nn

from msanet.data import READERS
from msanet.data.augmentation import CHANGES
from msanet.data.reader import Reader
from msanet.data.sample import Sample
from msanet.methods import METHODS
from msanet.methods.plain import Plain
from msanet.networks import NETWORKS
from msanet.networks.network import Network


class Mean(Network):
    "Means of the colours under a linear layer."

    def __init__(self, num_classes=7):
        super().__init__()
        self.fc = nn.Linear(3, num_classes)

    def features(self, images, **inputs):
        return images.mean(dim=(2, 3))

    def head(self, features):
        return self.fc(features)


class Twice(Plain):
    "Everything counts twice."

    def forward(self, batch):
        terms = super().forward(batch)
        return {**terms, "loss": 2 * terms["loss"], "doubled": terms["loss"].detach()}


def read(root, split):
    return [Sample(path, path.parent.name) for path in sorted(root.glob(f"{split}/*/*.png"))]


NETWORKS["mean"] = Mean
METHODS["twice"] = Twice
READERS["mine"] = Reader(read, layout="SPLIT/LABEL/", license="mine")
CHANGES["dark"] = lambda image, rng: (image // 2).astype(np.uint8)
"""


def msanet(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "msanet", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def test_one_file_adds_a_network_a_method_a_data_set_and_an_augmentation(tmp_path, make_faces):
    folder, plugin = make_faces({"train": 2, "validation": 1, "test": 1}), tmp_path / "mine.py"
    plugin.write_text(PLUGIN)
    settings = ["epochs=1", "batch_size=8", "workers=0", "preprocessing.size=32", "preprocessing.resize=null"]
    settings += ["small_epochs=0", "precision=float32", "augmentation.further=[dark]"]
    run = msanet(
        *("train", "--plugin", plugin, "--data", f"mine:{folder}", "--network", "mean", "--method", "twice"),
        *("--output", tmp_path / "run", *(word for setting in settings for word in ("--set", setting))),
    )
    assert run.returncode == 0, run.stderr
    assert "doubled" in (tmp_path / "run" / "metrics.csv").read_text()
    best = tmp_path / "run" / "best.safetensors"
    scored = msanet(f"--plugin={plugin}", "evaluate", "--data", f"mine:{folder}", "--model", best)
    assert scored.returncode == 0, scored.stderr
    without = msanet("evaluate", "--data", f"folder:{folder}", "--model", best)
    assert without.returncode == 2
    assert "there is no network 'mean'" in without.stderr


def test_scn_dan_and_timm_need_nothing_that_a_file_outside_does_not_have(tmp_path, make_faces):
    folder, package = make_faces({"train": 2, "validation": 1}), ROOT / "msanet"
    files = {
        "methods/scn.py": 'from msanet.methods import METHODS\nMETHODS["own_scn"] = SCN\n',
        "networks/dan.py": 'from msanet.networks import NETWORKS\nNETWORKS["own_dan"] = DAN\n',
        "networks/timm_backbone.py": (
            "from functools import partial\nfrom msanet.networks import NETWORKS\n"
            'NETWORKS["own_timm"] = lambda num_classes=7: TimmBackbone(num_classes, model="test_resnet")\n'
        ),
    }
    plugins: list[object] = []
    for name, line in files.items():
        path = tmp_path / Path(name).name
        path.write_text((package / name).read_text() + line)
        plugins += ["--plugin", path]
    settings = ["epochs=1", "batch_size=8", "workers=0", "preprocessing.size=32", "preprocessing.resize=null"]
    settings += ["small_epochs=0", "precision=float32", "network={}", "method.relabel_from=1"]
    networks = ["own_dan", *(["own_timm"] if importlib.util.find_spec("timm") else [])]
    for network in networks:
        run = msanet(
            *(*plugins, "train", "--data", f"folder:{folder}", "--network", network, "--method", "own_scn"),
            *("--output", tmp_path / network, *(word for setting in settings for word in ("--set", setting))),
        )
        assert run.returncode == 0, run.stderr
        assert "importance_spread" in (tmp_path / network / "metrics.csv").read_text()


@pytest.mark.parametrize("text", ["import nothing_like_it", "1 / 0", "def ("])
def test_a_plugin_that_fails_is_one_sentence(tmp_path, text):
    path = tmp_path / "broken.py"
    path.write_text(text)
    with pytest.raises(InputError, match=r"broken\.py cannot be loaded \("):
        load_plugin(str(path))
    with pytest.raises(InputError, match="there is no plug-in"):
        load_plugin(str(tmp_path / "none.py"))


def test_plugins_may_stand_anywhere():
    words = ["--plugin", "a.py", "train", "--data", "x", "--plugin=b.py", "--", "--plugin"]
    assert take_plugins(words) == (["train", "--data", "x", "--", "--plugin"], ["a.py", "b.py"])
    with pytest.raises(InputError, match="needs a file"):
        take_plugins(["train", "--plugin"])
