"""What a figure depends on beside the recipe: versions, processor threads, commit; and the processes of a run."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Mapping
from importlib import metadata as packages
from pathlib import Path
from typing import Any

import torch
import torch.distributed
from accelerate import Accelerator
from torch import Tensor, nn

from msanet.errors import InputError


def environment() -> Mapping[str, Any]:
    """Versions, processor threads and commit."""
    names = ("msanet", "torch", "torchvision", "numpy", "opencv-python-headless", "accelerate")
    versions = {name: packages.version(name) for name in names if any(packages.distributions(name=name))}
    return {
        "python": platform.python_version(),
        "versions": versions,
        "threads": torch.get_num_threads(),
        "commit": commit(Path(__file__).parents[1]),
    }


def commit(package: Path) -> str | None:
    """The commit that a package's files are at, if they are tracked where they lie.

    None: there is no git, or they are installed, perhaps within somebody else's repository.
    """

    def git(*arguments: str) -> str:
        try:
            run = subprocess.run(["git", "-C", str(package), *arguments], capture_output=True, text=True, check=False)
        except OSError:  # git is not installed
            return ""
        return run.stdout.strip() if run.returncode == 0 else ""

    return (git("rev-parse", "HEAD") or None) if git("ls-files", "__init__.py") else None


def check_processes(accelerator: Accelerator, batch_size: int) -> None:
    """Refuse to run where fewer processes work together than were started, each of which would train by itself.

    Raises:
        InputError: so it is; or the batch cannot be shared out evenly.
    """
    number = accelerator.num_processes
    asked = int(os.environ.get("WORLD_SIZE", "1"))
    # accelerate launch --cpu sets an address for the processes, but starts one
    launched = {"MASTER_ADDR", "ACCELERATE_MIXED_PRECISION"} <= set(os.environ)
    lonely = launched and "WORLD_SIZE" not in os.environ and number == 1
    if asked != number or lonely:
        started = f"{asked} processes were started, but {number} works" if asked != number else "one process works"
        raise InputError(
            f"{started} on the run: without GPUs start with torchrun --nproc_per_node N -m msanet train ... and "
            "ACCELERATE_USE_CPU=true in the environment"
        )
    if batch_size % number:
        raise InputError(f"batch_size {batch_size} cannot be shared by {number} processes: choose a multiple of it")


class SharedBatchNorm(nn.Module):
    """BatchNorm whose statistics are those of the batch on all processes together, on a processor as well.

    torch's own SyncBatchNorm runs on GPUs alone. Parameters and buffers are those of the layer that it stands for.

    Args:
        layer: a BatchNorm1d or BatchNorm2d with running statistics.
    """

    def __init__(self, layer: nn.BatchNorm1d | nn.BatchNorm2d) -> None:
        super().__init__()
        self.eps, self.momentum = layer.eps, layer.momentum
        self.weight, self.bias = layer.weight, layer.bias
        self.running_mean: Tensor
        self.running_var: Tensor
        self.num_batches_tracked: Tensor
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            self.register_buffer(name, getattr(layer, name))
        self.train(layer.training)

    def forward(self, values: Tensor) -> Tensor:
        """[B, C, ...] -> the same shape."""
        dims = [0, *range(2, values.ndim)]
        shape = [1, -1, *[1] * (values.ndim - 2)]
        if not self.training:
            mean, variance = self.running_mean, self.running_var
        else:
            values = values.float()
            number = values.new_tensor([values.numel() / values.shape[1]])
            sums = _Sum.apply(torch.cat([values.sum(dims), number]))
            count = sums[-1].detach()
            mean = sums[:-1] / count
            squares = ((values - mean.reshape(shape)) ** 2).sum(dims)
            variance = _Sum.apply(squares) / count
            with torch.no_grad():
                self.num_batches_tracked += 1
                momentum = 1 / self.num_batches_tracked if self.momentum is None else self.momentum
                self.running_mean.lerp_(mean, float(momentum))
                self.running_var.lerp_(variance * count / (count - 1).clamp(min=1), float(momentum))
        scale = (variance + self.eps).rsqrt()
        if self.weight is not None:
            scale = scale * self.weight
        offset = -mean * scale if self.bias is None else self.bias - mean * scale
        return values * scale.reshape(shape) + offset.reshape(shape)


class _Sum(torch.autograd.Function):
    """The sum of a tensor over all processes; each one's gradient is the sum of all gradients."""

    @staticmethod
    def forward(context: Any, values: Tensor) -> Tensor:
        total = values.clone()
        torch.distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone()
        torch.distributed.all_reduce(total)
        return total


def share_statistics(module: nn.Module, device: torch.device) -> nn.Module:
    """The module with every BatchNorm's statistics taken over all processes."""
    if device.type == "cuda":
        converted: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(module)  # type: ignore[no-untyped-call]
        return converted
    for name, child in module.named_children():
        if isinstance(child, (nn.BatchNorm1d, nn.BatchNorm2d)) and child.track_running_stats:
            setattr(module, name, SharedBatchNorm(child))
        else:
            share_statistics(child, device)
    return module
