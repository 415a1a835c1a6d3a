"""The checkpoint of a run: everything that a resumed run needs to end as an unbroken one does."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from msanet import weights
from msanet.errors import InputError
from msanet.methods import Method

RUN_KEY = "run"


def save_checkpoint(
    path: Path, method: Method, average: nn.Module, optimizer: torch.optim.Optimizer, state: Mapping[str, Any]
) -> None:
    """Write a checkpoint, whole or not at all.

    Args:
        path: of the file.
        method: with the network, its own parameters and its buffers.
        average: the network's moving average.
        optimizer: any; its state is kept whole.
        state: what else there is, as numbers, strings, lists, names with values, and tensors.
    """
    kept = optimizer.state_dict()
    numpy_state = np.random.get_state()  # noqa: NPY002  # other libraries draw from it
    assert isinstance(numpy_state, tuple)
    tensors: dict[str, Tensor] = {
        **{f"method/{name}": value for name, value in method.state_dict().items()},
        **{f"average/{name}": value for name, value in average.state_dict().items()},
        "random/torch": torch.get_rng_state(),
        "random/numpy": torch.from_numpy(numpy_state[1].astype(np.int64)),
    }
    rest: dict[str, dict[str, Any]] = {}
    for index, values in kept["state"].items():
        for name, value in values.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer/{index}/{name}"] = value
            else:
                rest.setdefault(str(index), {})[name] = value
    own = dict(state)
    for name in [name for name, value in own.items() if isinstance(value, Tensor)]:
        tensors[f"state/{name}"] = own.pop(name)
    own["optimizer"] = {"groups": kept["param_groups"], "rest": rest}
    own["numpy"] = [numpy_state[0], *numpy_state[2:]]
    weights.save_tensors(path, tensors, {RUN_KEY: json.dumps(own)})


class Checkpoint:
    """A checkpoint that was read.

    Args:
        path: of the file.

    Attributes:
        state: what `save_checkpoint` was given.

    Raises:
        InputError: the file is no checkpoint.
    """

    def __init__(self, path: Path) -> None:
        self.tensors, texts = weights.load_tensors(path)
        try:
            self.state: dict[str, Any] = json.loads(texts[RUN_KEY])
            self.optimizer = self.state.pop("optimizer")
            self.numpy = self.state.pop("numpy")
        except (KeyError, TypeError, ValueError):
            raise InputError(f"{path} is not a checkpoint of a run: give another --output") from None
        self.state |= self.part("state")

    def part(self, name: str) -> dict[str, Tensor]:
        """The tensors whose names begin so, without that beginning."""
        return {
            key.removeprefix(f"{name}/"): value for key, value in self.tensors.items() if key.startswith(f"{name}/")
        }

    def restore(self, method: Method, average: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Bring all back to where they were, but for `restore_random`."""
        weights.restore(method, self.part("method"))
        weights.restore(average, self.part("average"))
        kept: dict[int, dict[str, Any]] = {int(index): dict(values) for index, values in self.optimizer["rest"].items()}
        for key, value in self.part("optimizer").items():
            index, name = key.split("/", 1)
            kept.setdefault(int(index), {})[name] = value
        optimizer.load_state_dict({"state": kept, "param_groups": self.optimizer["groups"]})
        for parameter, values in optimizer.state.items():
            for name, value in values.items():
                if isinstance(value, Tensor) and value.shape == parameter.shape:
                    # The layout of the gradients decides the order of sums: keep it for bit-equal results.
                    values[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)

    def restore_random(self) -> None:
        """Let torch's and numpy's random numbers go on from where they were."""
        torch.set_rng_state(self.tensors["random/torch"])
        kind, *rest = self.numpy
        keys = self.tensors["random/numpy"].numpy().astype(np.uint32)
        np.random.set_state((kind, keys, *rest))  # noqa: NPY002
