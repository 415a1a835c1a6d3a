"""Rows x seeds: cells are trained once, go on where they stopped, and the report's figures are those of the files."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from filelock import FileLock

from msanet import weights
from msanet.cli import app as command
from msanet.errors import InputError
from msanet.measure.scores import Report, score
from msanet.networks import count_cost, create_network, fitting_arguments
from msanet.study.ablate import Ablation, map_sizes
from msanet.study.cells import Row, load_rows, network_rows
from msanet.study.tables import to_markdown
from msanet.train.run import Run
from tests.conftest import TINY_RECIPE

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore::msanet.data.sample.DataWarning"),  # the tiny FERPlus is full of traps
]

ROOT = Path(__file__).parents[2]
TINY = {**TINY_RECIPE, "epochs": 1}
ROWS = (Row(name="plain", network="msanet_ms"), Row(name="attention", network="msanet_ms_as", seeds=(0,)))


@pytest.fixture
def recipe(tmp_path) -> Path:
    return write_recipe(tmp_path / "tiny.yaml")


def write_recipe(path: Path, **changes: Any) -> Path:
    path.write_text(yaml.safe_dump({**TINY, **changes}))
    return path


@pytest.fixture
def no_training(monkeypatch):
    def refuse(self: Run) -> None:
        raise AssertionError(f"{self.output} is trained")

    monkeypatch.setattr(Run, "train", refuse)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, ferplus, one_thread) -> Path:
    """An ablation of `ROWS` with the seeds 0 and 1 on the tiny FERPlus; read only."""
    folder = tmp_path_factory.mktemp("ablation")
    recipe = write_recipe(folder / "tiny.yaml")
    assert Ablation(f"ferplus:{ferplus}", ROWS, (0, 1), recipe, folder / "out").run() == []
    return folder


@pytest.fixture
def copy(finished, tmp_path) -> Path:
    """The finished ablation without its training runs, to be changed."""
    shutil.copytree(finished, tmp_path / "copy", ignore=shutil.ignore_patterns("runs"))
    return tmp_path / "copy"


# -- the whole way ----------------------------------------------------------------------------------------------------


def test_every_cell_is_kept_small_and_the_report_has_all_sets(finished):
    names = sorted(str(path.relative_to(finished / "out")) for path in (finished / "out").rglob("*.*"))
    assert [name for name in names if not name.startswith("runs")] == [
        "ablation.json",
        "ablation.md",
        "ablation.png",
        "cells/attention/0.safetensors",
        "cells/plain/0.safetensors",
        "cells/plain/1.safetensors",
    ]
    assert all(path.stat().st_size < 20_000 for path in (finished / "out" / "cells").rglob("*.safetensors"))
    report = json.loads((finished / "out" / "ablation.json").read_text())
    assert report["pictures"] == {"test": 8, "pose30": 3, "pose45": 1, "occlusion": 4}
    plain, attention = report["rows"]
    assert (plain["seeds"], attention["seeds"], attention["against"]) == ([0, 1], [0], ["plain"])
    assert plain["maps"] == [4, 2]
    network = create_network("msanet_ms", 8, channels=[16, 32], strides=[1, 2])
    assert (plain["parameters"], plain["multiply_adds"]) == count_cost(network, 32)
    assert set(plain["scores"]) == set(attention["differences"]["plain"]) == {"test", "pose30", "pose45", "occlusion"}
    assert (finished / "out" / "ablation.png").read_bytes().startswith(b"\x89PNG")


def test_the_figures_are_those_of_the_kept_predictions_and_of_the_weights(finished, ferplus):
    ablation = Ablation(f"ferplus:{ferplus}", ROWS, (0, 1), finished / "tiny.yaml", finished / "out")
    plain = ablation.report()["rows"][0]
    scores = plain["scores"]
    assert plain["seconds"] == min(result.facts["seconds"] for result in ablation.results()["plain"].values())
    for measure in ("accuracy", "average_accuracy"):
        for part, entry in scores.items():
            values = []
            for result in ablation.results()["plain"].values():
                chosen = result.sets[part]
                report = score(result.probabilities[chosen], result.targets[chosen], result.facts["labels"])
                values.append(getattr(report, measure))
            assert entry[measure]["values"] == values
            assert entry[measure]["mean"] == pytest.approx(np.mean(values))
            assert entry[measure]["deviation"] == pytest.approx(abs(values[0] - values[1]) / 2**0.5)
    from msanet.measure.evaluate import evaluate

    best = finished / "out" / "runs" / "plain" / "1" / "best.safetensors"
    assert evaluate(best, f"ferplus:{ferplus}", workers=0).accuracy == scores["test"]["accuracy"]["values"][1]
    pose = evaluate(best, f"ferplus:{ferplus}", "test", "pose30", workers=0)
    assert pose.average_accuracy == scores["pose30"]["average_accuracy"]["values"][1]


def test_finished_cells_are_not_trained_again_even_without_their_runs_and_the_data(copy, no_training):
    before = {path.name: path.read_bytes() for path in (copy / "out").iterdir() if path.is_file()}
    for path in (copy / "out").glob("ablation.*"):
        path.unlink()
    assert Ablation("ferplus:nowhere", ROWS, (0, 1), copy / "tiny.yaml", copy / "out").run() == []
    after = {path.name: path.read_bytes() for path in (copy / "out").iterdir() if path.is_file()}
    assert after.keys() == before.keys()
    one, other = (json.loads(content["ablation.json"]) for content in (before, after))
    assert one["rows"] == other["rows"]


def test_each_row_has_its_first_seed_before_any_has_its_second(tmp_path, monkeypatch):
    trained: list[str] = []
    monkeypatch.setattr(Ablation, "pictures", lambda _: ([], {}))
    monkeypatch.setattr(Ablation, "train", lambda _, cell, *__: trained.append(cell.name))
    assert Ablation("ferplus:nowhere", ROWS, (1, 2), "default", tmp_path).run() == []
    assert trained == ["plain/1", "attention/0", "plain/2"]


def test_rows_and_seeds_can_be_added(copy, ferplus, monkeypatch):
    trained: list[str] = []
    original = Run.train

    def note(self: Run) -> Report | None:
        trained.append("/".join(self.output.parts[-2:]))
        return original(self)

    monkeypatch.setattr(Run, "train", note)
    rows = (*ROWS, Row(name="wide", network="msanet_ms", settings=("network.width_ratio=1.0",), seeds=(3,)))
    ablation = Ablation(f"ferplus:{ferplus}", rows, (0, 1, 2), copy / "tiny.yaml", copy / "out")
    assert ablation.run(only=["plain"]) == []
    assert trained == ["plain/2"]
    report = ablation.report()
    assert [row["unfinished"] for row in report["rows"]] == [[], [], [3]]
    assert "wide (3)" in (copy / "out" / "ablation.md").read_text()
    assert ablation.run() == []
    assert trained == ["plain/2", "wide/3"]
    assert len(json.loads((copy / "out" / "ablation.json").read_text())["rows"][0]["seeds"]) == 3


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"beta": 0.6}, r"recipe \(beta\)"),
        ({"network": {**TINY["network"], "num_subsets": 2}}, r"recipe \(network\)"),
        ({"preprocessing": {"size": 48, "gray": True}}, r"recipe \(preprocessing\)"),
    ],
)
def test_a_changed_recipe_is_refused_in_one_sentence(copy, changes, words, no_training):
    write_recipe(copy / "tiny.yaml", **changes)
    with pytest.raises(InputError, match=f"0.safetensors was trained with another {words}") as caught:
        Ablation("ferplus:nowhere", ROWS, (0, 1), copy / "tiny.yaml", copy / "out")
    assert "\n" not in str(caught.value)


def test_another_network_or_data_set_under_the_same_name_is_refused(copy):
    rows = (Row(name="plain", network="msanet_ms_as"),)
    with pytest.raises(InputError, match="trained with another network"):
        Ablation("ferplus:nowhere", rows, (0,), copy / "tiny.yaml", copy / "out")
    with pytest.raises(InputError, match="trained with another data"):
        Ablation("folder:nowhere", ROWS, (0,), copy / "tiny.yaml", copy / "out")


def test_what_changes_no_result_may_change(copy, no_training):
    write_recipe(copy / "tiny.yaml", description="in other words", workers=2)
    assert Ablation("ferplus:nowhere", ROWS, (0, 1), copy / "tiny.yaml", copy / "out").run() == []


def test_a_field_that_came_later_had_its_default(copy, no_training):
    path = copy / "out" / "cells" / "attention" / "0.safetensors"
    tensors, texts = weights.load_tensors(path)
    facts = json.loads(texts["cell"])
    del facts["recipe"]["beta"]
    weights.save_tensors(path, tensors, {"cell": json.dumps(facts)})
    assert Ablation("ferplus:nowhere", ROWS, (0, 1), copy / "tiny.yaml", copy / "out").run() == []
    facts["recipe"]["gone"] = 1
    weights.save_tensors(path, tensors, {"cell": json.dumps(facts)})
    with pytest.raises(InputError, match="version of msanet, which knew a field gone"):
        Ablation("ferplus:nowhere", ROWS, (0, 1), copy / "tiny.yaml", copy / "out")


def test_an_interrupted_cell_goes_on_with_equal_results(tmp_path, faces_folder, monkeypatch):
    recipe = write_recipe(tmp_path / "tiny.yaml", epochs=2)
    source, rows = f"folder:{faces_folder}", network_rows(["msanet_ms"])
    Ablation(source, rows, (0,), recipe, tmp_path / "whole").run()

    original, epochs = Run.finish_epoch, list[int]()

    def stop_once(self: Run, *arguments: Any) -> None:
        original(self, *arguments)
        epochs.append(len(self.rows))
        if epochs == [1]:
            raise KeyboardInterrupt

    monkeypatch.setattr(Run, "finish_epoch", stop_once)
    with pytest.raises(KeyboardInterrupt):
        Ablation(source, rows, (0,), recipe, tmp_path / "halves").run()
    assert not (tmp_path / "halves" / "cells").exists()
    Ablation(source, rows, (0,), recipe, tmp_path / "halves").run()
    assert epochs == [1, 2]
    one, other = (
        weights.load_tensors(tmp_path / name / "cells" / "msanet_ms" / "0.safetensors")[0]
        for name in ("whole", "halves")
    )
    assert one.keys() == other.keys() == {"probabilities", "targets", "test"}
    assert all(bool((one[name] == other[name]).all()) for name in one)
    assert (tmp_path / "halves" / "runs" / "msanet_ms" / "0" / "best.safetensors").is_file()


def test_a_cell_that_another_process_trains_is_left_to_it(tmp_path, faces_folder, recipe, capsys, no_training):
    folder = tmp_path / "out" / "runs" / "msanet_ms" / "0"
    folder.mkdir(parents=True)
    with FileLock(folder / "lock"):
        ablation = Ablation(f"folder:{faces_folder}", network_rows(["msanet_ms"]), (0,), recipe, tmp_path / "out")
        assert ablation.run() == []
    assert "cell msanet_ms/0 is being trained by another process" in capsys.readouterr().out
    assert ablation.report()["rows"][0]["unfinished"] == [0]


def test_a_cell_that_fails_leaves_the_others_alone(tmp_path, faces_folder, recipe):
    rows = [
        Row(name="diverges", network="msanet_ms", settings=("learning_rate=1e30",)),
        Row(name="learns", network="msanet_ms"),
    ]
    ablation = Ablation(f"folder:{faces_folder}", rows, (0,), recipe, tmp_path / "out")
    (sentence,) = ablation.run()
    assert sentence.startswith("diverges/0: the loss is no longer a number")
    first, second = json.loads((tmp_path / "out" / "ablation.json").read_text())["rows"]
    assert (first["seeds"], second["seeds"], second["differences"]) == ([], [0], {})


def test_a_broken_list_is_said_and_the_report_goes_without(tmp_path, own_ferplus, recipe):
    (own_ferplus / "subsets" / "pose_30_ferplus_list.txt").unlink()
    (own_ferplus / "subsets" / "pose_45_ferplus_list.txt").write_text("no list")
    ablation = Ablation(f"ferplus:{own_ferplus}", network_rows(["msanet_ms"]), (0,), recipe, tmp_path / "out")
    with pytest.warns(UserWarning, match="goes without pose45: .*line 1: 'no list' is not an entry"):
        ablation.run()
    assert set(ablation.report()["pictures"]) == {"test", "occlusion"}


def test_cells_scored_on_different_pictures_are_not_compared(copy):
    path = copy / "out" / "cells" / "attention" / "0.safetensors"
    tensors, texts = weights.load_tensors(path)
    weights.save_tensors(path, tensors | {"targets": tensors["targets"].flip(0)}, texts)
    ablation = Ablation("ferplus:nowhere", ROWS, (0, 1), copy / "tiny.yaml", copy / "out")
    with pytest.warns(UserWarning, match="scored on different pictures are not compared"):
        assert ablation.report()["rows"][1]["differences"] == {}


# -- the report -------------------------------------------------------------------------------------------------------


def test_a_row_is_compared_with_the_one_above_or_those_it_names(finished):
    rows = (
        Row(name="attention", network="msanet_ms_as", seeds=(0,), against="plain"),
        Row(name="plain", network="msanet_ms"),
        Row(name="again", network="msanet_ms", against=["attention", "plain"]),
    )
    report = Ablation("ferplus:nowhere", rows, (0, 1), finished / "tiny.yaml", finished / "out").report()
    first, second, third = report["rows"]
    assert (first["against"], second["against"], third["against"]) == (["plain"], ["attention"], ["attention", "plain"])
    assert "differences" not in third  # it is not trained
    for part, measures in first["differences"]["plain"].items():
        for measure, values in measures.items():
            assert values[0] == pytest.approx(-second["differences"]["attention"][part][measure][0])


# -- rows and recipes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- {name: a}", "field network: Field required"),
        (
            "- {name: a, network: msanet, seed: 1}",
            "field seed: .*fields: name, network, method",
        ),
        ("- {name: ../a, network: msanet}", "field name"),
        ("- {name: a, network: msanet, seeds: [x]}", r"field seeds\.0"),
        ("- {name: a, network: msanet, settings: beta=1}", "field settings"),
        ("name: a", "not a YAML list of rows"),
        ("- a", "not a YAML list of rows"),
        ("", "not a YAML list of rows"),
        ("- {a", "not a YAML file"),
    ],
)
def test_a_file_that_is_no_list_of_rows_is_refused(tmp_path, text, words):
    path = tmp_path / "rows.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=words) as caught:
        load_rows(path)
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="there is no file"):
        load_rows(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("rows", "seeds", "words"),
    [
        ((), (0,), "at least one row"),
        ((Row(name="a", network="msanet_ms"),), (), "a seed for each"),
        ((Row(name="a", network="msanet_ms"), Row(name="a", network="msanet_ms_as")), (0,), "two rows are called a"),
        ((Row(name="a", network="msanet_ms", against="b"),), (0,), "compared with b, which is not a row"),
        ((Row(name="a", network="vgg"),), (0,), "there is no network 'vgg'"),
        ((Row(name="a", network="msanet_ms", settings=("network.depth=3",)),), (0,), "row a: .*no argument depth"),
        ((Row(name="a", network="msanet_ms", settings=("epoch=3",)),), (0,), "field epoch"),
    ],
)
def test_rows_that_cannot_be_are_refused_before_anything_is_trained(tmp_path, recipe, rows, seeds, words):
    with pytest.raises(InputError, match=words):
        Ablation("folder:nowhere", rows, seeds, recipe, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_recipes_network_arguments_go_where_they_are_known():
    arguments = {"hierarchy": "res2net", "strides": [1, 2], "kernel": 5, "typing_error": 1}
    assert fitting_arguments("resnet18", arguments) == {"strides": [1, 2], "typing_error": 1}
    assert fitting_arguments("msanet_ms", arguments) == arguments
    assert "kernel" not in fitting_arguments("msanet", arguments)


@pytest.mark.parametrize(
    ("name", "size", "arguments", "sides"),
    [
        ("msanet", 112, {"strides": (1, 2)}, [14, 7]),
        ("msanet", 112, {"strides": (1, 2), "hierarchy": "res2net"}, [14, 7]),
        ("msanet_ms", 112, {"strides": (2, 2), "hierarchy": "res2net"}, [7, 4]),
        ("resnet18", 112, {}, [7, 4]),
        ("resnet18", 112, {"strides": (1, 2)}, [14, 7]),
    ],
)
def test_the_maps_are_those_that_the_larger_convolutions_make(name, size, arguments, sides):
    assert map_sizes(create_network(name, **arguments), size) == sides


def test_the_rows_of_the_published_ablation_can_be_trained(tmp_path):
    rows = load_rows(ROOT / "benchmarks" / "ablation.yaml")
    ablation = Ablation("ferplus:nowhere", rows, (), "ablation", tmp_path / "out")
    assert {"resnet18", "msanet_ms", "msanet_ms_as"} <= {row.name for row in rows}
    parameters = {
        name: sum(
            parameter.numel()
            for parameter in create_network(
                cells[0].row.network, cells[0].recipe.num_classes, **cells[0].recipe.network
            ).parameters()
        )
        for name, cells in ablation.cells.items()
        if name in ("one_branch_wide", "msanet")
    }
    assert parameters["one_branch_wide"] == pytest.approx(parameters["msanet"], rel=0.01)


# -- the command ------------------------------------------------------------------------------------------------------


@pytest.fixture
def run(monkeypatch, capsys):
    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["msanet", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            command.main()
        output = capsys.readouterr()
        return int(caught.value.code or 0), output.out, output.err

    return run


def test_the_command_trains_and_reports(run, tmp_path, faces_folder, recipe):
    arguments = ("ablate", "--data", f"folder:{faces_folder}", "--recipe", recipe, "--output", tmp_path / "out")
    code, output, errors = run(*arguments, "--networks", "msanet_ms, msanet_ms_as", "--seeds", 0, "--set", "beta=0.6")
    assert (code, errors) == (0, "")
    assert "| msanet_ms_as | msanet_ms |" in output
    report = json.loads((tmp_path / "out" / "ablation.json").read_text())
    assert (report["settings"], report["rows"][1]["seeds"]) == (["beta=0.6"], [0])
    assert "tiny.yaml with beta=0.6, changed by each row's settings" in output
    for wrong, words in (
        (("--networks", "vgg"), "there is no network 'vgg'"),
        (("--networks", "msanet_ms", "--seeds", "a"), "--seeds a: give whole numbers"),
        (("--networks", "msanet_ms", "--seeds", "0", "--only", "b"), "another recipe \\(beta\\)"),
        ((), "at least one row"),
    ):
        code, _, errors = run(*arguments, *wrong)
        assert code == 2
        assert words.replace("\\", "") in errors
    code, _, errors = run(*arguments, "--networks", "msanet_ms", "--seeds", "0", "--only", "b", "--set", "beta=0.6")
    assert (code, errors) == (2, "msanet: there is no row b: choose from msanet_ms\n")


def test_a_folder_that_cannot_be_written_is_refused_before_training(tmp_path, faces_folder, recipe, no_training):
    (tmp_path / "file").touch()
    ablation = Ablation(f"folder:{faces_folder}", network_rows(["msanet_ms"]), (0,), recipe, tmp_path / "file" / "out")
    with pytest.raises(InputError, match="cannot be written"):
        ablation.run()


def test_a_figure_needs_finished_cells(tmp_path, recipe):
    ablation = Ablation("folder:nowhere", network_rows(["msanet_ms"]), (0,), recipe, tmp_path / "out")
    ablation.save()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["ablation.json", "ablation.md"]
    assert to_markdown(ablation.report()).count("|") > 0


def test_rows_may_differ_in_their_method(tmp_path, recipe):
    path = tmp_path / "rows.yaml"
    path.write_text(
        "- {name: a, network: msanet_ms, method: scn}\n- {name: b, network: msanet_ms, method: {name: mixup}}\n"
    )
    ablation = Ablation("folder:nowhere", load_rows(path), (0, 1), recipe, tmp_path / "out")
    names = [[cell.recipe.method["name"] for cell in ablation.cells[row]] for row in ("a", "b")]
    assert names == [["scn", "scn"], ["mixup", "mixup"]]
    path.write_text("- {name: a, network: msanet_ms, method: magic}\n")
    with pytest.raises(InputError, match="there is no method 'magic'"):
        Ablation("folder:nowhere", load_rows(path), (0,), recipe, tmp_path / "out")
