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
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock, Timeout
from pydantic import ValidationError
from torch import Tensor, nn

from msanet import data, weights
from msanet.data.sample import Sample, targets_of
from msanet.errors import InputError
from msanet.files import replacing
from msanet.networks import Network, count_cost, create_network, fitting_arguments
from msanet.preprocessing import softmax
from msanet.study.cells import MEASURES, SET_TITLES, Cell, CellResult, Row
from msanet.study.differences import differences, in_all, spread
from msanet.study.tables import draw, to_markdown
from msanet.train.environment import environment
from msanet.train.recipe import FREE, Recipe, load_recipe
from msanet.train.run import Run

STEM = ("conv1", "bn1", "layer1", "layer2")
KEY = "cell"


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
        self.common = common = load_recipe(recipe, settings)
        self.recipe_name, self.settings = str(recipe), tuple(settings)
        self.cells: dict[str, list[Cell]] = {}
        for row in rows:
            own = json.dumps(fitting_arguments(row.network, common.network))
            method = [f"method={json.dumps(row.method)}"] if row.method else []
            self.cells[row.name] = [
                Cell(
                    row,
                    load_recipe(recipe, [*settings, f"network={own}", *method, *row.settings, f"seed={seed}"]),
                    output,
                )
                for seed in dict.fromkeys(row.seeds or seeds)
            ]
            first = self.cells[row.name][0].recipe
            try:
                create_network(row.network, first.num_classes, **first.network)
            except InputError as error:
                raise InputError(f"row {row.name}: {error}") from None
        self.results()  # refuses cells that were trained in another way

    def results(self) -> dict[str, dict[int, CellResult]]:
        """Row -> seed -> result of the cells that are finished, whoever trained them."""
        return {
            name: {cell.recipe.seed: self.load(cell) for cell in cells if cell.file.exists()}
            for name, cells in self.cells.items()
        }

    def load(self, cell: Cell) -> CellResult:
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
        return CellResult(facts, probabilities, targets, {name: arrays[name] for name in SET_TITLES if name in arrays})

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
        reader = data.parse(self.source)[1]
        options = {name: self.common.data[name] for name in reader.held_out if name in self.common.data}
        test = data.read(self.source, "test", **options)
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
                self.keep(cell, run, run.pictures.select(test), subsets)
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
            "targets": torch.from_numpy(targets_of(test, run.labels)).to(torch.uint8),
            "test": torch.ones(len(test), dtype=torch.bool),
            **{name: torch.tensor([sample.path in paths for sample in test]) for name, paths in subsets.items()},
        }
        parameters, operations = count_cost(run.average.network.cpu(), cell.recipe.preprocessing.size)
        facts = {
            "data": self.data,
            "network": cell.row.network,
            "recipe": json.loads(cell.recipe.model_dump_json()),
            "labels": run.labels,
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
                entry["classes"] = len(results[0].facts["labels"])
                # the fastest run: other work on the machine only slows it
                entry["seconds"] = min(result.facts["seconds"] for result in results)
                entry["scores"] = {name: spread(results, name) for name in SET_TITLES if in_all(results, name)}
                compared = {name: differences(results, list(finished[name].values())) for name in entry["against"]}
                entry["differences"] = {name: found for name, found in compared.items() if found}
            rows.append(entry)
        pictures = {
            name: int(result.sets[name].sum())
            for results in finished.values()
            for result in results.values()
            for name in result.sets
        }
        return {
            "data": self.data,
            "recipe": self.recipe_name,
            "settings": list(self.settings),
            "pictures": pictures,
            "rows": rows,
        }

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


def changed_fields(stored: Mapping[str, Any], recipe: Recipe) -> list[str]:
    """Fields in which a recipe differs from a stored one, those left out that change no result.

    A field that is newer than the stored recipe counts as having had its default.
    """
    try:
        before = Recipe(**stored)
    except ValidationError as error:
        return [f"version of msanet, which knew a field {error.errors()[0]['loc'][0]}"]
    fields = [name for name in Recipe.model_fields if name not in FREE]
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
