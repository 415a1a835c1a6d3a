"""Rows x seeds: what a named change of the network or the recipe is worth, with its spread.

A cell is a row trained from one seed. The output folder holds

    cells/ROW/SEED.safetensors   what is kept of a finished cell: predictions for the test pictures, and its facts
    runs/ROW/SEED/               its training run, no longer needed once the cell is finished
    ablation.md, .json, .png     the report, made from cells/ alone

Several processes may share the folder: a cell is locked while it is trained. Each process trains on its own device.
"""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from torch import Tensor, nn

from msanet import data, weights
from msanet.data.samples import Sample, targets_of
from msanet.errors import InputError, require
from msanet.images import replacing
from msanet.models import NETWORKS, Network, count_cost, create_network, network_arguments
from msanet.preprocessing import softmax
from msanet.scores import LEVEL, RESAMPLES, TAIL, score
from msanet.train import Recipe, Run, environment, load_recipe, wrong_field

MEASURES = {"accuracy": "Accuracy", "average_accuracy": "Average accuracy"}
TITLES = {"test": "Test", "pose30": "Pose over 30°", "pose45": "Pose over 45°", "occlusion": "Occlusion"}
STEM = ("conv1", "bn1", "layer1", "layer2")
KEY = "cell"


class Row(BaseModel):
    """One row of an ablation.

    Args:
        name: of the row and of its folders.
        network: name of a network.
        settings: changes of the recipe, each "field=value" as `msanet train --set` takes them.
        seeds: of its runs; empty: those of the command.
        against: name of the row that it is compared with, or a list of such names; empty: the row above.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    network: str
    settings: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    against: tuple[str, ...] = ()

    @field_validator("against", mode="before")
    @classmethod
    def one_or_several(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value


def network_rows(names: Sequence[str]) -> list[Row]:
    """A row for each network, of its name.

    Raises:
        InputError: there is no network of that name.
    """
    for name in names:
        if name not in NETWORKS:
            raise InputError(f"there is no network {name!r}: choose from {', '.join(NETWORKS)}")
    return [Row(name=name, network=name) for name in names]


def load_rows(path: str | Path) -> list[Row]:
    """The rows of a YAML file, a list of `Row`s.

    Raises:
        InputError: there is no such file, or it is not a list of rows.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"there is no file {path}: give a YAML file with a list of rows")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
        if not isinstance(values, list) or not values:
            raise TypeError
        return [Row(**value) for value in values]
    except ValidationError as error:
        raise wrong_field(f"{path}, a row's", Row, error) from None
    except (yaml.YAMLError, TypeError, UnicodeDecodeError):
        raise InputError(f"{path} is not a YAML list of rows, each with the fields name and network") from None


@dataclass(frozen=True)
class Cell:
    """A row trained from one seed.

    Args:
        row: which.
        recipe: complete, the row's settings and the seed in it.
        output: folder of the ablation.
    """

    row: Row
    recipe: Recipe
    output: Path

    @property
    def name(self) -> str:
        """The row's name and the seed."""
        return f"{self.row.name}/{self.recipe.seed}"

    @property
    def file(self) -> Path:
        """What is kept of it when it is finished."""
        return self.output / "cells" / f"{self.name}.safetensors"

    @property
    def folder(self) -> Path:
        """Of its training run."""
        return self.output / "runs" / self.name


@dataclass(frozen=True, eq=False)
class Result:
    """A finished cell.

    Args:
        facts: how it was trained and what it cost.
        probabilities: float32 [N, K], of the N test pictures in the data set's order.
        targets: int64 [N], their true classes.
        sets: name -> bool [N], which of the pictures belong to the test set (all) and to each subset.
    """

    facts: Mapping[str, Any]
    probabilities: np.ndarray
    targets: np.ndarray
    sets: Mapping[str, np.ndarray]

    @property
    def right(self) -> np.ndarray:
        """bool [N], which pictures are named rightly."""
        return np.asarray(self.probabilities.argmax(axis=1) == self.targets)

    def scores(self, name: str) -> dict[str, float]:
        """The `MEASURES` of one of `sets`."""
        chosen = self.sets[name]
        report = score(self.probabilities[chosen], self.targets[chosen], self.facts["expressions"])
        return {measure: getattr(report, measure) for measure in MEASURES}


class Ablation:
    """Rows x seeds on one data set.

    The network arguments of the recipe go to the networks that have them: a ResNet-18 has no `hierarchy`. What a row
    itself asks for must be possible.

    Args:
        source: NAME:DIR of the data set. DIR is read only where a cell is to be trained.
        rows: with different names.
        seeds: of the rows that name none.
        recipe: a recipe's name or file, which the rows change.
        settings: changes of the recipe for all rows, each "field=value".
        output: folder.

    Raises:
        InputError: a row or a recipe cannot be used, or a finished cell was trained in another way.
    """

    def __init__(
        self,
        source: str,
        rows: Sequence[Row],
        seeds: Sequence[int],
        recipe: str | Path,
        output: Path,
        settings: Sequence[str] = (),
    ) -> None:
        self.source, self.rows, self.output = source, rows, output
        self.data = data.parse(source)[0]
        names = [row.name for row in rows]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise InputError(f"two rows are called {twice[0]}: give each row a name of its own")
        if not rows or not all(row.seeds or seeds for row in rows):
            raise InputError("an ablation needs at least one row, and a seed for each")
        for row in rows:
            for other in row.against:
                if other not in names:
                    raise InputError(f"row {row.name} is compared with {other}, which is not a row: name one of them")
        common = load_recipe(recipe, settings)
        self.recipe_name = str(recipe)
        self.cells: dict[str, list[Cell]] = {}
        for row in rows:
            if row.network not in NETWORKS:
                raise InputError(
                    f"row {row.name}: there is no network {row.network!r}: choose from {', '.join(NETWORKS)}"
                )
            own = json.dumps(arguments_for(row.network, common.network))
            self.cells[row.name] = [
                Cell(row, load_recipe(recipe, [*settings, f"network={own}", *row.settings, f"seed={seed}"]), output)
                for seed in dict.fromkeys(row.seeds or seeds)
            ]
            first = self.cells[row.name][0].recipe
            try:
                create_network(row.network, first.num_classes, **first.network)
            except InputError as error:
                raise InputError(f"row {row.name}: {error}") from None
        self.results()  # refuses cells that were trained in another way

    def results(self) -> dict[str, dict[int, Result]]:
        """Row -> seed -> result of the cells that are finished, whoever trained them."""
        return {
            name: {cell.recipe.seed: self.load(cell) for cell in cells if cell.file.exists()}
            for name, cells in self.cells.items()
        }

    def load(self, cell: Cell) -> Result:
        """A finished cell.

        Raises:
            InputError: its file is not one, or it was trained in another way than the cell asks for.
        """
        tensors, texts = weights.load_tensors(cell.file)
        if KEY not in texts:
            raise InputError(f"{cell.file} is not a cell of an ablation: give another --output")
        facts = json.loads(texts[KEY])
        changed = [name for name, value in (("data", self.data), ("network", cell.row.network)) if facts[name] != value]
        changed += changed_fields(facts["recipe"], cell.recipe)
        if changed:
            raise InputError(
                f"{cell.file} was trained with another {changed[0]}: give the row another name, or another --output"
            )
        arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
        probabilities, targets = arrays.pop("probabilities"), arrays.pop("targets").astype(np.int64)
        return Result(facts, probabilities, targets, {name: arrays[name] for name in TITLES if name in arrays})

    def run(self, only: Sequence[str] = ()) -> list[str]:
        """Train what is not finished, the first seed of each row before the second of any.

        The report is written anew after each cell. A cell that another process is training is left to it.

        Args:
            only: names of the rows to train; empty: all.

        Returns:
            A sentence for each cell that failed.

        Raises:
            InputError: the data cannot be read, or `only` names something else than a row.
        """
        unknown = sorted(set(only) - set(self.cells))
        if unknown:
            raise InputError(f"there is no row {unknown[0]}: choose from {', '.join(self.cells)}")
        rows = [row for name, row in self.cells.items() if not only or name in only]
        cells = [cell for seed in zip_longest(*rows) for cell in seed if cell]
        failures = []
        self.save()  # what is there already, and a folder that cannot be written is found now
        if not all(cell.file.exists() for cell in cells):
            test, subsets = self.pictures()
            for cell in cells:
                try:
                    trained = self.train(cell, test, subsets)
                except InputError as error:
                    failures.append(f"{cell.name}: {error}")
                    continue
                if trained:
                    self.save()
        return failures

    def pictures(self) -> tuple[list[Sample], dict[str, set[Path]]]:
        """The test pictures, and which of them belong to each subset that can be read."""
        test = data.read(self.source, "test")
        subsets = {}
        for name in data.subsets_of(self.source):
            try:
                subsets[name] = {sample.path for sample in data.read(self.source, "test", name)}
            except InputError as error:
                warnings.warn(f"the report goes without {name}: {error}", stacklevel=2)
        return test, subsets

    def train(self, cell: Cell, test: Sequence[Sample], subsets: Mapping[str, set[Path]]) -> bool:
        """Train a cell, or go on with it, and keep what it predicts; whether it was this process that did."""
        cell.folder.mkdir(parents=True, exist_ok=True)
        try:
            # The system releases the lock when the process ends, however it ends.
            with FileLock(cell.folder / "lock", timeout=0):
                if cell.file.exists():
                    return False
                print(f"cell {cell.name}", flush=True)
                run = Run(self.source, cell.row.network, cell.recipe, cell.folder, resume=True)
                run.train()
                self.keep(cell, run, run.select(test), subsets)
                run.checkpoint.unlink()
                return True
        except Timeout:
            print(f"cell {cell.name} is being trained by another process", flush=True)
            return False

    def keep(self, cell: Cell, run: Run, test: Sequence[Sample], subsets: Mapping[str, set[Path]]) -> None:
        """Write the cell's file from the best epoch's weights, which `run` holds after training."""
        logits = run.logits(test)
        best = max(run.rows, key=lambda row: row[cell.recipe.select])
        tensors = {
            "probabilities": torch.from_numpy(softmax(logits, run.temperature)),
            "targets": torch.from_numpy(targets_of(test, run.expressions)).to(torch.uint8),
            "test": torch.ones(len(test), dtype=torch.bool),
            **{name: torch.tensor([sample.path in paths for sample in test]) for name, paths in subsets.items()},
        }
        parameters, operations = count_cost(run.average.network.cpu(), cell.recipe.preprocessing.size)
        facts = {
            "data": self.data,
            "network": cell.row.network,
            "recipe": json.loads(cell.recipe.model_dump_json()),
            "expressions": run.expressions,
            "epoch": best["epoch"],
            "validation": {measure: best[measure] for measure in MEASURES},
            "parameters": parameters,
            "multiply_adds": operations,
            "maps": map_sizes(run.average.network, cell.recipe.preprocessing.size),
            "seconds": round(sum(row["seconds"] for row in run.rows), 1),
            "environment": environment(),
            "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
        weights.save_tensors(cell.file, tensors, {KEY: json.dumps(facts)})

    # -- the report ---------------------------------------------------------------------------------------------------

    def report(self) -> dict[str, Any]:
        """All figures as plain lists, numbers and strings, for JSON; scores and differences in 0..1."""
        rows = []
        finished = self.results()
        for place, row in enumerate(self.rows):
            results = list(finished[row.name].values())
            seeds = [cell.recipe.seed for cell in self.cells[row.name]]
            entry: dict[str, Any] = {
                **row.model_dump(mode="json"),
                "seeds": [seed for seed in seeds if seed in finished[row.name]],
                "unfinished": [seed for seed in seeds if seed not in finished[row.name]],
                "against": list(row.against) or [above.name for above in self.rows[:place][-1:]],
            }
            if results:
                entry |= {name: results[0].facts[name] for name in ("parameters", "multiply_adds", "maps")}
                entry["classes"] = len(results[0].facts["expressions"])
                # the fastest run: other work on the machine only slows it
                entry["seconds"] = min(result.facts["seconds"] for result in results)
                entry["scores"] = {name: spread(results, name) for name in TITLES if in_all(results, name)}
                compared = {name: differences(results, list(finished[name].values())) for name in entry["against"]}
                entry["differences"] = {name: found for name, found in compared.items() if found}
            rows.append(entry)
        pictures = {
            name: int(result.sets[name].sum())
            for results in finished.values()
            for result in results.values()
            for name in result.sets
        }
        return {"data": self.data, "recipe": self.recipe_name, "pictures": pictures, "rows": rows}

    def save(self) -> None:
        """Write ablation.json, ablation.md and ablation.png, each whole or not at all.

        Raises:
            InputError: the folder cannot be written, or matplotlib is not installed.
        """
        report = self.report()
        for name, text in (("json", json.dumps(report, indent=2) + "\n"), ("md", to_markdown(report))):
            with replacing(self.output / f"ablation.{name}") as path:
                self.output.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
        if report["pictures"]:
            figure = draw(report)
            with replacing(self.output / "ablation.png") as path:
                figure.savefig(path, format="png")


def arguments_for(network: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Those of a recipe's network arguments that a network has, and those that no network has, to be refused later."""
    others = {name for other in NETWORKS for name in network_arguments(other)} - set(network_arguments(network))
    return {name: value for name, value in arguments.items() if name not in others}


def changed_fields(stored: Mapping[str, Any], recipe: Recipe) -> list[str]:
    """Fields in which a recipe differs from a stored one, those left out that change no result.

    A field that is newer than the stored recipe counts as having had its default.
    """
    try:
        before = Recipe(**stored)
    except ValidationError as error:
        return [f"version of msanet, which knew a field {error.errors()[0]['loc'][0]}"]
    free = ("description", "workers")
    fields = [name for name in Recipe.model_fields if name not in free]
    return [f"recipe ({name})" for name in fields if getattr(before, name) != getattr(recipe, name)]


def map_sizes(network: Network, size: int) -> list[int]:
    """Sides of the maps that convolutions larger than 1 x 1 make behind the stem, each once, for pictures of `size`."""
    sides: dict[int, None] = {}

    def note(module: nn.Module, inputs: Any, output: Tensor) -> None:
        sides[output.shape[-1]] = None

    hooks = [
        module.register_forward_hook(note)
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d) and module.kernel_size != (1, 1) and name.split(".")[0] not in STEM
    ]
    with torch.inference_mode():
        network.eval()(torch.zeros(1, 3, size, size))
    for hook in hooks:
        hook.remove()
    return list(sides)


def in_all(results: Sequence[Result], name: str) -> bool:
    """Whether all results have pictures of this set."""
    return all(name in result.sets and result.sets[name].any() for result in results)


def spread(results: Sequence[Result], name: str) -> dict[str, Any]:
    """Measure -> mean, standard deviation over the seeds (None for one seed) and the values, of one set."""
    scores = [result.scores(name) for result in results]
    return {
        measure: {
            "mean": float(np.mean(values)),
            "deviation": float(np.std(values, ddof=1)) if len(values) > 1 else None,
            "values": values,
        }
        for measure in MEASURES
        for values in [[entry[measure] for entry in scores]]
    }


def differences(results: Sequence[Result], others: Sequence[Result]) -> dict[str, dict[str, list[float]]]:
    """Set -> measure -> difference of `results` to `others`, with the ends of its interval; {} where there is none.

    Rows that were scored on different pictures, of seven and of eight expressions for instance, cannot be compared:
    they are left out with a warning.
    """
    if not others:
        return {}
    both = [*results, *others]
    targets, sets = results[0].targets, results[0].sets
    names = [name for name in TITLES if in_all(both, name)]
    if not all(
        np.array_equal(targets, other.targets) and all(np.array_equal(sets[name], other.sets[name]) for name in names)
        for other in both
    ):
        warnings.warn("rows that were scored on different pictures are not compared", stacklevel=2)
        return {}
    right = [np.stack([result.right for result in part]) for part in (results, others)]
    return {
        name: paired_difference(targets[sets[name]], right[0][:, sets[name]], right[1][:, sets[name]]) for name in names
    }


def paired_difference(targets: np.ndarray, first: np.ndarray, second: np.ndarray) -> dict[str, list[float]]:
    """How much better one row names pictures than another, with a 95 % bootstrap interval.

    A row's score is the mean over its seeds. A resample draws pictures with replacement, the same for both rows, and
    for each row as many of its seeds as it has, with replacement too: the interval covers both the choice of test
    pictures and that of seeds, the latter as far as so few can tell. (A bootstrap of n seeds gives (n - 1) / n of
    their variance: two thirds for three, nothing for one.)

    Args:
        targets: int64 [N], true classes.
        first, second: bool [S, N], which pictures the networks of each row's S seeds name rightly.

    Returns:
        Measure -> [difference, lower end, upper end], in -1..1.
    """
    # Pictures of one class that the same networks name rightly are alike, so a resample is one multinomial draw over
    # the kinds of pictures.
    kinds, counts = np.unique(np.vstack([targets[None], first, second]), axis=1, return_counts=True)
    rng = np.random.default_rng(0)
    draws = rng.multinomial(len(targets), counts / len(targets), size=RESAMPLES)
    seeds = [rng.integers(len(part), size=(RESAMPLES, len(part))) for part in (first, second)]
    found = {}
    for measure in MEASURES:
        exact = seed_scores(measure, kinds, counts[None])
        drawn = seed_scores(measure, kinds, draws)  # [R, seeds of both]
        one, other = (
            np.take_along_axis(scores, places, axis=1).mean(axis=1)
            for scores, places in zip(np.split(drawn, [len(first)], axis=1), seeds, strict=True)
        )
        difference = exact[0, : len(first)].mean() - exact[0, len(first) :].mean()
        ends = np.quantile(one - other, [TAIL, 1 - TAIL])
        found[measure] = [float(difference), *ends.tolist()]
    return found


def seed_scores(measure: str, kinds: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """A measure of several networks on resampled pictures.

    Args:
        measure: "accuracy" or "average_accuracy".
        kinds: int64 [1 + S, U], of each kind of picture the class, and whether each of S networks names it rightly.
        draws: int64 [R, U], how often each kind is in each resample.

    Returns:
        float64 [R, S]; classes that a resample does not hold are left out of its average.
    """
    classes = kinds[0] if measure == "average_accuracy" else np.zeros_like(kinds[0])
    recalls = []
    for label in np.unique(classes):
        pictures = draws[:, classes == label]
        with np.errstate(invalid="ignore"):
            recalls.append(pictures @ kinds[1:, classes == label].T / pictures.sum(axis=1, keepdims=True))
    return np.asarray(np.nanmean(recalls, axis=0))


def to_markdown(report: Mapping[str, Any]) -> str:
    """The report as tables, scores in percent and differences in percentage points."""
    rows = [row for row in report["rows"] if row["seeds"]]
    waiting = [
        f"{row['name']} ({', '.join(map(str, row['unfinished']))})" for row in report["rows"] if row["unfinished"]
    ]
    pictures = ", ".join(f"{TITLES[name]} {number:,}" for name, number in report["pictures"].items())
    costs = [
        (
            row["name"],
            row["network"],
            ", ".join(row["settings"]),
            ", ".join(f"{side}x{side}" for side in row["maps"]),
            f"{row['parameters'] / 1e6:.2f} M",
            f"{row['multiply_adds'] / 1e9:.2f} G",
            f"{row['seconds'] / 60:.0f}",
        )
        for row in rows
    ]
    lines = [
        "# Ablation",
        "",
        f"- Data: {report['data']}; pictures: {pictures}",
        f"- Recipe: {report['recipe']}, changed by each row's settings; weights of the best epoch on validation",
        "- ± is the standard deviation over the seeds; a row without it has one seed",
        f"- Intervals: {100 * LEVEL:.0f} %, paired bootstrap over test pictures and seeds ({RESAMPLES:,} resamples); "
        "where a row has one seed, the interval does not cover its choice",
        *([f"- Seeds not finished: {'; '.join(waiting)}"] if waiting else []),
        "",
        *table(("Row", "Network", "Settings", "Maps", "Parameters", "Multiply-adds", "Minutes, fastest run"), costs),
    ]
    for measure, title in MEASURES.items():
        sets = [name for name in TITLES if name in report["pictures"]]
        scores = [
            (row["name"], str(len(row["seeds"])), *(in_percent(row["scores"].get(name), measure) for name in sets))
            for row in rows
        ]
        compared = [
            (row["name"], other, *(in_points(found.get(name), measure) for name in sets))
            for row in rows
            for other, found in row["differences"].items()
        ]
        heads = [TITLES[name] for name in sets]
        lines += ["", f"## {title}, %", "", *table(("Row", "Seeds", *heads), scores)]
        if compared:
            lines += ["", f"## Difference in {title.lower()}, points", "", *table(("Row", "Against", *heads), compared)]
    return "\n".join([*lines, ""])


def in_percent(scores: Mapping[str, Any] | None, measure: str) -> str:
    """Mean ± deviation."""
    if scores is None:
        return ""
    entry = scores[measure]
    deviation = "" if entry["deviation"] is None else f" ± {100 * entry['deviation']:.2f}"
    return f"{100 * entry['mean']:.2f}{deviation}"


def in_points(compared: Mapping[str, Any] | None, measure: str) -> str:
    """Difference (lower to upper end)."""
    if compared is None:
        return ""
    difference, low, high = (100 * value for value in compared[measure])
    return f"{difference:+.2f} ({low:+.2f} to {high:+.2f})"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Lines of a Markdown table."""
    for cells in (head, ["---"] * len(head), *rows):
        yield f"| {' | '.join(cells)} |"


def draw(report: Mapping[str, Any]) -> Any:
    """The scores as a matplotlib Figure: a dot for each seed, a bar for their mean, a panel for each measure and set.

    Raises:
        InputError: matplotlib is not installed.
    """
    rows = [row for row in report["rows"] if row["seeds"]]
    sets = [name for name in TITLES if name in report["pictures"]]
    size = (2.6 + 2.4 * len(sets), 0.4 + len(MEASURES) * (0.9 + 0.28 * len(rows)))
    figure = require("matplotlib.figure").Figure(figsize=size, dpi=120, layout="constrained")
    panels = figure.subplots(len(MEASURES), len(sets), squeeze=False, sharey=True)
    for line, (measure, title) in zip(panels, MEASURES.items(), strict=True):
        for axes, name in zip(line, sets, strict=True):
            for place, row in enumerate(rows):
                if name not in row["scores"]:
                    continue
                entry = row["scores"][name][measure]
                values = [100 * value for value in entry["values"]]
                axes.plot(values, [place] * len(values), "o", color="#1f5f99", alpha=0.55, markersize=5, mew=0)
                axes.plot([100 * entry["mean"]], [place], "|", color="#0b2a45", markersize=13, mew=2.2)
            axes.set_title(f"{title}, %\n{TITLES[name]} ({report['pictures'][name]:,})", fontsize=9.5)
            axes.tick_params(labelsize=8.5, length=0)
            axes.grid(color="#e4e9ee")
            axes.set_axisbelow(True)
            axes.spines[:].set_visible(False)
        line[0].set_yticks(range(len(rows)), [row["name"] for row in rows])
        line[0].set_ylim(len(rows) - 0.5, -0.5)
    figure.suptitle(f"Ablation on {report['data']}: dots are seeds, bars their mean", x=0.01, ha="left", fontsize=11)
    return figure
