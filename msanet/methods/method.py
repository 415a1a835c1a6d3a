"""What a method owes: a way of training a network.

Letters: B batch, K classes, D features.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from msanet.data.dataset import Batch, FaceDataset, evaluation_loader
from msanet.data.sample import Sample
from msanet.networks.network import Network
from msanet.preprocessing import Preprocessing


@dataclass(frozen=True)
class Context:
    """What a method may know of the run that it is part of.

    Args:
        labels: names of the K classes.
        preprocessing: of the network.
        epochs: of the whole run.
        beta: factor of the loss.
        label_smoothing: part of the target that is spread over all classes.
        seed: of the run.
        workers: loading processes.
        process: this process's number, from 0.
        device: of the network.
    """

    labels: tuple[str, ...]
    preprocessing: Preprocessing
    epochs: int = 1
    beta: float = 1.0
    label_smoothing: float = 0.0
    seed: int = 0
    workers: int = 0
    process: int = 0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))


class Options(BaseModel):
    """Named arguments of a method, as a recipe gives them."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Method(nn.Module):
    """A way of training. It owns the network; its own parameters join the optimizer, its buffers the checkpoint.

    Args:
        network: which is trained.
        options: an object of its own class `Options`.
        context: of the run.

    Attributes:
        inputs: what it wants of a batch beside the network's `inputs`: "landmarks", "unlabelled".
        per_picture: names among what `forward` gives of tensors [B, ...] that `after_epoch` gets.
        epoch: the present one, from 0; the run sets it.
    """

    Options: type[BaseModel] = Options
    inputs: tuple[str, ...] = ()
    per_picture: tuple[str, ...] = ()

    def __init__(self, network: Network, options: Any, context: Context) -> None:
        super().__init__()
        self.options, self.context, self.epoch = options, context, 0
        self.network = network

    def fit(self, samples: Sequence[Sample], seed: int) -> None:
        """Find what has to be known before the first step, from the training pictures; it goes into buffers.

        The first process does it, the others get its buffers. Here it is what the network has to find; a method that
        has more calls this too.
        """
        dataset = FaceDataset(samples, self.context.preprocessing, self.context.labels)
        loader = evaluation_loader(dataset, workers=self.context.workers)
        device = self.context.device
        batches = ((batch.images.to(device), batch.targets.argmax(dim=1)) for batch in map(Batch.of, loader))
        with torch.no_grad():
            self.network.fit(batches, seed)

    def sampler(self, samples: Sequence[Sample], epoch: int) -> Sequence[int] | None:
        """The indices of an epoch's pictures in their order; None: as the recipe draws them."""
        return None

    @abstractmethod
    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """A batch -> "loss" (float32 scalar), "logits" [B, K], what `per_picture` names, and scalars to be logged."""

    def after_epoch(self, gathered: Mapping[str, Tensor]) -> None:
        """Learn from an epoch: "index" int64 [N] and what `per_picture` names, [N, ...], of all processes."""

    def logits(self, batch: Batch) -> Tensor:
        """The network's, float32 [B, K]."""
        return self.network(batch.images, **self.network_inputs(batch)).float()

    def network_inputs(self, batch: Batch) -> dict[str, Tensor]:
        """What the network wants beside the pictures."""
        return {name: batch.inputs[name] for name in self.network.inputs}

    def cross_entropy(self, logits: Tensor, targets: Tensor) -> Tensor:
        """beta times the mean cross-entropy (Eq. 2 of the paper) of float32 [B, K] against targets [B, K]."""
        smoothing = self.context.label_smoothing
        return self.context.beta * nn.functional.cross_entropy(logits, targets, label_smoothing=smoothing)


class Wrapper(Method):
    """A method that changes the batch on its way into another one, its option `inner`.

    Args:
        inner: the other method, which owns the network.
        options: an object of its own class `Options`.
        context: of the run.
    """

    def __init__(self, inner: Method, options: Any, context: Context) -> None:
        nn.Module.__init__(self)
        self.options, self.context, self._epoch = options, context, 0
        self.inner = inner
        self.inputs, self.per_picture = inner.inputs, inner.per_picture

    @property
    def network(self) -> Network:  # type: ignore[override]
        return self.inner.network

    @property
    def epoch(self) -> int:
        return self._epoch

    @epoch.setter
    def epoch(self, value: int) -> None:
        self._epoch = self.inner.epoch = value

    def fit(self, samples: Sequence[Sample], seed: int) -> None:
        self.inner.fit(samples, seed)

    def sampler(self, samples: Sequence[Sample], epoch: int) -> Sequence[int] | None:
        return self.inner.sampler(samples, epoch)

    @abstractmethod
    def change(self, batch: Batch) -> Batch:
        """The batch that the inner method gets."""

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        result: dict[str, Tensor] = self.inner(self.change(batch))
        return result

    def after_epoch(self, gathered: Mapping[str, Tensor]) -> None:
        self.inner.after_epoch(gathered)


def with_targets(batch: Batch, targets: Tensor) -> Batch:
    """The batch with other targets, float32 [B, K]."""
    return replace(batch, targets=targets)
