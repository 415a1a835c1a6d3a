"""A recipe is read strictly, a run learns, and a killed run goes on as if nothing had happened."""

from __future__ import annotations

import csv
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from accelerate.utils import LoggerType
from PIL import Image
from torch import Tensor, nn
from torchvision.models import resnet18, resnet50

from msanet import data, weights
from msanet.data.dataset import Batch
from msanet.data.sample import DataWarning
from msanet.errors import InputError
from msanet.labels import EXPRESSIONS
from msanet.measure.calibration import fit_temperature
from msanet.measure.evaluate import evaluate
from msanet.measure.predict import predict
from msanet.measure.scores import Report, score
from msanet.model import METADATA_KEY
from msanet.networks import network_arguments
from msanet.networks.network import PooledNetwork
from msanet.preprocessing import softmax
from msanet.train.average import Average
from msanet.train.interruption import Terminated
from msanet.train.recipe import Recipe, load_recipe, recipe_names
from msanet.train.run import Run
from tests.conftest import TINY_RECIPE

pytestmark = pytest.mark.usefixtures("one_thread")

ROOT = Path(__file__).parents[2]
NETWORK = "msanet_ms_as"
TINY = {**TINY_RECIPE, "epochs": 2}
# All that carries a state from step to step or from epoch to epoch.
FULL: dict[str, Any] = {
    **TINY,
    "augmentation": {"flip": 0.5, "rotation": 10, "shift": 0.1, "noise": 0.02, "erase": 0.2},
    "epochs": 4,
    "small_size": 24,
    "small_epochs": 2,
    "method": {"name": "mixup", "strength": 0.2, "plain_epochs": 1},
    "ema": 0.9,
    "balance": 0.5,
    "nesterov": True,
    "warmup_epochs": 0.5,
}

SCN = {"name": "scn", "relabel_from": 1, "threshold": 0.0, "relabel": "all"}


@pytest.fixture
def source(faces_folder) -> str:
    return f"folder:{faces_folder}"


# -- recipes ----------------------------------------------------------------------------------------------------------


def test_the_recipes_that_come_with_the_package_can_be_loaded():
    assert {"default", "paper"} <= set(recipe_names())
    for name in recipe_names():
        assert load_recipe(name).description


def test_the_papers_recipe_is_the_papers():
    recipe = load_recipe("paper")
    assert (recipe.batch_size, recipe.momentum, recipe.nesterov, recipe.beta) == (32, 0.9, False, 0.6)
    assert (recipe.learning_rate, recipe.schedule, recipe.step_epochs, recipe.epochs) == (0.1, "step", 10, 40)
    assert (recipe.weight_decay, recipe.workers, recipe.num_classes) == (1e-4, 4, 7)
    assert (recipe.preprocessing.size, recipe.preprocessing.resize) == (224, 256)
    assert (recipe.augmentation.crop, recipe.augmentation.flip) == ("corners", 0.5)
    assert (recipe.warmup_epochs, recipe.ema, recipe.balance, recipe.method["name"]) == (0, 0, 0, "plain")
    assert (recipe.label_smoothing, recipe.soft_targets, recipe.precision) == (0, False, "float32")
    assert recipe.network["hierarchy"] == "res2net"  # measured to be the better reading, see docs/decisions.md


@pytest.mark.parametrize(
    ("epoch", "rate"), [(0, 0.1), (9.99, 0.1), (10, 0.01), (19.99, 0.01), (20, 1e-3), (30, 1e-4), (39.99, 1e-4)]
)
def test_the_papers_learning_rate_is_divided_by_ten_every_ten_epochs(epoch, rate):
    assert load_recipe("paper").rate(epoch) == pytest.approx(rate)


def test_the_cosine_falls_to_zero():
    recipe = Recipe(schedule="cosine", learning_rate=0.2, epochs=10)
    assert [recipe.rate(epoch) for epoch in (0, 5, 10)] == pytest.approx([0.2, 0.1, 0])
    assert recipe.rate(2.5) == pytest.approx(0.1 * (1 + math.cos(math.pi / 4)))


@pytest.mark.parametrize("schedule", ["step", "cosine"])
def test_the_warm_up_rises_linearly_from_zero(schedule):
    warm = Recipe(schedule=schedule, warmup_epochs=2, epochs=10)
    cold = Recipe(schedule=schedule, epochs=10)
    for epoch in (0, 0.5, 1, 2, 3.5):
        assert warm.rate(epoch) == pytest.approx(cold.rate(epoch) * min(epoch / 2, 1))


def test_a_recipe_may_be_a_file_and_survives_being_written(tmp_path):
    recipe = load_recipe("default", ["epochs=3"])
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(json.loads(recipe.model_dump_json())))
    assert load_recipe(path) == recipe
    assert load_recipe(str(path)) == recipe


def test_settings_reach_into_groups_and_are_yaml():
    recipe = load_recipe(
        "default",
        [
            "epochs=3",
            "preprocessing.size=112",
            "preprocessing.resize=128",
            "preprocessing.framing.scale=1.2",
            "network.strides=[2, 2]",
            "network.hierarchy=equation",
            "augmentation={flip: 0.25}",
            "soft_targets=false",
            "learning_rate=1e-2",
            "description=a = b",
        ],
    )
    assert (recipe.epochs, recipe.preprocessing.size, recipe.preprocessing.framing.scale) == (3, 112, 1.2)
    assert recipe.network["strides"] == [2, 2]
    assert recipe.network["hierarchy"] == "equation"
    assert (recipe.augmentation.flip, recipe.augmentation.rotation) == (0.25, 0)
    assert (recipe.soft_targets, recipe.learning_rate, recipe.description) == (False, 0.01, "a = b")
    assert recipe.preprocessing.gray == load_recipe("default").preprocessing.gray  # the rest of the group stays


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("epoch=3", "field epoch"),
        ("epochs=many", "field epochs"),
        ("epochs=0", "field epochs"),
        ("epochs", "--set epochs: write field=value"),
        ("epochs.x=3", r"--set epochs\.x"),
        ("network={a", "--set network={a"),
        ("num_classes=6", "field num_classes"),
        ("augmentation.flip=2", r"field augmentation\.flip"),
        ("augmentation.zoom=2", r"field augmentation\.zoom"),
        ("preprocessing.sise=64", r"field preprocessing\.sise"),
        ("preprocessing.size=4", "field preprocessing: .*size is 4"),
        ("preprocessing.framing.scale=0", r"field preprocessing\.framing: .*scale is 0"),
        ("preprocessing.framing.angle=1", r"field preprocessing\.framing\.angle"),
        ("schedule=linear", "field schedule"),
        ("precision=float8", "field precision"),
        ("select=loss", "field select"),
        ("momentum=1", "field momentum"),
        ("batch_size=1", "field batch_size"),
    ],
)
def test_a_field_or_value_that_a_recipe_cannot_have_is_named(setting, words):
    with pytest.raises(InputError, match=words) as caught:
        load_recipe("default", [setting])
    assert "\n" not in str(caught.value)


def test_files_that_are_no_recipe_are_refused(tmp_path):
    with pytest.raises(InputError, match="no recipe 'none': choose one of ablation, default, fast, finetune, paper"):
        load_recipe("none")
    for content in (b"", b"- a\n- b\n", b"just text", b"a: [", b"\xff\xfe\x00", b"\x89PNG\r\n\x1a\n"):
        path = tmp_path / "broken.yaml"
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"broken\.yaml is not a YAML file of"):
            load_recipe(path)
    (tmp_path / "wrong.yaml").write_text("epochz: 3\n")
    with pytest.raises(InputError, match=r"recipe wrong\.yaml, field epochz"):
        load_recipe(tmp_path / "wrong.yaml")


# -- pieces of the loop -----------------------------------------------------------------------------------------------


class Small(PooledNetwork):
    """One weight and one statistic of each kind."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.norm = nn.Linear(2, 2), nn.BatchNorm2d(2)

    def feature_maps(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        return self.norm(images), []


def test_the_average_is_an_exponential_one_whose_decay_starts_low():
    network = Small()
    average = Average(network, 0.5)
    names = ("fc.weight", "norm.running_mean")
    expected = {name: network.state_dict()[name].clone() for name in names}
    for step in range(12):
        state = network.state_dict()
        state["fc.weight"].add_(torch.randn(2, 2))
        state["norm.running_mean"].add_(1)
        state["norm.num_batches_tracked"].add_(1)
        average.update(network)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = {name: decay * expected[name] + (1 - decay) * state[name] for name in names}
    result = average.network.state_dict()
    for name in names:
        torch.testing.assert_close(result[name], expected[name])
        assert not torch.allclose(result[name], network.state_dict()[name])
    assert int(result["norm.num_batches_tracked"]) == 12
    assert not average.network.training
    assert network.training


def test_without_decay_the_average_is_the_network():
    network = Small()
    assert Average(network, 0.0).network is network


# -- a run ------------------------------------------------------------------------------------------------------------


def start(source: str, output: Path, resume: bool = False, **fields: Any) -> Run:
    return Run(source, NETWORK, Recipe(**{**TINY, **fields}), output, resume)


def trained(run: Run) -> Report:
    report = run.train()
    assert report is not None
    return report


def rows_of(folder: Path) -> list[dict[str, float]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def learned(faces_folder, tmp_path_factory, one_thread) -> tuple[Path, Report]:
    """A run of twelve epochs over 32 pictures, and what it returned."""
    output = tmp_path_factory.mktemp("runs") / "learned"
    run = start(f"folder:{faces_folder}", output, epochs=12, learning_rate=0.1, ema=0.9, select="macro_f1")
    return output, trained(run)


def test_a_run_learns(learned):
    folder, report = learned
    rows = rows_of(folder)
    assert [row["epoch"] for row in rows] == list(range(1, 13))
    assert rows[-1]["loss"] < 0.6 * rows[0]["loss"]
    assert rows[0]["loss"] > 1.5  # about log 8
    assert report.accuracy > 0.6  # by chance 0.125
    assert report.accuracy == pytest.approx(max(row["accuracy"] for row in rows), abs=0.07)


def test_what_a_run_folder_holds(learned):
    folder, report = learned
    assert {path.name for path in folder.iterdir()} == {
        "best",
        "best.safetensors",
        "checkpoint.safetensors",
        "environment.json",
        "last",
        "last.safetensors",
        "metrics.csv",
        "recipe.yaml",
    }
    for which in ("best", "last"):
        assert {path.name for path in (folder / which).iterdir()} == {"confusion.png", "report.json", "report.md"}
    assert load_recipe(folder / "recipe.yaml") == Recipe(
        **{**TINY, "epochs": 12, "learning_rate": 0.1, "ema": 0.9, "select": "macro_f1"}
    )
    facts = json.loads((folder / "environment.json").read_text())
    assert facts["network"] == NETWORK
    assert (facts["training_pictures"], facts["validation_pictures"], facts["threads"]) == (32, 16, 1)
    assert facts["versions"]["torch"].startswith(torch.__version__.split("+")[0])
    assert set(rows_of(folder)[0]) == {
        "epoch", "learning_rate", "loss",
        "validation_loss", "accuracy", "average_accuracy", "macro_f1", "seconds",
    }  # fmt: skip
    assert json.loads((folder / "best" / "report.json").read_text())["confusion"] == report.to_dict()["confusion"]


def test_the_best_epoch_is_the_first_with_the_highest_selected_score_on_validation(learned, source):
    folder, _ = learned
    scores = [row["macro_f1"] for row in rows_of(folder)]
    network, metadata = weights.load(folder / "best.safetensors")
    assert metadata.training["epoch"] == 1 + scores.index(max(scores))
    assert weights.load(folder / "last.safetensors")[1].training["epoch"] == 12
    # The weights are those that got this score, and of validation, not of test.
    samples = data.read(source, "validation")
    targets = np.array([EXPRESSIONS.index(sample.label) for sample in samples])
    logits = predict(network, samples, metadata.preprocessing, metadata.expressions)
    report = score(softmax(logits, metadata.temperature), targets, metadata.expressions)
    assert report.macro_f1 == pytest.approx(max(scores), abs=1e-4)
    assert report.confusion.tolist() == metadata.scores["validation"]["confusion"]
    assert metadata.temperature == pytest.approx(fit_temperature(logits, targets), rel=1e-3)


def test_weights_say_what_they_were_made_of(learned, faces_folder):
    metadata = weights.load(learned[0] / "best.safetensors")[1]
    assert (metadata.name, metadata.network, metadata.expressions) == ("learned", NETWORK, EXPRESSIONS)
    assert metadata.preprocessing.size == 32
    # also what no recipe named, so that another default makes no other network of the file
    assert metadata.arguments == {**network_arguments(NETWORK), **TINY["network"]}
    assert metadata.training["data"] == "folder"
    assert metadata.training["recipe"]["learning_rate"] == 0.1
    assert str(faces_folder) not in metadata.to_json()  # whoever gets the weights need not know the folders


def test_a_second_run_with_the_same_seed_is_the_same_run_and_with_another_is_not(source, tmp_path):
    for name, seed in (("a/run", 0), ("b/run", 0), ("c/run", 1)):
        start(source, tmp_path / name, epochs=1, seed=seed).train()
    first, same, other = (weights.load_tensors(tmp_path / name / "run" / "last.safetensors")[0] for name in "abc")
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not torch.equal(first["fc.weight"], other["fc.weight"])


def test_a_run_that_aligns_trains_validates_and_is_evaluated_on_the_same_crops(portrait, tmp_path):
    face = Image.fromarray(portrait[130:330, 168:368]).resize((64, 64))
    for part, (split, number) in enumerate({"train": 2, "validation": 1, "test": 1}.items()):
        for code, expression in enumerate(EXPRESSIONS):
            folder = tmp_path / "faces" / split / expression
            folder.mkdir(parents=True)
            for index in range(number):
                face.rotate(6 * code - 20 + 3 * index + part).save(folder / f"{index}.png")
    source, preprocessing = f"folder:{tmp_path / 'faces'}", {**TINY["preprocessing"], "align": True}
    run = start(source, tmp_path / "run", epochs=1, preprocessing=preprocessing)
    report = trained(run)
    other = start(source, tmp_path / "plain", epochs=1)
    other.train()
    assert not torch.equal(run.network.state_dict()["fc.weight"], other.network.state_dict()["fc.weight"])
    best = tmp_path / "run" / "best.safetensors"
    assert weights.load(best)[1].preprocessing.align
    again = evaluate(best, source, "validation", workers=0)
    assert report.protocol.endswith("8 pictures, each crop aligned")
    assert "each crop aligned by the face detector, 0 without a face as they are" in again.protocol
    np.testing.assert_array_equal(again.confusion, report.confusion)
    assert again.calibration_error == pytest.approx(report.calibration_error)


@pytest.mark.filterwarnings("ignore:.* pictures are of other labels and left out")
def test_with_seven_classes_contempt_is_left_out(source, tmp_path):
    run = start(source, tmp_path / "seven", num_classes=7, epochs=1)
    report = trained(run)
    assert report.labels == EXPRESSIONS[:7]
    assert report.num_pictures == 14
    assert json.loads((tmp_path / "seven" / "environment.json").read_text())["training_pictures"] == 28
    assert weights.load(tmp_path / "seven" / "last.safetensors")[1].expressions == EXPRESSIONS[:7]


@pytest.mark.filterwarnings("ignore::msanet.data.sample.DataWarning")
def test_ferplus_trains_on_its_votes(ferplus, tmp_path):
    fields: dict[str, Any] = {
        "epochs": 1,
        "batch_size": 4,
        "soft_targets": True,
        "data": {"protocol": "top", "duplicates": True},
    }
    report = trained(start(f"ferplus:{ferplus}", tmp_path / "x", **fields))
    facts = json.loads((tmp_path / "x" / "environment.json").read_text())
    assert (facts["training_pictures"], facts["validation_pictures"]) == (16, 2)
    assert report.protocol.startswith("ferplus validation split, 2 pictures")


def test_beta_is_a_factor_of_the_learning_rate_and_a_divisor_of_the_weight_decay(source, tmp_path):
    """With SGD and momentum, as `Recipe` says of the paper's Eq. (2)."""
    common: dict[str, Any] = {"epochs": 1, "schedule": "step"}
    scaled = start(source, tmp_path / "a", beta=0.6, learning_rate=0.01, weight_decay=3e-3, **common)
    plain = start(source, tmp_path / "b", beta=1.0, learning_rate=0.006, weight_decay=5e-3, **common)
    other = start(source, tmp_path / "c", beta=1.0, learning_rate=0.01, weight_decay=3e-3, **common)
    before = {name: value.clone() for name, value in scaled.network.state_dict().items()}
    for run in (scaled, plain, other):
        run.train()
    results = [run.network.state_dict() for run in (scaled, plain, other)]
    moved = [
        sum(float((state[name] - start_).abs().sum()) for name, start_ in before.items() if "weight" in name)
        for state in results
    ]
    assert moved[0] > 1
    difference = [
        sum(float((state[name] - results[0][name]).abs().sum()) for name in before if "weight" in name)
        for state in results[1:]
    ]
    assert difference[0] < 1e-3 * moved[0]
    assert difference[1] > 1e-1 * moved[0]


@pytest.mark.filterwarnings("ignore:.* pictures are of other labels and left out")
def test_a_run_may_start_from_trained_weights_of_the_same_network(source, tmp_path, learned):
    best = learned[0] / "best.safetensors"
    trained = weights.load(best)[0].state_dict()
    run = start(source, tmp_path / "x", initial_weights=str(best))
    for started in (run.network, run.average.network):
        assert all(torch.equal(value, trained[name]) for name, value in started.state_dict().items())
    fewer = start(source, tmp_path / "y", initial_weights=str(best), num_classes=7)
    state = fewer.network.state_dict()
    assert "anew: fc" in fewer.started
    assert all(torch.equal(value, trained[name]) for name, value in state.items() if not name.startswith("fc."))
    for num_classes in (7, 8):
        with pytest.raises(InputError, match="with other arguments: set network to "):
            start(source, tmp_path / "y", initial_weights=str(best), num_classes=num_classes, network={"stem_width": 8})
    with pytest.raises(InputError, match=r"none\.safetensors is missing"):
        start(source, tmp_path / "z", initial_weights=str(tmp_path / "none.safetensors"))


def test_without_momentum_a_run_can_be_saved_and_resumed(source, tmp_path):
    start(source, tmp_path / "x", epochs=1, momentum=0).train()
    assert len(start(source, tmp_path / "x", epochs=1, momentum=0, resume=True).rows) == 1


# -- interrupted ------------------------------------------------------------------------------------------------------


class Killed(BaseException):
    """Stands for the process's end: nothing catches it."""


def interrupt(monkeypatch: pytest.MonkeyPatch, moment: str, number: int) -> None:
    """Raise `Killed` at the `number`th pass of a place in the loop."""
    owner, name = {
        "step": (Average, "update"),
        "before the best weights": (Run, "write_weights"),
        "after the best weights": (Report, "save"),
        "before the checkpoint": (Run, "save"),
        "before the next epoch": (Run, "epoch"),
    }[moment]
    original = getattr(owner, name)
    passes = iter(range(1, 1000))

    def wrapped(*arguments: Any) -> Any:
        if next(passes) == number:
            raise Killed
        return original(*arguments)

    monkeypatch.setattr(owner, name, wrapped)


def without_seconds(folder: Path) -> list[dict[str, float]]:
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows_of(folder)]


def assert_equal_runs(first: Path, second: Path) -> None:
    """Best and last weights with all their metadata, reports and scores; and the state to go on from."""
    assert without_seconds(first) == without_seconds(second)
    for which in ("best", "last"):
        files = [weights.load_tensors(folder / f"{which}.safetensors") for folder in (first, second)]
        assert list(files[0][0]) == list(files[1][0])
        assert all(torch.equal(files[0][0][name], files[1][0][name]) for name in files[0][0])
        facts = [json.loads(texts[METADATA_KEY]) for _, texts in files]
        for values in facts:  # somebody may commit between the two runs
            del values["training"]["commit"]
        assert facts[0] == facts[1]
        reports = [(folder / which / "report.json").read_text() for folder in (first, second)]
        assert reports[0] == reports[1]
    states = [weights.load_tensors(folder / "checkpoint.safetensors")[0] for folder in (first, second)]
    assert list(states[0]) == list(states[1])
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert sorted(path.name for path in first.iterdir()) == sorted(path.name for path in second.iterdir())


@pytest.fixture(scope="module")
def unbroken(faces_folder, tmp_path_factory, one_thread) -> dict[str, Path]:
    """A whole run in each precision."""
    folders = {}
    for precision in ("float32", "bfloat16"):
        folders[precision] = tmp_path_factory.mktemp(precision) / "run"
        start(f"folder:{faces_folder}", folders[precision], **FULL, precision=precision).train()
    return folders


@pytest.mark.parametrize(
    ("precision", "moment", "number"),
    [
        ("float32", "step", 3),  # in the first epoch: there is no checkpoint yet
        ("float32", "step", 4 + 4 + 2),  # in the third, the first at full size
        ("bfloat16", "step", 4 + 4 + 4 + 3),  # in the last, without mixup
        ("float32", "before the best weights", 1),
        ("float32", "after the best weights", 1),
        ("bfloat16", "before the checkpoint", 2),
        ("float32", "before the checkpoint", 4),
        ("float32", "before the next epoch", 3),
    ],
)
def test_an_interrupted_run_ends_bit_for_bit_as_an_unbroken_one(
    source, tmp_path, monkeypatch, unbroken, precision, moment, number
):
    output = tmp_path / "run"
    with monkeypatch.context() as patch:
        interrupt(patch, moment, number)
        with pytest.raises(Killed):
            start(source, output, **FULL, precision=precision).train()
    start(source, output, resume=True, **FULL, precision=precision).train()
    assert_equal_runs(output, unbroken[precision])


def test_a_run_interrupted_after_every_epoch_ends_the_same(source, tmp_path, monkeypatch, unbroken):
    output = tmp_path / "run"
    for epoch in range(3):
        with monkeypatch.context() as patch:
            interrupt(patch, "before the next epoch", 2)
            with pytest.raises(Killed):
                start(source, output, resume=True, **FULL).train()
        assert len(rows_of(output)) == epoch + 1
    start(source, output, resume=True, **FULL).train()
    assert_equal_runs(output, unbroken["float32"])


SCRIPT = """
import json, os, signal, sys
from pathlib import Path
import torch
from msanet.train.average import Average
from msanet.train.recipe import Recipe
from msanet.train.run import Run

torch.set_num_threads(1)
source, output, network, recipe, steps = sys.argv[1:]
update, passes = Average.update, iter(range(1, 1000))

def kill(self, network):
    if next(passes) == int(steps):
        os.kill(os.getpid(), signal.SIGKILL)
    update(self, network)

Average.update = kill
Run(source, network, Recipe(**json.loads(recipe)), Path(output)).train()
"""


@pytest.mark.skipif(os.name != "posix", reason="no SIGKILL here")
def test_a_process_that_is_killed_leaves_a_run_that_can_be_resumed(source, tmp_path, unbroken):
    output = tmp_path / "run"
    killed = subprocess.run(
        [sys.executable, "-c", SCRIPT, source, str(output), NETWORK, json.dumps(FULL), "7"],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert len(rows_of(output)) == 1
    start(source, output, resume=True, **FULL).train()
    assert_equal_runs(output, unbroken["float32"])


def test_two_processes_train_one_run(source, tmp_path):
    recipe, output = tmp_path / "tiny.yaml", tmp_path / "run"
    recipe.write_text(yaml.safe_dump({**TINY, "precision": "float32", "method": SCN}))
    command = [*(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")]
    command += [*("-m", "msanet", "train", "--data", source, "--network", NETWORK, "--output", str(output))]
    run = subprocess.run(
        [*command, "--recipe", str(recipe)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.count("epoch ") == len(rows_of(output)) == TINY["epochs"]  # told by one of them
    report = json.loads((output / "last" / "report.json").read_text())
    validation = data.read(source, "validation")
    assert report["num_pictures"] == len(validation)  # each once
    network, metadata = weights.load(output / "last.safetensors")
    answers = predict(network, validation, metadata.preprocessing, metadata.expressions).argmax(axis=1)
    targets = np.array([EXPRESSIONS.index(sample.label) for sample in validation])
    assert report["accuracy"] == pytest.approx((answers == targets).mean())
    # what the method learnt of pictures is of both halves: each process saw half of every batch
    relabelled = weights.load_tensors(output / "checkpoint.safetensors")[0]["method/labels"]
    assert int((relabelled >= 0).sum()) > len(relabelled) / 2


def test_resuming_a_finished_run_changes_nothing(source, tmp_path):
    report = trained(start(source, tmp_path / "x"))
    files = {path: path.read_bytes() for path in (tmp_path / "x").rglob("*.*") if path.is_file()}
    again = trained(start(source, tmp_path / "x", resume=True))
    assert again.confusion.tolist() == report.confusion.tolist()
    assert {path: path.read_bytes() for path in (tmp_path / "x").rglob("*.*") if path.is_file()} == files


def test_resume_without_a_checkpoint_starts(source, tmp_path):
    start(source, tmp_path / "new", resume=True, epochs=1).train()
    assert len(rows_of(tmp_path / "new")) == 1


@pytest.fixture(scope="module")
def finished(faces_folder, tmp_path_factory, one_thread) -> Path:
    output = tmp_path_factory.mktemp("finished") / "run"
    start(f"folder:{faces_folder}", output, epochs=1).train()
    return output


def test_a_folder_with_a_run_is_not_overwritten(source, finished):
    before = (finished / "best.safetensors").read_bytes()
    with pytest.raises(InputError, match="run already holds a run: go on with --resume, or give another --output"):
        start(source, finished, epochs=1)
    assert (finished / "best.safetensors").read_bytes() == before


def test_a_run_goes_on_only_with_the_same_recipe_network_and_data(source, finished, tmp_path):
    with pytest.raises(InputError, match="was started with another recipe: resume with the same"):
        start(source, finished, resume=True, epochs=2)
    with pytest.raises(InputError, match="was started with another network"):
        Run(source, "msanet_ms", Recipe(**{**TINY, "epochs": 1}), finished, resume=True)
    with pytest.raises(InputError, match="was started with another data"):
        start(f"folder:{tmp_path}", finished, resume=True, epochs=1)


def test_a_run_goes_on_when_recipe_and_identity_have_got_a_new_field_since(source, finished, tmp_path):
    tensors, texts = weights.load_tensors(finished / "checkpoint.safetensors")
    state = json.loads(texts["run"])
    del state["identity"]["recipe"]["patience"]
    del state["identity"]["extra"]
    weights.save_tensors(tmp_path / "checkpoint.safetensors", tensors, {"run": json.dumps(state)})
    assert len(start(source, tmp_path, resume=True, epochs=1).rows) == 1


def test_an_extra_data_set_is_learnt_and_not_validated_on(make_faces, tmp_path):
    """Of anger there are pictures in the extra data set alone."""
    folder, extra = make_faces({"train": 4, "validation": 2}), tmp_path / "extra"
    extra.mkdir()
    (folder / "train" / "anger").rename(extra / "anger")
    recipe = Recipe(**{**TINY, "epochs": 12, "extra_share": 0.3, "learning_rate": 0.1, "ema": 0.9})
    run = Run(f"folder:{folder}", NETWORK, recipe, tmp_path / "run", extra=f"folder:{extra}")
    with warnings.catch_warnings():
        warnings.simplefilter("error", DataWarning)  # that it has no split of its own is beside the point
        report = trained(run)
    facts = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert (facts["training_pictures"], facts["extra_pictures"]) == (28, 4)
    assert report.confusion.sum() == facts["validation_pictures"] == 16
    network, metadata = weights.load(tmp_path / "run" / "last.safetensors")
    assert metadata.training["extra"] == "extra"
    samples = data.read(f"folder:{extra}", "test")
    answers = predict(network, samples, metadata.preprocessing, metadata.expressions).argmax(axis=1)
    assert [metadata.expressions[answer] for answer in answers] == ["anger"] * 4


def test_a_run_goes_on_only_with_the_same_extra_data(source, finished):
    with pytest.raises(InputError, match="was started with another extra"):
        Run(source, NETWORK, Recipe(**{**TINY, "epochs": 1}), finished, resume=True, extra=source)


@pytest.mark.parametrize("content", [b"", b"no checkpoint at all", None])
def test_a_file_that_is_no_checkpoint_is_refused(source, finished, tmp_path, content):
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes((finished / "best.safetensors").read_bytes() if content is None else content)
    with pytest.raises(InputError, match=r"checkpoint\.safetensors is not a"):
        start(source, tmp_path, resume=True, epochs=1)


def test_nothing_is_written_before_data_and_recipe_are_known_to_be_good(source, make_faces, tmp_path):
    output = tmp_path / "out"
    with pytest.raises(InputError, match="has no argument depth"):
        start(source, output, network={"depth": 3})
    with pytest.raises(InputError, match="nowhere is not a folder"):
        start(f"folder:{tmp_path / 'nowhere'}", output).train()
    with pytest.raises(InputError, match="no option"):
        start(source, output, data={"protocol": "top"}).train()
    with pytest.raises(InputError, match="no picture is held out for validation"):
        start(f"folder:{make_faces({'train': 1})}", output).train()
    assert not output.exists()


def test_a_run_that_diverges_says_so(source, tmp_path):
    with pytest.raises(InputError, match="no longer a number in epoch 1: lower learning_rate"):
        start(source, tmp_path / "run", learning_rate=1e30, epochs=1).train()


# -- methods, labels, weights -----------------------------------------------------------------------------------------


def state_of(folder: Path, which: str = "last") -> dict[str, Tensor]:
    return weights.load_tensors(folder / f"{which}.safetensors")[0]


def test_what_a_method_learns_of_pictures_survives_workers_and_an_end_within_an_epoch(source, tmp_path, monkeypatch):
    """Relabelling reaches the pictures with two loading processes, and is in the checkpoint."""
    fields: dict[str, Any] = {"epochs": 3, "method": SCN, "workers": 2}
    whole = start(source, tmp_path / "whole" / "run", **fields)
    whole.train()
    assert int((whole.method.get_buffer("labels") >= 0).sum()) > 0
    with monkeypatch.context() as patch:
        interrupt(patch, "step", 6)
        with pytest.raises(Killed):
            start(source, tmp_path / "run", **fields).train()
    resumed = start(source, tmp_path / "run", resume=True, **{**fields, "workers": 0})
    resumed.train()
    assert torch.equal(resumed.method.get_buffer("labels"), whole.method.get_buffer("labels"))
    first, second = state_of(tmp_path / "whole" / "run"), state_of(tmp_path / "run")
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_asked_to_end_a_run_saves_and_goes_on_bit_for_bit_within_the_epoch(source, tmp_path, monkeypatch, optimizer):
    fields: dict[str, Any] = {**FULL, "epochs": 2, "small_epochs": 0, "optimizer": optimizer, "learning_rate": 0.01}
    start(source, tmp_path / "whole" / "run", **fields).train()
    update, passes = Average.update, iter(range(1, 1000))

    def terminate(self: Average, network: nn.Module) -> None:
        update(self, network)
        if next(passes) == 6:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(Average, "update", terminate)
        with pytest.raises(Terminated) as end:
            start(source, tmp_path / "run", **fields).train()
    assert end.value.number == signal.SIGTERM
    resumed = start(source, tmp_path / "run", resume=True, **fields)
    assert resumed.restored is not None
    assert resumed.restored.state["step"] == 2
    resumed.train()
    assert_equal_runs(tmp_path / "whole" / "run", tmp_path / "run")


def test_two_runs_in_one_folder_are_refused(source, tmp_path):
    output = tmp_path / "run"
    first, second = start(source, output, epochs=1), start(source, output, epochs=1)
    with first.locked(), pytest.raises(InputError, match="is being trained in by another process"):
        second.train()
    assert not output.exists()


def test_a_run_goes_on_only_with_the_same_pictures(make_faces, tmp_path):
    folder = make_faces({"train": 4, "validation": 2})
    start(f"folder:{folder}", tmp_path / "run", epochs=1).train()
    (folder / "train" / "fear" / "0.png").unlink()
    with pytest.raises(InputError, match="have changed since this run began"):
        start(f"folder:{folder}", tmp_path / "run", resume=True, epochs=1).train()


def test_three_labels_of_ones_own_are_trained_on_in_the_order_asked_for(make_faces, tmp_path):
    folder = make_faces({"train": 4, "validation": 2})
    for split in ("train", "validation"):
        for old, new in (("happiness", "positive"), ("neutral", "so so"), ("anger", "negative")):
            (folder / split / old).rename(folder / split / new)
        for path in (folder / split).iterdir():
            if path.name not in ("positive", "so so", "negative"):
                shutil.rmtree(path)
    run = start(f"folder:{folder}", tmp_path / "own", epochs=1, labels=["positive", "so so", "negative"])
    report = trained(run)
    assert report.labels == ("positive", "so so", "negative")
    assert weights.load(tmp_path / "own" / "best.safetensors")[1].expressions == report.labels
    merged = start(
        f"folder:{folder}", tmp_path / "two", epochs=1, labels=[{"other": ["positive", "so so"]}, "negative"]
    )
    assert trained(merged).pictures.tolist() == [4, 2]
    with pytest.raises(InputError, match="no label 'posative'"):
        start(f"folder:{folder}", tmp_path / "x", labels=["posative", "negative"])


def test_weights_of_other_programs_start_a_network(source, tmp_path):
    donor = resnet18(num_classes=1000).state_dict()
    wrapped = {f"module.{name}": value for name, value in donor.items()}
    weights.save_tensors(tmp_path / "faces.safetensors", wrapped, {})
    fields: dict[str, Any] = {"initial_weights": str(tmp_path / "faces.safetensors"), "network": {}}
    recipe = Recipe(**{**TINY, **fields})
    run = Run(source, "resnet18", recipe, tmp_path / "run")
    state = run.network.state_dict()
    assert all(torch.equal(state[name], value) for name, value in donor.items() if not name.startswith("fc."))
    assert "120 of 122 tensors start from" in run.started
    assert "anew: fc" in run.started
    stem = Run(source, "msanet", recipe, tmp_path / "stem")
    assert torch.equal(stem.network.state_dict()["layer2.1.bn2.running_var"], donor["layer2.1.bn2.running_var"])
    assert "left out of the file: fc, layer3, layer4" in stem.started
    weights.save_tensors(tmp_path / "faces.safetensors", resnet50().state_dict(), {})
    with pytest.raises(InputError, match="of another architecture than resnet18"):
        Run(source, "resnet18", recipe, tmp_path / "x")


def test_frozen_layers_and_their_statistics_stay_and_rates_differ(source, tmp_path):
    run = start(source, tmp_path / "run", epochs=1, freeze=["conv1", "bn1", "layer1"], rates={"fc": 10.0}, ema=0.0)
    before = {name: value.clone() for name, value in run.network.state_dict().items()}
    run.train()
    after = run.network.state_dict()
    for name, value in before.items():
        frozen = name.startswith(("conv1", "bn1", "layer1"))
        if frozen:
            assert torch.equal(value, after[name]), name
    assert not torch.equal(before["layer2.0.conv1.weight"], after["layer2.0.conv1.weight"])
    factors = {group["factor"]: len(group["params"]) for group in run.optimizer.param_groups}
    assert factors[10.0] == 2
    with pytest.raises(InputError, match="no parameter that begins with 'head'"):
        start(source, tmp_path / "x", rates={"head": 2.0})


def test_training_without_validation_learns_from_all_and_keeps_the_last_epoch(make_faces, tmp_path):
    folder = make_faces({"": 4})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        run = start(f"folder:{folder}", tmp_path / "run", epochs=2, data={"validation": 0})
        assert run.train() is None
    assert json.loads((tmp_path / "run" / "environment.json").read_text())["training_pictures"] == 32
    best, last = (state_of(tmp_path / "run", which) for which in ("best", "last"))
    assert all(torch.equal(best[name], last[name]) for name in best)


def test_gradients_of_several_batches_make_one_step(source, tmp_path, monkeypatch):
    updates = list[int]()
    monkeypatch.setattr(Average, "update", lambda self, network: updates.append(1))
    run = start(source, tmp_path / "run", epochs=1, batch_size=8, accumulate=2)
    moved = list[bool]()
    learn = run.learn

    def note(method: nn.Module, optimizer: Any, batch: Batch) -> dict[str, Tensor]:
        before = run.network.state_dict()["fc.weight"].clone()
        terms = learn(method, optimizer, batch)
        moved.append(not torch.equal(before, run.network.state_dict()["fc.weight"]))
        return terms

    monkeypatch.setattr(run, "learn", note)
    run.train()
    assert moved == [False, True, False, True]
    assert len(updates) == 2


def test_a_run_that_gets_no_better_stops(source, tmp_path):
    run = start(source, tmp_path / "run", epochs=9, learning_rate=1e-9, warmup_epochs=0, patience=2, ema=0.0)
    run.train()
    assert len(run.rows) == 3
    assert (tmp_path / "run" / "last.safetensors").is_file()


def test_a_tracker_that_is_not_there_is_one_sentence(source, tmp_path):
    with pytest.raises(InputError, match="tracker magic is not installed"):
        Run(source, NETWORK, Recipe(**TINY), tmp_path / "run", trackers=["magic"])
    assert not (tmp_path / "run").exists()


def test_fewer_pictures_than_a_batch_learn_beside_an_extra_set(make_faces, faces_folder, tmp_path):
    folder = make_faces({"train": 1, "validation": 1})
    run = Run(
        f"folder:{folder}",
        NETWORK,
        Recipe(**{**TINY, "epochs": 1, "batch_size": 16}),
        tmp_path / "run",
        extra=f"folder:{faces_folder}",
    )
    run.train()
    assert len(run.rows) == 1


def test_a_tracker_that_accelerate_has_is_taken_by_its_name(source, tmp_path, monkeypatch):
    monkeypatch.setattr("msanet.train.run.get_available_trackers", lambda: [LoggerType.TENSORBOARD])
    run = Run(source, NETWORK, Recipe(**TINY), tmp_path / "run", trackers=["tensorboard"])
    assert run.rows == []
