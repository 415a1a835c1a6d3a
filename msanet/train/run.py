"""A training run: the loop that follows a recipe."""

from __future__ import annotations

import csv
import json
import math
import time
import warnings
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from accelerate import Accelerator
from accelerate.utils import DataLoaderConfiguration
from pydantic import ValidationError
from rich.console import Console
from rich.progress import Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor, nn

from msanet import data, weights
from msanet.data.alignment import aligned
from msanet.data.dataset import FaceDataset, evaluation_loader, training_loader
from msanet.data.sample import NoSplitWarning, Sample, targets_of
from msanet.data.sampling import EpochSampler
from msanet.errors import InputError
from msanet.files import replacing
from msanet.labels import expressions_for
from msanet.measure.calibration import fit_temperature
from msanet.measure.predict import answers, predict
from msanet.measure.scores import MEASURE_TITLES, Report, score
from msanet.methods.distill import Teachers
from msanet.methods.mixup import mix
from msanet.model import Metadata
from msanet.networks import create_network, network_arguments
from msanet.preprocessing import softmax
from msanet.train.average import Average
from msanet.train.environment import environment
from msanet.train.recipe import Recipe


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
        self.labels = expressions_for(recipe.num_classes)
        self.checkpoint = output / "checkpoint.safetensors"
        if self.checkpoint.exists() and not resume:
            raise InputError(f"{output} already holds a run: go on with --resume, or give another --output")
        self.accelerator = Accelerator(dataloader_config=DataLoaderConfiguration(split_batches=True))
        torch.manual_seed(recipe.seed)
        self.network = create_network(network, recipe.num_classes, **recipe.network)
        if recipe.initial_weights:
            weights.start_from(self.network, recipe.initial_weights)
        self.network.to(self.accelerator.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.teachers = Teachers(recipe.teachers, self.labels, recipe.preprocessing, self.accelerator.device)
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
            self.labels,
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
                    **{name: round(getattr(report, name), 5) for name in MEASURE_TITLES},
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
        chosen = [sample for sample in samples if sample.label in self.labels]
        if not chosen:
            place = source or self.source
            raise InputError(f"{place} has no picture of {', '.join(self.labels)}: check the folder")
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
        batches = evaluation_loader(FaceDataset(samples, recipe.preprocessing, self.labels), workers=recipe.workers)
        both_views = replace(recipe.preprocessing, mirror=True)
        return answers(self.teachers, batches, both_views, self.accelerator)

    def logits(self, samples: Sequence[Sample]) -> np.ndarray:
        return predict(
            self.average.network,
            samples,
            self.recipe.preprocessing,
            self.labels,
            workers=self.recipe.workers,
            accelerator=self.accelerator,
        )

    def validate(self, samples: Sequence[Sample]) -> Report:
        logits = self.logits(samples)
        targets = targets_of(samples, self.labels)
        self.temperature = fit_temperature(logits, targets)
        probabilities = softmax(logits, self.temperature)
        crops = ", each crop aligned" if self.recipe.preprocessing.align else ""
        protocol = f"{self.source.partition(':')[0]} validation split, {len(samples)} pictures{crops}"
        self.report = score(probabilities, targets, self.labels, protocol, self.output.name)
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
        metadata = Metadata(
            name=self.output.name,
            network=self.name,
            arguments={name: value for name, value in arguments.items() if value is not None},
            expressions=self.labels,
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
