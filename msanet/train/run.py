"""A training run: the loop that follows a recipe."""

from __future__ import annotations

import csv
import json
import math
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed
import yaml
from accelerate import Accelerator
from accelerate.tracking import get_available_trackers
from accelerate.utils import DataLoaderConfiguration
from filelock import FileLock, Timeout
from pydantic import ValidationError
from rich.console import Console
from rich.progress import Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor, nn

from msanet import weights
from msanet.data.alignment import aligned
from msanet.data.dataset import Batch, FaceDataset, training_loader
from msanet.data.sample import Sample, targets_of
from msanet.data.sampling import EpochSampler
from msanet.errors import InputError
from msanet.files import replacing
from msanet.measure.calibration import fit_temperature
from msanet.measure.evaluate import alignment_counts
from msanet.measure.predict import predict
from msanet.measure.scores import MEASURE_TITLES, Report, score
from msanet.methods import Context, create_method
from msanet.model import Metadata
from msanet.networks import create_network, fitting_arguments, network_arguments
from msanet.preprocessing import softmax
from msanet.train.average import Average
from msanet.train.checkpoint import Checkpoint, save_checkpoint
from msanet.train.environment import check_processes, environment, share_statistics
from msanet.train.interruption import Terminated, listening
from msanet.train.optimizer import create_optimizer
from msanet.train.pictures import Pictures
from msanet.train.recipe import Recipe

FIRST_STEPS = 20
"""Steps after which, without a terminal, it is said how long an epoch takes."""


class Run:
    """A training run: its folder, its state, and the loop.

    The folder holds recipe.yaml and environment.json, metrics.csv (a row an epoch), checkpoint.safetensors (to
    resume from), best.safetensors, last.safetensors, and the validation reports of both. A resumed run ends bit for bit
    as an unbroken one on the same machine with as many threads and processes; else within rounding.

    Args:
        source: NAME:DIR of the data set.
        network: name of the network.
        recipe: what to do.
        output: the run's folder.
        resume: go on from the checkpoint, if there is one.
        extra: NAME:DIR of a second data set, whose training pictures are mixed in; "": none.
        unlabelled: NAME:DIR of a data set whose training pictures a method may use without their labels; "": none.
        trackers: names of accelerate's trackers, such as tensorboard, which get each row of metrics.csv.

    Raises:
        InputError: the folder holds another run, or data, network or recipe cannot be used.
    """

    def __init__(
        self,
        source: str,
        network: str,
        recipe: Recipe,
        output: Path,
        resume: bool = False,
        extra: str = "",
        unlabelled: str = "",
        trackers: Sequence[str] = (),
    ) -> None:
        self.source, self.name, self.recipe, self.output = source, network, recipe, output
        self.extra, self.unlabelled = extra, unlabelled
        self.checkpoint = output / "checkpoint.safetensors"
        if self.checkpoint.exists() and not resume:
            raise InputError(f"{output} already holds a run: go on with --resume, or give another --output")
        self.accelerator = self.create_accelerator(trackers)
        self.restored = Checkpoint(self.checkpoint) if self.checkpoint.exists() else None
        self.check_identity()
        self.pictures = Pictures.read(source, recipe, extra, unlabelled)
        self.labels = self.pictures.labels
        torch.manual_seed(recipe.seed)
        np.random.seed(recipe.seed)  # noqa: NPY002  # of libraries that draw from it
        # a recipe for several networks may name arguments that only some of them have
        self.arguments = fitting_arguments(network, recipe.network)
        self.network = create_network(network, len(self.labels), **self.arguments)
        self.started = ""
        if recipe.initial_weights:
            self.started = weights.start_from(
                self.network, network, self.arguments, self.labels, recipe.initial_weights
            )
        self.network.to(self.accelerator.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.method = create_method(recipe.method, self.network, self.context())
        self.method.to(self.accelerator.device)
        self.average = Average(self.network, recipe.ema)
        if self.accelerator.num_processes > 1:
            share_statistics(self.method, self.accelerator.device)
        self.optimizer = self.create_optimizer()
        self.rows: list[dict[str, Any]] = []
        self.report: Report | None = None
        self.temperature = 1.0
        if self.restored is not None:
            self.restore(self.restored)

    def create_accelerator(self, trackers: Sequence[str]) -> Accelerator:
        known = {str(item) for item in get_available_trackers()}  # members of an enumeration, which equal no text
        missing = [name for name in trackers if name not in known]
        if missing:
            raise InputError(
                f"tracker {missing[0]} is not installed, or accelerate knows none of that name: install it"
            )
        half = self.recipe.precision == "float16"
        accelerator = Accelerator(
            mixed_precision="fp16" if half else "no",
            gradient_accumulation_steps=self.recipe.accumulate,
            dataloader_config=DataLoaderConfiguration(split_batches=True),
            log_with=list(trackers) or None,
            project_dir=self.output if trackers else None,
        )
        check_processes(accelerator, self.recipe.batch_size)
        if half and accelerator.device.type == "cpu":
            raise InputError("precision float16 is for GPUs: choose bfloat16 or float32")
        return accelerator

    def context(self) -> Context:
        recipe, accelerator = self.recipe, self.accelerator
        return Context(
            labels=self.labels,
            preprocessing=recipe.preprocessing,
            epochs=recipe.epochs,
            beta=recipe.beta,
            label_smoothing=recipe.label_smoothing,
            seed=recipe.seed,
            workers=recipe.workers,
            process=accelerator.process_index,
            device=accelerator.device,
        )

    def create_optimizer(self) -> torch.optim.Optimizer:
        return create_optimizer(self.method, self.recipe)

    def identity(self) -> dict[str, Any]:
        """What must be equal for a checkpoint to go on."""
        return {
            "data": self.source,
            "extra": self.extra,
            "unlabelled": self.unlabelled,
            "network": self.name,
            "recipe": self.recipe.identity(),
        }

    def check_identity(self) -> None:
        """A checkpoint must be of this very run.

        Raises:
            InputError: it is of another one.
        """
        if self.restored is None:
            return
        before = {"extra": "", "unlabelled": "", **self.restored.state["identity"]}
        with suppress(ValidationError):  # fields that are newer than the checkpoint had their defaults
            before["recipe"] = Recipe(**before["recipe"]).identity()
        changed = [name for name, value in self.identity().items() if before[name] != value]
        if changed:
            raise InputError(
                f"{self.output} was started with another {changed[0]}: resume with the same, or start anew"
            )

    def restore(self, checkpoint: Checkpoint) -> None:
        checkpoint.restore(self.method, self.average.network, self.optimizer)
        self.average.step = checkpoint.state["average_step"]
        self.rows = checkpoint.state["rows"]
        self.temperature = checkpoint.state["temperature"]

    def save(self, step: int = 0, seen: Mapping[str, Tensor] | None = None) -> None:
        """Write the checkpoint: after an epoch, or after so many steps of one, with what was seen in it."""
        state = {
            "identity": self.identity(),
            "pictures": self.fingerprint,
            "rows": self.rows,
            "temperature": self.temperature,
            "average_step": self.average.step,
            "step": step,
            **{f"seen_{name}": value for name, value in (seen or {}).items()},
        }
        save_checkpoint(self.checkpoint, self.method, self.average.network, self.optimizer, state)

    # -- training -----------------------------------------------------------------------------------------------------

    def train(self) -> Report | None:
        """Train to the last epoch; returns the best epoch's validation report, None where nothing is held out.

        Raises:
            InputError: another process trains in the folder, the data cannot be used, or the loss is no number.
            Terminated: by SIGTERM or Ctrl-C, after the step was finished and the checkpoint written.
        """
        with self.locked(), listening() as asked:
            return self.learn_all(asked)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """The folder for this run alone."""
        if not self.accelerator.is_main_process:
            yield
            return
        new = not self.output.exists()
        try:
            self.output.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.output / "run.lock")
            lock.acquire(timeout=0)
        except Timeout:  # which is an OSError too
            raise InputError(f"{self.output} is being trained in by another process: give another --output") from None
        except OSError as error:
            raise InputError(f"{self.output} cannot be written ({error.strerror}): choose another --output") from None
        try:
            yield
        finally:
            with suppress(OSError):  # while it is held: afterwards it may be another run's
                (self.output / "run.lock").unlink(missing_ok=True)
            lock.release()
            if new and not any(self.output.iterdir()):
                self.output.rmdir()

    def learn_all(self, asked: list[int]) -> Report | None:
        recipe, accelerator = self.recipe, self.accelerator
        if "unlabelled" in self.method.inputs and not self.pictures.unlabelled:
            name = recipe.method["name"]
            raise InputError(f"method {name} wants pictures without labels too: give --unlabelled NAME:DIR")
        self.check_pictures()
        pictures = self.pictures.each(self.aligned)
        training, extra = pictures.training, pictures.extra
        self.describe()
        inputs = (*self.network.inputs, *self.method.inputs)
        dataset = FaceDataset(
            [*training, *extra],
            recipe.preprocessing,
            self.labels,
            soft=recipe.soft_targets,
            augmentation=recipe.augmentation,
            seed=recipe.seed,
            small=(recipe.small_size, recipe.small_epochs),
            inputs=inputs,
            unlabelled=pictures.unlabelled,
        )
        sampler = EpochSampler(training, recipe.balance, recipe.seed, extra, recipe.extra_share if extra else 0.0)
        loader = training_loader(dataset, sampler, recipe.batch_size, recipe.workers)
        if self.restored is None:
            self.fit(training)
        prepared = accelerator.prepare(self.method, self.optimizer, loader)
        console = Console()
        columns = (
            *Progress.get_default_columns()[:3],
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )
        quiet = not (accelerator.is_main_process and console.is_terminal)
        with Progress(*columns, console=console, disable=quiet) as bar:
            task = bar.add_task("training", total=recipe.epochs * len(loader), note="")
            bar.update(task, completed=len(self.rows) * len(loader))
            for epoch in range(len(self.rows), recipe.epochs):
                if self.stopped():
                    break
                started = time.perf_counter()
                sampler.chosen = self.method.sampler([*training, *extra], epoch)
                terms = self.epoch(epoch, prepared, sampler, asked, bar, task)
                self.finish_epoch(epoch, terms, pictures.validation, started, bar, task)
        return self.finish(pictures.validation)

    def fit(self, training: Sequence[Sample]) -> None:
        """What a method finds before the first step, by the first process, for all of them."""
        if self.accelerator.is_main_process:
            self.method.fit(training, self.recipe.seed)
        if self.accelerator.num_processes > 1:
            buffers = [{name: value.cpu() for name, value in self.method.named_buffers()}]
            torch.distributed.broadcast_object_list(buffers)
            for name, value in buffers[0].items():
                *path, last = name.split(".")
                setattr(self.method.get_submodule(".".join(path)), last, value.to(self.accelerator.device))
        self.average = Average(self.network, self.recipe.ema)  # the one from before lacks what the network has found

    def epoch(
        self,
        epoch: int,
        prepared: tuple[nn.Module, Any, Any],
        sampler: EpochSampler,
        asked: list[int],
        bar: Progress,
        task: TaskID,
    ) -> dict[str, float]:
        """One pass; returns the mean of each term that the method gives."""
        recipe, accelerator = self.recipe, self.accelerator
        method, optimizer, loader = prepared
        sampler.start = 0
        steps = len(loader)
        seen: dict[str, list[Tensor]] = defaultdict(list)
        checkpoint, self.restored = self.restored, None
        first = 0 if checkpoint is None else int(checkpoint.state["step"])
        if checkpoint is not None and first:
            for name, value in checkpoint.state.items():
                if name.startswith("seen_"):
                    seen[name.removeprefix("seen_")].append(value)
            sampler.start = first * recipe.batch_size
        elif checkpoint is not None:
            checkpoint.restore_random()
        # accelerate counts a loader's passes from 0 and tells the sampler: after --resume that would be wrong.
        loader.set_epoch(epoch)
        self.method.epoch = epoch
        self.method.train()
        for module in self.network.modules():  # frozen whole: its BatchNorms keep their statistics
            own = list(module.parameters())
            if own and not any(parameter.requires_grad for parameter in own):
                module.eval()
        began = saved = time.monotonic()
        for step, item in enumerate(loader, first):
            if checkpoint is not None and step == first > 0:
                checkpoint.restore_random()  # only now: the loader has drawn a number when it began
            batch = Batch.of(item, (epoch, step))
            for group in optimizer.param_groups:
                group["lr"] = recipe.rate(epoch + step / steps) * group.get("factor", 1.0)
            terms = self.learn(method, optimizer, batch)
            if accelerator.sync_gradients:
                self.average.update(self.network)
            if self.method.per_picture:
                seen["index"].append(batch.index.detach())
            for name, value in terms.items():
                if name != "logits":
                    seen[name].append(value.detach() if name in self.method.per_picture else value.detach()[None])
            bar.advance(task)
            if step - first == FIRST_STEPS and epoch == len(self.rows) and not self.rows:
                minutes = (time.monotonic() - began) / FIRST_STEPS * steps / 60
                self.say(f"an epoch of {steps} steps takes about {minutes:.1f} minutes")
            if accelerator.num_processes == 1 and step + 1 < steps:
                due = recipe.checkpoint_minutes and time.monotonic() - saved > 60 * recipe.checkpoint_minutes
                if asked or due:
                    self.save(step + 1, {name: torch.cat(values) for name, values in seen.items()})
                    saved = time.monotonic()
            if asked:
                raise Terminated(asked[0])
        return self.gather({name: torch.cat(values) for name, values in seen.items()}, epoch)

    def gather(self, seen: dict[str, Tensor], epoch: int) -> dict[str, float]:
        """Means of the terms over all processes; what was seen of pictures goes to the method."""
        accelerator = self.accelerator
        names = {"index", *self.method.per_picture}
        if self.method.per_picture:
            gathered = {name: accelerator.gather(value) for name, value in seen.items() if name in names}
            self.method.after_epoch(gathered)
        means = {
            name: float(accelerator.reduce(value.float().mean(), "mean"))
            for name, value in seen.items()
            if name not in names
        }
        if not math.isfinite(means["loss"]):
            raise InputError(f"the loss is no longer a number in epoch {epoch + 1}: lower learning_rate")
        return means

    def learn(self, method: nn.Module, optimizer: Any, batch: Batch) -> dict[str, Tensor]:
        """One step on a batch; returns what the method says of it."""
        enabled = self.recipe.precision == "bfloat16"
        with self.accelerator.accumulate(method):
            with torch.autocast(batch.images.device.type, torch.bfloat16, enabled=enabled):
                terms: dict[str, Tensor] = method(batch)
            self.accelerator.backward(terms["loss"])
            optimizer.step()
            optimizer.zero_grad()
        return terms

    def check_pictures(self) -> None:
        """The pictures must be those that the run began with.

        Raises:
            InputError: they have changed since.
        """
        self.fingerprint = self.pictures.fingerprint
        if self.restored is not None and self.restored.state["pictures"] != self.fingerprint:
            before, now = (text.split()[0] for text in (self.restored.state["pictures"], self.fingerprint))
            raise InputError(
                f"the pictures of {self.source} have changed since this run began (there were {before}, now {now}): "
                "bring them back, or start anew"
            )

    def aligned(self, samples: Sequence[Sample]) -> list[Sample]:
        """The first process looks for the faces, the others read what it found."""
        landmarks = "landmarks" in (*self.network.inputs, *self.method.inputs)
        with self.accelerator.local_main_process_first():
            return aligned(samples, self.recipe.preprocessing, self.recipe.workers, landmarks)

    # -- after an epoch -----------------------------------------------------------------------------------------------

    def logits(self, samples: Sequence[Sample]) -> Any:
        """float32 [N, K] of the averaged network, in the samples' order."""
        return predict(
            self.average.network,
            samples,
            self.recipe.preprocessing,
            self.labels,
            workers=self.recipe.workers,
            accelerator=self.accelerator,
        )

    def validate(self, samples: Sequence[Sample]) -> float:
        """Score the averaged network; the mean cross-entropy of its logits."""
        logits = self.logits(samples)
        targets = targets_of(samples, self.labels)
        self.temperature = fit_temperature(logits, targets)
        probabilities = softmax(logits, self.temperature)
        crops = ", each crop aligned" if self.recipe.preprocessing.align else ""
        name = self.source.partition(":")[0]
        protocol = f"{name} validation split, {len(samples)} pictures{crops}"
        facts = {"data": name, "split": "validation", **alignment_counts(samples, self.recipe.preprocessing)}
        self.report = score(probabilities, targets, self.labels, protocol, self.output.name, **facts)
        return float(nn.functional.cross_entropy(torch.from_numpy(logits), torch.from_numpy(targets)))

    def finish_epoch(
        self,
        epoch: int,
        terms: Mapping[str, float],
        validation: Sequence[Sample],
        started: float,
        bar: Progress,
        task: TaskID,
    ) -> None:
        """Best weights first, then the table, last the checkpoint: killed in between, the epoch is done again."""
        row: dict[str, Any] = {"epoch": epoch + 1, "learning_rate": round(self.recipe.rate(epoch + 0.5), 6)}
        row |= {name: round(value, 5) for name, value in terms.items()}
        if validation:
            row["validation_loss"] = round(self.validate(validation), 5)
            row |= {name: round(getattr(self.report, name), 5) for name in MEASURE_TITLES}
        row["seconds"] = round(time.perf_counter() - started, 1)
        self.rows.append(row)
        if self.accelerator.log_with:
            numbers = {name: value for name, value in row.items() if name != "epoch"}
            self.accelerator.log(numbers, step=epoch + 1)
        if self.accelerator.is_main_process:
            self.write_epoch()
        score_words = f"validation {row['accuracy']:.4f}, average {row['average_accuracy']:.4f}" if validation else ""
        bar.update(task, note=score_words)
        if not bar.console.is_terminal:
            self.say(" ".join(f"{name} {value}" for name, value in row.items()))

    def write_epoch(self) -> None:
        select = self.recipe.select
        scores = [row.get(select, row["epoch"]) for row in self.rows]  # nothing held out: the last is the result
        if scores[-1] > max(scores[:-1], default=-1.0):
            self.write_weights("best")
        if len(self.rows) == self.recipe.epochs or self.stopped():
            self.write_weights("last")
        names = dict.fromkeys(name for row in self.rows for name in row)
        with replacing(self.output / "metrics.csv") as path, path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(names))
            writer.writeheader()
            writer.writerows(self.rows)
        self.save()

    def stopped(self) -> bool:
        """Whether the score has not risen for as long as the recipe waits."""
        patience, select = self.recipe.patience, self.recipe.select
        scores = [float(row[select]) for row in self.rows if select in row]
        if not patience or not scores:
            return False
        return len(scores) - 1 - scores.index(max(scores)) >= patience

    def write_weights(self, which: str) -> None:
        training = {**self.identity(), "epoch": len(self.rows), **environment()}
        # with the defaults of today, so that the file outlives a change of them
        arguments = {**network_arguments(self.name), **self.arguments}
        metadata = Metadata(
            name=self.output.name,
            network=self.name,
            arguments={name: value for name, value in arguments.items() if value is not None},
            expressions=self.labels,
            preprocessing=self.recipe.preprocessing,
            temperature=self.temperature,
            inputs=self.network.inputs,
            training={
                **training,
                "data": self.source.partition(":")[0],
                "extra": Path(self.extra).name,
                "unlabelled": Path(self.unlabelled).name,
            },
            scores={} if self.report is None else {"validation": self.report.to_dict()},
        )
        weights.save(self.output / f"{which}.safetensors", self.average.network.state_dict(), metadata)
        if self.report is not None:
            self.report.save(self.output / which)

    def describe(self) -> None:
        """recipe.yaml and environment.json; and what is about to happen, in a sentence."""
        parts = ("training", "validation", "extra")
        training, validation, extra = (len(getattr(self.pictures, part)) for part in parts)
        parameters = sum(parameter.numel() for parameter in self.network.parameters())
        device, processes = str(self.accelerator.device), self.accelerator.num_processes
        words = [f"{training:,} training", f"{validation:,} validation", *([f"{extra:,} extra"] if extra else [])]
        self.say(
            f"{', '.join(words)} pictures of {', '.join(self.labels)}; {self.name}, {parameters:,} parameters, method "
            f"{self.recipe.method['name']}; {device}, {processes} process{'es' * (processes > 1)}, "
            f"{torch.get_num_threads()} threads"
        )
        if self.started:
            self.say(self.started)
        if not self.accelerator.is_main_process:
            return
        recipe = yaml.safe_dump(json.loads(self.recipe.model_dump_json()), sort_keys=False)
        facts = {**environment(), "data": self.source, "network": self.name}
        facts |= {"training_pictures": training, "validation_pictures": validation, "extra_pictures": extra}
        facts |= {"processes": processes, "device": device}
        for name, text in (("recipe.yaml", recipe), ("environment.json", json.dumps(facts, indent=2) + "\n")):
            with replacing(self.output / name) as path:
                path.write_text(text)
        if self.accelerator.log_with:
            self.accelerator.init_trackers(self.output.name, {"network": self.name, "data": self.source})

    def say(self, sentence: str) -> None:
        if self.accelerator.is_main_process:
            print(sentence, flush=True)

    def finish(self, validation: Sequence[Sample]) -> Report | None:
        self.accelerator.wait_for_everyone()
        network, metadata = weights.load(self.output / "best.safetensors")
        self.average = Average(network.to(self.accelerator.device), 0.0)
        self.temperature = metadata.temperature
        if validation:
            self.validate(validation)
        return self.report
