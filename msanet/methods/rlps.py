"""RLPS (Li & Xu, Knowledge-Based Systems 2020): a selector learns which training pictures help.

Letters: B batch, N pictures, D features, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from msanet.data.dataset import Batch
from msanet.data.sample import Sample
from msanet.methods import method
from msanet.methods.method import Context, Method
from msanet.networks import feature_size
from msanet.networks.network import Network


class RLPS(Method):
    """Rounds of learning and of selection: pictures that the selector leaves out count nothing until the next round.

    "Deep reinforcement learning for robust emotional classification in facial expression recognition", read from the
    first author's public code and drawing, which differ: the drawing shows a policy that is rewarded, the code a
    classifier of pictures that are answered as labelled. All pictures pass through the network in every epoch, so that
    the selector judges them by what it says of them now, as they were augmented and with dropout. It begins with
    epochs on all pictures.

    Options:
        selector: "policy": the drawing: from the mean features of the pictures of the class kept so far and the
            picture's own, a linear softmax policy keeps or removes; it is rewarded by the mean of p(label) - 1/K over
            the kept, against the mean of all passes (REINFORCE, as in the code's baseline). "agreement": the code: a
            perceptron of the features learns whether the network answers as labelled.
        rounds: of selection, evenly over the epochs after the beginning.
        beginning: part of the epochs that learns from all pictures.
        passes: of the policy over each class, a round.
        rate: of the policy's steps.
        least: part of a class that the policy must keep for its choice to count; else the class keeps its last one.
        threshold: "agreement" keeps a picture whose probability is above it.
    """

    class Options(method.Options):
        selector: Literal["policy", "agreement"] = "policy"
        rounds: int = Field(10, ge=1)
        beginning: float = Field(0.5, ge=0, lt=1)
        passes: int = Field(3, ge=2)
        rate: float = Field(0.003 / 16, gt=0)
        least: float = Field(0.8, ge=0, le=1)
        threshold: float = Field(0.49, ge=0, le=1)

    per_picture = ("embedding", "label", "certainty", "agrees")

    def __init__(self, network: Network, options: Options, context: Context) -> None:
        super().__init__(network, options, context)
        size = feature_size(network, context.preprocessing.size)
        if options.selector == "policy":
            selector = torch.zeros(2 * size + 1)
        else:
            torch.manual_seed(context.seed)
            selector = parameters_to_vector(perceptron(size).parameters()).detach()
        self.selector: Tensor
        self.kept: Tensor
        # Buffers: the run's optimizer must not move the selector.
        self.register_buffer("selector", selector.to(context.device))
        self.register_buffer("kept", torch.empty(0, dtype=torch.bool, device=context.device))

    def fit(self, samples: Sequence[Sample], seed: int) -> None:
        super().fit(samples, seed)
        self.kept = torch.ones(len(samples), dtype=torch.bool, device=self.context.device)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        features = self.network.features(batch.images, **self.network_inputs(batch))
        logits = self.network.head(features).float()
        known = batch.index < len(self.kept)  # extra pictures are always kept
        kept = ~known | self.kept[batch.index.clamp(max=len(self.kept) - 1)]
        # The mean over the kept, none of whom may be here.
        loss = self.cross_entropy(logits[kept], batch.targets[kept]) if kept.any() else 0 * logits.sum()
        label = batch.targets.argmax(dim=1)
        probabilities = logits.detach().softmax(dim=1)
        return {
            "loss": loss,
            "logits": logits,
            "embedding": features.detach().float(),
            "label": label,
            "certainty": probabilities.gather(1, label[:, None])[:, 0],
            "agrees": probabilities.argmax(dim=1) == label,
            "kept_share": kept.float().mean(),
        }

    def selects(self, epoch: int) -> bool:
        """Whether a round of selection follows this epoch, from 0."""
        first = int(self.options.beginning * self.context.epochs)
        length = max((self.context.epochs - first) / self.options.rounds, 1.0)
        places = {first - 1 + int(number * length) for number in range(self.options.rounds)}
        return epoch in {max(place, 0) for place in places}

    def after_epoch(self, gathered: Mapping[str, Tensor]) -> None:
        if not self.selects(self.epoch):
            return
        index = gathered["index"].cpu().numpy()
        own = np.flatnonzero(index < len(self.kept))
        index, first = np.unique(index[own], return_index=True)  # a rare picture may come several times
        values = {name: gathered[name].cpu().numpy()[own][first] for name in self.per_picture}
        features, labels = values["embedding"].astype(np.float64), values["label"]
        kept = self.kept.cpu().numpy().copy()
        rng = np.random.default_rng((self.context.seed, self.epoch))
        if self.options.selector == "agreement":
            kept[index] = self.agreement(features, values["agrees"])
        else:
            weights = self.selector.double().cpu().numpy()
            for label in np.unique(labels):
                members = rng.permutation(np.flatnonzero(labels == label))
                merits = values["certainty"][members] - 1 / len(self.context.labels)
                weights = self.improve(weights, features[members], merits, rng)
                chosen = walk(weights, features[members])[0][0]
                if chosen.mean() >= self.options.least:
                    kept[index[members]] = chosen
            self.selector.copy_(torch.from_numpy(weights))
        self.kept.copy_(torch.from_numpy(kept))

    def improve(
        self, weights: np.ndarray, features: np.ndarray, merits: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        """The policy's weights [2D + 1] after a class's passes, over features [N, D] and merits [N] in this order."""
        kept, gradients = walk(weights, features, rng, self.options.passes)
        counts = kept.sum(axis=1)
        means = np.where(counts > 0, (kept * merits).sum(axis=1) / np.maximum(counts, 1), merits.mean())
        advantages = means - means.mean()
        improved: np.ndarray = weights + self.options.rate * (advantages[:, None] * gradients).sum(axis=0)
        return improved

    def agreement(self, features: np.ndarray, agrees: np.ndarray) -> np.ndarray:
        """bool [N]: which pictures the perceptron keeps, once it has learnt ten epochs more."""
        generator = torch.Generator().manual_seed(self.context.seed + self.epoch)
        inputs, wanted = torch.from_numpy(features).float(), torch.from_numpy(agrees).float()
        with torch.random.fork_rng(devices=[]):  # its first weights, drawn here, are replaced at once
            network = perceptron(inputs.shape[1])
        vector_to_parameters(self.selector.cpu(), network.parameters())
        optimizer = torch.optim.Adam(network.parameters(), 0.01)
        with torch.enable_grad():
            for _ in range(10):
                for rows in torch.randperm(len(inputs), generator=generator).chunk(max(len(inputs) // 16, 1)):
                    both = torch.stack([1 - wanted[rows], wanted[rows]], dim=1)
                    loss = nn.functional.binary_cross_entropy(network(inputs[rows]), both)
                    optimizer.zero_grad()
                    loss.backward()  # type: ignore[no-untyped-call]
                    optimizer.step()
        with torch.no_grad():
            self.selector.copy_(parameters_to_vector(network.parameters()))
            kept: np.ndarray = (network(inputs)[:, 1] > self.options.threshold).numpy()
        return kept


def perceptron(size: int) -> nn.Sequential:
    """The selector of the code: features [N, size] -> two independent probabilities, to remove and to keep."""
    widths = (size, 64, 32, 16, 8)
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(8, 2), nn.Sigmoid())


def walk(
    weights: np.ndarray, features: np.ndarray, rng: np.random.Generator | None = None, passes: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """The policy's decisions over pictures in their order.

    Args:
        weights: float64 [2D + 1]: of the kept pictures' mean, of the picture, and the bias.
        features: float64 [N, D].
        rng: decisions are drawn; without it, what is at least as probable is done.
        passes: independent walks.

    Returns:
        What was kept, bool [passes, N], and the gradient of the decisions' log-probability, [passes, 2D + 1].
    """
    size = features.shape[1]
    own = features @ weights[size:-1] + weights[-1]  # [N]
    sums, counts = np.zeros((passes, size)), np.zeros((passes, 1))
    kept, gradients = np.zeros((passes, len(features)), bool), np.zeros((passes, len(weights)))
    for place, picture in enumerate(features):
        means = sums / np.maximum(counts, 1)
        keeps = 1 / (1 + np.exp(-np.clip(means @ weights[:size] + own[place], -500, 500)))  # [passes]
        kept[:, place] = chosen = keeps >= 0.5 if rng is None else rng.random(passes) < keeps
        slope = (chosen - keeps)[:, None]
        gradients[:, :size] += slope * means
        gradients[:, size:-1] += slope * picture
        gradients[:, -1:] += slope
        sums += chosen[:, None] * picture
        counts += chosen[:, None]
    return kept, gradients
