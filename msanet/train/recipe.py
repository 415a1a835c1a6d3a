"""A recipe: all that decides what a training run does, as one YAML file."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from msanet.data.augmentation import Augmentation
from msanet.errors import InputError
from msanet.preprocessing import Preprocessing
from msanet.train.plain_yaml import parse_yaml, read_yaml

FREE = ("description", "workers", "checkpoint_minutes")
"""Fields of a recipe that change no result."""


class Recipe(BaseModel):
    """All that decides what a training run does, as one YAML file.

    Args:
        description: in a sentence.
        num_classes: 7 or 8, of data sets of expressions; pictures of contempt are left out with 7.
        labels: the classes in their order, each a label of the data set or {name: [labels that it takes together]};
            pictures of others are left out. Empty: the expressions, or all labels of a set of others.
        data: named arguments of the data set's reader, for the training split.
        network: named arguments of the network.
        initial_weights: a shipped model's name or a .safetensors file, see `weights.start_from`; "": begin anew.
        freeze: beginnings of parameters' names that do not learn, such as "layer1"; BatchNorms that are frozen whole
            keep their statistics as well.
        method: how the network is trained: "name" and the options of that method (`msanet methods`).
        preprocessing: of the network's input; it travels with the weights.
        augmentation: of training pictures.
        small_size, small_epochs: the first small_epochs train at the smaller size small_size (progressive resizing).
        epochs, batch_size: batch_size pictures a step, over all processes together.
        accumulate: batches whose gradients make one step.
        optimizer: "sgd" with momentum and nesterov, or "adamw" with betas.
        learning_rate, weight_decay: of the optimizer.
        rates: beginning of parameters' names -> factor of the learning rate; the longest one that fits counts.
        schedule: "step": divided by 10 every `step_epochs`; "cosine": falling to 0 at the end.
        step_epochs: see `schedule`.
        warmup_epochs: the learning rate rises linearly from 0 over so many epochs at the start.
        beta: factor of the loss (the paper's Eq. 2). Under SGD with momentum, beta is the same as beta times the
            learning rate together with the weight decay divided by beta.
        label_smoothing: part of the target that is spread over all classes.
        soft_targets: learn the annotators' vote distribution where there is one.
        balance: of the labels, see `EpochSampler`.
        extra_share: part of the pictures shown that comes from the extra data set, where there is one.
        ema: decay a step of an exponential moving average of the weights, which is then what is evaluated; 0: none.
        select: the validation score that chooses the best epoch.
        patience: epochs without a better score after which training ends; 0: it goes to its end.
        precision: of the forward and backward pass; float16, with its loss scaled, is for GPUs.
        checkpoint_minutes: after which a checkpoint is written within an epoch too; 0: at its end alone.
        workers: loading processes; results do not depend on them.
        seed: of initial weights, order, augmentation and method.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    description: str = ""
    num_classes: Literal[7, 8] = 8
    labels: tuple[str | dict[str, tuple[str, ...]], ...] = ()
    data: dict[str, Any] = {}
    network: dict[str, Any] = {}
    initial_weights: str = ""
    freeze: tuple[str, ...] = ()
    method: dict[str, Any] = Field(default_factory=lambda: {"name": "plain"}, validate_default=True)
    preprocessing: Preprocessing = Preprocessing()
    augmentation: Augmentation = Augmentation()
    small_size: int = Field(48, ge=16)
    small_epochs: int = Field(0, ge=0)
    epochs: int = Field(20, ge=1)
    batch_size: int = Field(64, ge=2)
    accumulate: int = Field(1, ge=1)
    optimizer: Literal["sgd", "adamw"] = "sgd"
    learning_rate: float = Field(0.05, gt=0)
    rates: dict[str, float] = {}
    betas: tuple[float, float] = (0.9, 0.999)
    momentum: float = Field(0.9, ge=0, lt=1)
    nesterov: bool = False
    weight_decay: float = Field(5e-4, ge=0)
    schedule: Literal["step", "cosine"] = "cosine"
    step_epochs: int = Field(10, ge=1)
    warmup_epochs: float = Field(0.0, ge=0)
    beta: float = Field(1.0, gt=0)
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    soft_targets: bool = False
    balance: float = Field(0.0, ge=0, le=1)
    extra_share: float = Field(0.1, gt=0, lt=1)
    ema: float = Field(0.0, ge=0, lt=1)
    select: Literal["accuracy", "average_accuracy", "macro_f1"] = "accuracy"
    patience: int = Field(0, ge=0)
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    checkpoint_minutes: float = Field(0.0, ge=0)
    workers: int = Field(2, ge=0)
    seed: int = Field(0, ge=0)

    @field_validator("method")
    @classmethod
    def complete_method(cls, value: dict[str, Any]) -> dict[str, Any]:
        """With the defaults of today, so that a run's identity says all of it."""
        from msanet.methods import complete  # torch, which takes seconds: what is wrong before is said at once

        return complete(value)

    def identity(self) -> dict[str, Any]:
        """All that results depend on."""
        values: dict[str, Any] = self.model_dump(mode="json")
        return {name: value for name, value in values.items() if name not in FREE}

    def rate(self, epoch: float) -> float:
        """Learning rate at a point of training, `epoch` counting from 0 with its fraction."""
        warm = min(1.0, epoch / self.warmup_epochs) if self.warmup_epochs else 1.0
        if self.schedule == "step":
            return self.learning_rate * warm * 0.1 ** (int(epoch) // self.step_epochs)
        return self.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * epoch / self.epochs))


def recipe_names() -> list[str]:
    """Names of the recipes that come with the package."""
    return sorted(Path(str(file)).stem for file in (resources.files("msanet.train") / "recipes").iterdir())


def load_recipe(name_or_file: str | Path, settings: Sequence[str] = ()) -> Recipe:
    """A recipe by name or from a YAML file.

    Args:
        name_or_file: a name of `recipe_names()`, or a file.
        settings: changes "field=value", the value in YAML; a dot reaches into a group, "preprocessing.size=112".

    Raises:
        InputError: no such recipe, or a field or value that it cannot have.
    """
    shipped = Path(str(resources.files("msanet.train") / "recipes" / f"{name_or_file}.yaml"))
    path = shipped if shipped.is_file() else Path(name_or_file)
    if not path.is_file():
        raise InputError(
            f"there is no recipe {str(name_or_file)!r}: choose one of {', '.join(recipe_names())}, or a file"
        )
    try:
        values = read_yaml(path)
        if not isinstance(values, dict):
            raise InputError(f"recipe {path} is not a YAML file of field: value lines")
        for setting in settings:
            name, equals, value = setting.partition("=")
            if not equals:
                raise InputError(f"--set {setting}: write field=value")
            group = values
            *groups, last = name.split(".")
            try:
                for part in groups:
                    group = group.setdefault(part, {})
                group[last] = parse_yaml(value)
            except InputError as error:
                raise InputError(f"--set {setting[:80]}: the value is not YAML ({error})") from None
            except (TypeError, AttributeError):
                raise InputError(f"--set {setting}: there is no group for {name}") from None
        return Recipe(**values)
    except ValidationError as error:
        raise wrong_field(f"recipe {path.name},", Recipe, error) from None


def wrong_field(place: str, model: type[BaseModel], error: ValidationError) -> InputError:
    """A sentence about the first field of a file that is not as its model wants it."""
    first = error.errors()[0]
    where = ".".join(reprlib.repr(part).strip("'") for part in first["loc"])
    return InputError(f"{place} field {where}: {first['msg']}; fields: {', '.join(model.model_fields)}")
