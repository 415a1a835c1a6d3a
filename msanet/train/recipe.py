"""A recipe: all that decides what a training run does, as one YAML file."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from msanet.data.augmentation import Augmentation
from msanet.errors import InputError
from msanet.preprocessing import Preprocessing
from msanet.train.plain_yaml import parse_yaml, read_yaml


class Recipe(BaseModel):
    """All that decides what a training run does, as one YAML file.

    Args:
        description: in a sentence.
        num_classes: 7 or 8; pictures of contempt are left out with 7.
        data: named arguments of the data set's reader, for the training split.
        network: named arguments of the network.
        initial_weights: a shipped model's name or a .safetensors file of the same network to start from; "": anew.
        preprocessing: of the network's input; it travels with the weights.
        augmentation: of training pictures.
        small_size, small_epochs: the first small_epochs train at the smaller size small_size (progressive resizing).
        epochs, batch_size: batch_size pictures a step, over all processes together.
        learning_rate, momentum, nesterov, weight_decay: of SGD.
        schedule: "step": divided by 10 every `step_epochs`; "cosine": falling to 0 at the end.
        step_epochs: see `schedule`.
        warmup_epochs: the learning rate rises linearly from 0 over so many epochs at the start.
        beta: factor of the loss (the paper's Eq. 2). Under SGD with momentum, beta is the same as beta times the
            learning rate together with the weight decay divided by beta.
        label_smoothing: part of the target that is spread over all classes.
        soft_targets: learn the annotators' vote distribution where there is one.
        teachers: shipped models' names, .safetensors or .onnx files to learn from as well, see `Teachers`.
        teacher_share: of the target that the teachers give; of extra pictures they give nothing.
        teacher_sees: "augmented": the very picture that is learnt, mixup included; "original": the crop as it is and
            its mirror image, once before training, so that augmentation may hide what the answer rests on.
        balance: of the labels, see `EpochSampler`.
        extra_share: part of the pictures shown that comes from the extra data set, where there is one.
        mixup: parameter of the Beta distribution that mixes pairs of pictures; 0 mixes none.
        plain_epochs: so many epochs at the end without mixup.
        ema: decay a step of an exponential moving average of the weights, which is then what is evaluated; 0: none.
        select: the validation score that chooses the best epoch.
        precision: of the forward and backward pass.
        workers: loading processes.
        seed: of initial weights, order, augmentation and mixup.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    description: str = ""
    num_classes: Literal[7, 8] = 8
    data: dict[str, Any] = {}
    network: dict[str, Any] = {}
    initial_weights: str = ""
    preprocessing: Preprocessing = Preprocessing()
    augmentation: Augmentation = Augmentation()
    small_size: int = Field(48, ge=16)
    small_epochs: int = Field(0, ge=0)
    epochs: int = Field(20, ge=1)
    batch_size: int = Field(64, ge=2)
    learning_rate: float = Field(0.05, gt=0)
    momentum: float = Field(0.9, ge=0, lt=1)
    nesterov: bool = False
    weight_decay: float = Field(5e-4, ge=0)
    schedule: Literal["step", "cosine"] = "cosine"
    step_epochs: int = Field(10, ge=1)
    warmup_epochs: float = Field(0.0, ge=0)
    beta: float = Field(1.0, gt=0)
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    soft_targets: bool = False
    teachers: tuple[str, ...] = ()
    teacher_share: float = Field(0.5, ge=0, le=1)
    teacher_sees: Literal["augmented", "original"] = "augmented"
    balance: float = Field(0.0, ge=0, le=1)
    extra_share: float = Field(0.1, gt=0, lt=1)
    mixup: float = Field(0.0, ge=0)
    plain_epochs: int = Field(0, ge=0)
    ema: float = Field(0.0, ge=0, lt=1)
    select: Literal["accuracy", "average_accuracy", "macro_f1"] = "accuracy"
    precision: Literal["float32", "bfloat16"] = "float32"
    workers: int = Field(2, ge=0)
    seed: int = Field(0, ge=0)

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
