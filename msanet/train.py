"""A recipe, and the loop that follows it."""

from __future__ import annotations

import copy
import csv
import json
import math
import platform
import subprocess
import time
import warnings
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from importlib import metadata as packages
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import yaml
from accelerate import Accelerator
from accelerate.utils import DataLoaderConfiguration
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from rich.console import Console
from rich.progress import Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor, nn

from msanet import data, weights
from msanet.data.alignment import aligned
from msanet.data.augmentation import Augmentation
from msanet.data.samples import (
    EpochSampler,
    FaceDataset,
    NoSplitWarning,
    Sample,
    evaluation_loader,
    targets_of,
    training_loader,
)
from msanet.distill import Teachers
from msanet.errors import InputError
from msanet.expressions import expressions_for
from msanet.images import replacing
from msanet.models import Network, create_network, network_arguments
from msanet.muon import Muon
from msanet.predict import answers, predict
from msanet.preprocessing import Preprocessing, softmax
from msanet.scores import TITLES, Report, fit_temperature, score


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
        turn: of a convolution's weights a step, relative to their length, at `learning_rate`, see `Muon`; 0: they
            follow SGD as all else does.
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
        balance: of the expressions, see `EpochSampler`.
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
    turn: float = Field(0.0, ge=0, lt=1)
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
    return sorted(Path(str(file)).stem for file in (resources.files("msanet") / "recipes").iterdir())


def load_recipe(name_or_file: str | Path, settings: Sequence[str] = ()) -> Recipe:
    """A recipe by name or from a YAML file.

    Args:
        name_or_file: a name of `recipe_names()`, or a file.
        settings: changes "field=value", the value in YAML; a dot reaches into a group, "preprocessing.size=112".

    Raises:
        InputError: no such recipe, or a field or value that it cannot have.
    """
    shipped = Path(str(resources.files("msanet") / "recipes" / f"{name_or_file}.yaml"))
    path = shipped if shipped.is_file() else Path(name_or_file)
    if not path.is_file():
        raise InputError(
            f"there is no recipe {str(name_or_file)!r}: choose one of {', '.join(recipe_names())}, or a file"
        )
    try:
        values = yaml.safe_load(path.read_text())
        for setting in settings:
            name, equals, value = setting.partition("=")
            if not equals:
                raise InputError(f"--set {setting}: write field=value")
            group = values
            *groups, last = name.split(".")
            try:
                for part in groups:
                    group = group.setdefault(part, {})
                group[last] = yaml.safe_load(value)
            except (yaml.YAMLError, TypeError, AttributeError):
                raise InputError(f"--set {setting}: there is no group for {name}, or the value is not YAML") from None
        return Recipe(**values)
    except ValidationError as error:
        raise wrong_field(f"recipe {path.name},", Recipe, error) from None
    except (yaml.YAMLError, TypeError, AttributeError, UnicodeDecodeError):
        raise InputError(f"recipe {path} is not a YAML file of field: value lines") from None


def wrong_field(place: str, model: type[BaseModel], error: ValidationError) -> InputError:
    """A sentence about the first field of a file that is not as its model wants it."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return InputError(f"{place} field {where}: {first['msg']}; fields: {', '.join(model.model_fields)}")


class Average:
    """Exponential moving average of a network's weights and BatchNorm statistics.

    The decay starts low, min(decay, (1 + step) / (10 + step)), so that the random start is forgotten at once.
    """

    def __init__(self, network: Network, decay: float) -> None:
        self.network, self.decay, self.step = copy.deepcopy(network).eval(), decay, 0

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        decay = min(self.decay, (1 + self.step) / (10 + self.step))
        self.step += 1
        for mine, other in zip(self.network.state_dict().values(), network.state_dict().values(), strict=True):
            if mine.is_floating_point():
                mine.lerp_(other, 1 - decay)
            else:
                mine.copy_(other)


def mix(images: Tensor, targets: Tensor, strength: float, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """mixup (Zhang et al., ICLR 2018): each picture and target blended with another of the batch."""
    part = float(rng.beta(strength, strength))
    order = torch.from_numpy(rng.permutation(len(images))).to(images.device)
    return torch.lerp(images[order], images, part), torch.lerp(targets[order], targets, part)


class Run:
    """A training run: its folder, its state, and the loop.

    The folder holds recipe.yaml and environment.json, metrics.csv (a row an epoch), checkpoint.safetensors (to
    resume from), best.safetensors, last.safetensors, and the validation reports of both.

    Args:
        source: NAME:DIR of the data set.
        network: name of the network.
        recipe: what to do.
        output: the run's folder.
        resume: go on from the checkpoint, if there is one.
        extra: NAME:DIR of a second data set, whose training pictures are mixed in; "": none.

    Raises:
        InputError: the folder holds another run, or data, network or recipe cannot be used.
    """

    def __init__(
        self, source: str, network: str, recipe: Recipe, output: Path, resume: bool = False, extra: str = ""
    ) -> None:
        self.source, self.name, self.recipe, self.output, self.extra = source, network, recipe, output, extra
        self.expressions = expressions_for(recipe.num_classes)
        self.checkpoint = output / "checkpoint.safetensors"
        if self.checkpoint.exists() and not resume:
            raise InputError(f"{output} already holds a run: go on with --resume, or give another --output")
        self.accelerator = Accelerator(dataloader_config=DataLoaderConfiguration(split_batches=True))
        torch.manual_seed(recipe.seed)
        self.network = create_network(network, recipe.num_classes, **recipe.network)
        if recipe.initial_weights:
            weights.start_from(self.network, recipe.initial_weights)
        self.network.to(self.accelerator.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.teachers = Teachers(recipe.teachers, self.expressions, recipe.preprocessing, self.accelerator.device)
        self.average = Average(self.network, recipe.ema)
        self.optimizer = self.create_optimizer()
        self.rows: list[dict[str, Any]] = []
        if self.checkpoint.exists():
            self.restore()

    def create_optimizer(self) -> torch.optim.Optimizer:
        recipe = self.recipe
        options: dict[str, Any] = {
            "lr": recipe.learning_rate,
            "momentum": recipe.momentum,
            "nesterov": recipe.nesterov,
            "weight_decay": recipe.weight_decay,
        }
        if recipe.turn:
            return Muon(self.network, turn=recipe.turn, **options)
        return torch.optim.SGD(self.network.parameters(), fused=True, **options)

    def identity(self) -> dict[str, Any]:
        """What must be equal for a checkpoint to go on."""
        recipe = json.loads(self.recipe.model_dump_json())
        return {"data": self.source, "extra": self.extra, "network": self.name, "recipe": recipe}

    def restore(self) -> None:
        tensors, texts = weights.load_tensors(self.checkpoint)
        if "run" not in texts:
            raise InputError(f"{self.checkpoint} is not a checkpoint of a run: give another --output")
        state = json.loads(texts["run"])
        before = {"extra": "", **state["identity"]}
        with suppress(ValidationError):  # fields that are newer than the checkpoint had their defaults
            before["recipe"] = json.loads(Recipe(**before["recipe"]).model_dump_json())
        changed = [name for name, value in self.identity().items() if before[name] != value]
        if changed:
            raise InputError(
                f"{self.output} was started with another {changed[0]}: resume with the same, or start anew"
            )
        parts: dict[str, dict[str, Tensor]] = {"network": {}, "average": {}, "momentum": {}}
        for key, tensor in tensors.items():
            part, name = key.split("/")
            parts[part][name] = tensor.to(self.accelerator.device)
        self.network.load_state_dict(parts["network"])
        self.average.network.load_state_dict(parts["average"])
        self.average.step = state["step"]
        for name, parameter in self.network.named_parameters() if self.recipe.momentum else ():
            # The layout of the gradients decides the order of sums: keep it for bit-equal results.
            momentum = torch.empty_like(parameter).copy_(parts["momentum"][name])
            self.optimizer.state[parameter]["momentum_buffer"] = momentum
        self.rows = state["rows"]

    def save(self) -> None:
        buffers = {
            name: self.optimizer.state[parameter]["momentum_buffer"]
            for name, parameter in self.network.named_parameters()
            if self.recipe.momentum
        }
        parts = {
            "network": self.network.state_dict(),
            "average": self.average.network.state_dict(),
            "momentum": buffers,
        }
        tensors = {f"{part}/{name}": tensor for part, state in parts.items() for name, tensor in state.items()}
        state = {"identity": self.identity(), "rows": self.rows, "step": self.average.step}
        weights.save_tensors(self.checkpoint, tensors, {"run": json.dumps(state)})

    def train(self) -> Report:
        """Train to the last epoch; returns the best epoch's validation report."""
        recipe, accelerator = self.recipe, self.accelerator
        samples = self.aligned(self.select(data.read(self.source, "train", **recipe.data)))
        held_out = {name: recipe.data[name] for name in data.parse(self.source)[1].held_out if name in recipe.data}
        validation = self.aligned(self.select(data.read(self.source, "validation", **held_out)))
        extra = self.aligned(self.read_extra())
        self.describe(len(samples), len(validation), len(extra))
        label_share = 1 - recipe.teacher_share if recipe.teachers else 1.0
        dataset = FaceDataset(
            [*samples, *extra],
            recipe.preprocessing,
            self.expressions,
            soft=recipe.soft_targets,
            augmentation=recipe.augmentation,
            seed=recipe.seed,
            small=(recipe.small_size, recipe.small_epochs),
            shares=[label_share] * len(samples) + [1.0] * len(extra),
            opinions=self.opinions(samples),
        )
        share = recipe.extra_share if extra else 0.0
        sampler = EpochSampler(samples, recipe.balance, recipe.seed, extra, share)
        loader = training_loader(dataset, sampler, recipe.batch_size, recipe.workers)
        network, optimizer, loader = accelerator.prepare(self.network, self.optimizer, loader)
        console = Console()
        columns = (
            *Progress.get_default_columns()[:3],
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )
        with Progress(
            *columns, console=console, disable=not (accelerator.is_main_process and console.is_terminal)
        ) as bar:
            task = bar.add_task("training", total=recipe.epochs * len(loader), note="")
            bar.update(task, completed=len(self.rows) * len(loader))
            for epoch in range(len(self.rows), recipe.epochs):
                started = time.perf_counter()
                # accelerate counts a loader's passes from 0 and tells the sampler: after --resume that would be wrong.
                loader.set_epoch(epoch)
                loss = self.epoch(epoch, network, optimizer, loader, lambda: bar.advance(task))
                report = self.validate(validation)
                row = {
                    "epoch": epoch + 1,
                    "learning_rate": round(recipe.rate(epoch), 6),
                    "loss": round(loss, 5),
                    **{name: round(getattr(report, name), 5) for name in TITLES},
                    "seconds": round(time.perf_counter() - started, 1),
                }
                self.rows.append(row)
                if accelerator.is_main_process:
                    self.finish_epoch()
                note = f"validation {row['accuracy']:.4f}, average {row['average_accuracy']:.4f}"
                bar.update(task, note=note)
                if accelerator.is_main_process and not console.is_terminal:
                    print(" ".join(f"{name} {value}" for name, value in row.items()), flush=True)
        return self.finish(validation)

    def epoch(self, epoch: int, network: nn.Module, optimizer: Any, loader: Iterable[Any], advance: Any) -> float:
        """One pass; returns the mean loss."""
        recipe, losses = self.recipe, []
        steps = len(loader)  # type: ignore[arg-type]
        network.train()
        for step, (images, targets) in enumerate(loader):
            for group in optimizer.param_groups:
                group["lr"] = recipe.rate(epoch + step / steps)
            if recipe.mixup and epoch < recipe.epochs - recipe.plain_epochs:
                rng = np.random.default_rng((recipe.seed, epoch, step, self.accelerator.process_index))
                images, targets = mix(images, targets, recipe.mixup, rng)
            losses.append(self.learn(network, optimizer, images.to(memory_format=torch.channels_last), targets))
            self.average.update(self.network)
            advance()
        mean = float(self.accelerator.reduce(torch.stack(losses).mean(), "mean"))
        if not math.isfinite(mean):
            raise InputError(f"the loss is no longer a number in epoch {epoch + 1}: lower learning_rate")
        return mean

    def learn(self, network: nn.Module, optimizer: Any, images: Tensor, targets: Tensor) -> Tensor:
        """One step on pictures float32 [B, 3, S, S] and their targets [B, K]; returns the loss, detached."""
        loss = self.loss(network, images, targets)
        optimizer.zero_grad()
        self.accelerator.backward(loss)
        optimizer.step()
        return loss.detach()

    def loss(self, network: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
        """beta times the mean cross-entropy (Eq. 2), teachers' part of the targets included where it is still open."""
        recipe = self.recipe
        with torch.autocast(images.device.type, torch.bfloat16, enabled=recipe.precision == "bfloat16"):
            logits = network(images)
            if recipe.teachers and recipe.teacher_sees == "augmented":
                targets = targets + (1 - targets.sum(dim=1, keepdim=True)) * self.teachers(images)
        return recipe.beta * nn.functional.cross_entropy(
            logits.float(), targets, label_smoothing=recipe.label_smoothing
        )

    def select(self, samples: Sequence[Sample], source: str = "") -> list[Sample]:
        chosen = [sample for sample in samples if sample.expression in self.expressions]
        if not chosen:
            place = source or self.source
            raise InputError(f"{place} has no picture of {', '.join(self.expressions)}: check the folder")
        return chosen

    def read_extra(self) -> list[Sample]:
        """The extra data set's training pictures; none is held out, since validation is the main set's alone."""
        if not self.extra:
            return []
        options: dict[str, Any] = {"validation": 0} if "validation" in data.parse(self.extra)[1].held_out else {}
        with warnings.catch_warnings():  # it is not tested on
            warnings.simplefilter("ignore", NoSplitWarning)
            return self.select(data.read(self.extra, "train", **options), self.extra)

    def aligned(self, samples: Sequence[Sample]) -> list[Sample]:
        return aligned(samples, self.recipe.preprocessing, self.recipe.workers)

    def opinions(self, samples: Sequence[Sample]) -> np.ndarray | None:
        """The teachers' probabilities for the pictures as they are, float32 [N, K].

        None where they see something else, or no epoch is left.
        """
        recipe = self.recipe
        if not recipe.teachers or recipe.teacher_sees != "original" or len(self.rows) == recipe.epochs:
            return None
        batches = evaluation_loader(
            FaceDataset(samples, recipe.preprocessing, self.expressions), workers=recipe.workers
        )
        both_views = replace(recipe.preprocessing, mirror=True)
        return answers(self.teachers, batches, both_views, self.accelerator)

    def logits(self, samples: Sequence[Sample]) -> np.ndarray:
        return predict(
            self.average.network,
            samples,
            self.recipe.preprocessing,
            self.expressions,
            workers=self.recipe.workers,
            accelerator=self.accelerator,
        )

    def validate(self, samples: Sequence[Sample]) -> Report:
        logits = self.logits(samples)
        targets = targets_of(samples, self.expressions)
        self.temperature = fit_temperature(logits, targets)
        probabilities = softmax(logits, self.temperature)
        crops = ", each crop aligned" if self.recipe.preprocessing.align else ""
        protocol = f"{self.source.partition(':')[0]} validation split, {len(samples)} pictures{crops}"
        self.report = score(probabilities, targets, self.expressions, protocol, self.output.name)
        return self.report

    def finish_epoch(self) -> None:
        """Best weights first, then the table, last the checkpoint: killed in between, the epoch is done again."""
        scores = [row[self.recipe.select] for row in self.rows]
        if scores[-1] > max(scores[:-1], default=-1.0):
            self.write_weights("best")
        if len(self.rows) == self.recipe.epochs:
            self.write_weights("last")
        with replacing(self.output / "metrics.csv") as path, path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(self.rows[0]))
            writer.writeheader()
            writer.writerows(self.rows)
        self.save()

    def write_weights(self, which: str) -> None:
        training = {**self.identity(), "epoch": len(self.rows), **environment()}
        # with the defaults of today, so that the file outlives a change of them
        arguments = {**network_arguments(self.name), **self.recipe.network}
        metadata = weights.Metadata(
            name=self.output.name,
            network=self.name,
            arguments={name: value for name, value in arguments.items() if value is not None},
            expressions=self.expressions,
            preprocessing=self.recipe.preprocessing,
            temperature=self.temperature,
            training={**training, "data": self.source.partition(":")[0], "extra": Path(self.extra).name},
            scores={"validation": self.report.to_dict()},
        )
        weights.save(self.output / f"{which}.safetensors", self.average.network.state_dict(), metadata)
        self.report.save(self.output / which)

    def describe(self, training: int, validation: int, extra: int) -> None:
        """recipe.yaml and environment.json."""
        if not self.accelerator.is_main_process:
            return
        recipe = yaml.safe_dump(self.identity()["recipe"], sort_keys=False)
        facts = {**environment(), "data": self.source, "network": self.name}
        facts |= {"training_pictures": training, "validation_pictures": validation, "extra_pictures": extra}
        facts |= {"processes": self.accelerator.num_processes, "device": str(self.accelerator.device)}
        for name, text in (("recipe.yaml", recipe), ("environment.json", json.dumps(facts, indent=2) + "\n")):
            with replacing(self.output / name) as path:
                self.output.mkdir(parents=True, exist_ok=True)
                path.write_text(text)

    def finish(self, validation: Sequence[Sample]) -> Report:
        self.accelerator.wait_for_everyone()
        network, _ = weights.load(self.output / "best.safetensors")
        self.average.network.load_state_dict(network.state_dict())
        return self.validate(validation)


def environment() -> Mapping[str, Any]:
    """Versions, processor threads and commit: what a figure depends on beside the recipe."""
    names = ("msanet", "torch", "torchvision", "numpy", "opencv-python-headless", "accelerate")
    versions = {name: packages.version(name) for name in names if any(packages.distributions(name=name))}
    folder = Path(__file__).parent
    git = subprocess.run(["git", "-C", str(folder), "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    commit = git.stdout.strip() or None
    return {
        "python": platform.python_version(),
        "versions": versions,
        "threads": torch.get_num_threads(),
        "commit": commit,
    }
