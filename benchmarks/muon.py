"""Muon for convolutions, SGD for the rest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

# The quintic of Jordan et al.: steep at 0, so that five rounds bring every singular value into about 0.7 to 1.2.
LINEAR, CUBIC, QUINTIC = 3.4445, -4.7750, 2.0315


def orthogonal(matrices: Tensor, rounds: int = 5) -> Tensor:
    """The semi-orthogonal matrices nearest to the given ones, nearly: their singular values become 0.7 to 1.2.

    Newton-Schulz rounds in bfloat16 (Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024).

    Args:
        matrices: float [N, R, C].
        rounds: of the iteration.

    Returns:
        float [N, R, C] of the same dtype.
    """
    x = matrices.bfloat16()
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(rounds):
        gram = x @ x.mT  # [N, R, R], the short side
        x = LINEAR * x + (CUBIC * gram + QUINTIC * (gram @ gram)) @ x
    return (x.mT if tall else x).to(matrices.dtype)


class Muon(torch.optim.Optimizer):
    """SGD with momentum whose convolutions turn by orthogonal steps instead.

    A convolution without bias has a normalisation behind it that takes its length out, so only the direction of its
    weights counts. Their length is kept at the square root of their number of outputs, and the step is the momentum
    made orthogonal, group by group: every direction of the matrix moves alike, also those in which the gradient is
    small. All else (BatchNorm, linear layers, convolutions with a bias) follows SGD.

    Args:
        network: whose parameters are learnt.
        lr, momentum, nesterov, weight_decay: of SGD; momentum is Muon's as well, weight decay is not.
        turn: length of a convolution's step relative to that of its weights at the first `lr`; it falls with `lr`.
    """

    def __init__(
        self, network: nn.Module, lr: float, momentum: float, nesterov: bool, weight_decay: float, turn: float
    ) -> None:
        layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d) and layer.bias is None]
        self.groups = {layer.weight: layer.groups for layer in layers}
        self.turn = turn / lr
        defaults = {"lr": lr, "momentum": momentum, "nesterov": nesterov, "weight_decay": weight_decay}
        super().__init__(network.parameters(), defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """One step along the gradients."""
        assert closure is None, "the gradients must be there"
        for options in self.param_groups:
            for parameter in options["params"]:
                if parameter.grad is not None:
                    self.move(parameter, options)

    def move(self, parameter: Tensor, options: dict[str, Any]) -> None:
        momentum, groups = options["momentum"], self.groups.get(parameter)
        gradient = parameter.grad
        assert gradient is not None
        if groups is None:
            gradient = gradient.add(parameter, alpha=options["weight_decay"])
        direction = gradient
        if momentum:
            state = self.state[parameter]
            if "momentum_buffer" not in state:
                state["momentum_buffer"] = torch.zeros_like(parameter)
            buffer = state["momentum_buffer"].mul_(momentum).add_(gradient)
            direction = gradient.add(buffer, alpha=momentum) if options["nesterov"] else buffer
        if groups is None:
            parameter.sub_(direction, alpha=options["lr"])
            return
        outputs = len(parameter)
        matrices = direction.reshape(groups, outputs // groups, -1)
        rows, columns = matrices.shape[1:]
        parameter.mul_(outputs**0.5 / parameter.norm().clamp_min(1e-7))
        # A tall matrix has fewer singular values than outputs: as long a step as of a square one.
        size = options["lr"] * self.turn * max(1.0, rows / columns) ** 0.5
        parameter.sub_(orthogonal(matrices).reshape(parameter.shape), alpha=size)
