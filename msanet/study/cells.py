"""A cell of an ablation: a row trained from one seed, and what is kept of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from msanet.errors import InputError
from msanet.measure.scores import score
from msanet.networks import check_network
from msanet.train.plain_yaml import read_yaml
from msanet.train.recipe import Recipe, wrong_field

MEASURES = {"accuracy": "Accuracy", "average_accuracy": "Average accuracy"}
SET_TITLES = {"test": "Test", "pose30": "Pose over 30°", "pose45": "Pose over 45°", "occlusion": "Occlusion"}


class Row(BaseModel):
    """One row of an ablation.

    Args:
        name: of the row and of its folders.
        network: name of a network.
        method: the method's settings, or its name alone; empty: the recipe's.
        settings: changes of the recipe, each "field=value" as `msanet train --set` takes them.
        seeds: of its runs; empty: those of the command.
        against: name of the row that it is compared with, or a list of such names; empty: the row above.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    network: str
    method: dict[str, Any] = {}
    settings: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    against: tuple[str, ...] = ()

    @field_validator("method", mode="before")
    @classmethod
    def name_or_settings(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @field_validator("against", mode="before")
    @classmethod
    def one_or_several(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value


def network_rows(names: Sequence[str]) -> list[Row]:
    """A row for each network, of its name.

    Raises:
        InputError: there is no network of that name.
    """
    return [Row(name=check_network(name).replace(":", "-"), network=name) for name in names]


def load_rows(path: str | Path) -> list[Row]:
    """The rows of a YAML file, a list of `Row`s.

    Raises:
        InputError: there is no such file, or it is not a list of rows.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"there is no file {path}: give a YAML file with a list of rows")
    try:
        values = read_yaml(path)
        if not isinstance(values, list) or not values or not all(isinstance(value, dict) for value in values):
            raise InputError(f"{path} is not a YAML list of rows, each with the fields name and network")
        return [Row(**value) for value in values]
    except ValidationError as error:
        raise wrong_field(f"{path}, a row's", Row, error) from None


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
class CellResult:
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
    def correct(self) -> np.ndarray:
        """bool [N], which pictures are predicted correctly."""
        return np.asarray(self.probabilities.argmax(axis=1) == self.targets)

    def scores(self, name: str) -> dict[str, float]:
        """The `MEASURES` of one of `sets`."""
        chosen = self.sets[name]
        report = score(self.probabilities[chosen], self.targets[chosen], self.facts["labels"])
        return {measure: getattr(report, measure) for measure in MEASURES}
