"""CutMix, Muon, RandAugment and SAM: each beside the same run without it, from scratch on FERPlus.

    python benchmarks/regularizers.py cutmix --data ferplus:DIR --output RUN [--set epochs=16 ...] [--resume]

The recipe is `default` without mixup at 48 x 48 in the order of Eq. (1), 10 epochs. CutMix is a method, as a plug-in's
would be; Muon and SAM change `Run`; RandAugment is a field of `Augmentation`.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from muon import Muon
from pydantic import Field
from torch import Tensor, nn

from msanet.data.augmentation import Augmentation
from msanet.data.dataset import Batch
from msanet.methods import METHODS, method
from msanet.methods.method import Wrapper
from msanet.train.recipe import Recipe, load_recipe
from msanet.train.run import Run

SETTINGS = [
    "network.hierarchy=equation",
    "data.protocol=top",
    "preprocessing.size=48",
    "preprocessing.resize=54",
    "small_epochs=0",
    "method={name: plain}",
    "epochs=10",
]


class CutMix(Wrapper):
    """CutMix (Yun et al., ICCV 2019) in half of the steps: a rectangle of each picture comes from another one."""

    class Options(method.Options):
        inner: dict[str, Any] = Field(default_factory=lambda: {"name": "plain"})

    def change(self, batch: Batch) -> Batch:
        rng = np.random.default_rng((self.context.seed, *batch.step, self.context.process))
        if not self.training or rng.random() >= 0.5:
            return batch
        part, size = rng.random(), batch.images.shape[-1]  # Beta(1, 1) is uniform
        top, left = rng.integers(size, size=2)
        half = round(size * (1 - part) ** 0.5 / 2)
        rows, columns = (slice(max(place - half, 0), place + half) for place in (top, left))
        order = torch.from_numpy(rng.permutation(len(batch.images)))
        images = batch.images.clone()
        images[..., rows, columns] = batch.images[order][..., rows, columns]
        kept = 1 - images[0, 0, rows, columns].numel() / size**2
        return replace(batch, images=images, targets=torch.lerp(batch.targets[order], batch.targets, kept))


METHODS["cutmix"] = CutMix


class SAMRun(Run):
    """Sharpness-aware minimisation (Foret et al., ICLR 2021): the gradient is taken where the loss is worst nearby."""

    radius = 0.05

    def learn(self, method: nn.Module, optimizer: Any, batch: Batch) -> dict[str, Tensor]:
        parameters, buffers = list(self.network.parameters()), list(self.network.buffers())
        terms: dict[str, Tensor] = method(batch)
        self.accelerator.backward(terms["loss"])
        with torch.no_grad():
            gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
            length = torch.linalg.vector_norm(torch.stack([gradient.norm() for gradient in gradients]))
            steps = [gradient * (self.radius / (length + 1e-12)) for gradient in gradients]
            for parameter, step in zip(parameters, steps, strict=True):
                parameter.add_(step)
            # BatchNorm's statistics belong to the weights as they are, not to the worst ones nearby.
            kept = [buffer.clone() for buffer in buffers]
        optimizer.zero_grad()
        self.accelerator.backward(method(batch)["loss"])
        with torch.no_grad():
            for parameter, step in zip(parameters, steps, strict=True):
                parameter.sub_(step)
            for buffer, old in zip(buffers, kept, strict=True):
                buffer.copy_(old)
        optimizer.step()
        optimizer.zero_grad()
        return terms


class MuonRun(Run):
    """Convolutions turn by orthogonal steps (muon.py)."""

    def create_optimizer(self) -> torch.optim.Optimizer:
        recipe = self.recipe
        return Muon(
            self.network,
            lr=recipe.learning_rate,
            momentum=recipe.momentum,
            nesterov=recipe.nesterov,
            weight_decay=recipe.weight_decay,
            turn=0.03,
        )


def with_randaugment(recipe: Recipe) -> Recipe:
    """The recipe with RandAugment in place of its own changes of place and light; flips and erasing stay."""
    kept = recipe.augmentation
    return recipe.model_copy(update={"augmentation": Augmentation(flip=kept.flip, erase=kept.erase, randaugment=9)})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("method", choices=["none", "cutmix", "muon", "randaugment", "sam"])
    parser.add_argument("--data", required=True, metavar="NAME:DIR")
    parser.add_argument("--output", required=True, type=Path)
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE")
    parser.add_argument("--resume", action="store_true")
    arguments = parser.parse_args()

    recipe = load_recipe("default", [*SETTINGS, *arguments.set])
    if arguments.method == "randaugment":
        recipe = with_randaugment(recipe)
    if arguments.method == "cutmix":
        recipe = load_recipe("default", [*SETTINGS, "method={name: cutmix}", *arguments.set])
    run = {"muon": MuonRun, "sam": SAMRun}.get(arguments.method, Run)
    report = run(arguments.data, "msanet", recipe, arguments.output, arguments.resume).train()
    assert report is not None
    print(f"{arguments.method}: validation {report.accuracy:.4f}, average {report.average_accuracy:.4f}")


if __name__ == "__main__":
    main()
