"""The optimizer of a recipe, with what is frozen left out and a learning rate for each group of layers."""

from __future__ import annotations

from collections import defaultdict

import torch
from torch import nn

from msanet.errors import InputError
from msanet.methods import Method
from msanet.train.recipe import Recipe


def create_optimizer(method: Method, recipe: Recipe) -> torch.optim.Optimizer:
    """SGD or AdamW over a method's parameters that learn, in groups by the "factor" of their rate.

    Beginnings of names, in `freeze` and `rates`, are those of the network's parameters.

    Raises:
        InputError: a beginning fits no parameter, or nothing is left that learns.
    """
    own = {id(parameter): name for name, parameter in method.network.named_parameters()}
    for beginning in (*recipe.freeze, *recipe.rates):
        if not any(name.startswith(beginning) for name in own.values()):
            first = ", ".join(dict.fromkeys(name.split(".")[0] for name in own.values()))
            raise InputError(f"the network has no parameter that begins with {beginning!r}: it has {first}")
    groups: dict[float, list[nn.Parameter]] = defaultdict(list)
    for name, parameter in method.named_parameters():
        name = own.get(id(parameter), name)
        if any(name.startswith(frozen) for frozen in recipe.freeze):
            parameter.requires_grad_(False)
            continue
        fitting = [beginning for beginning in recipe.rates if name.startswith(beginning)]
        groups[recipe.rates[max(fitting, key=len)] if fitting else 1.0].append(parameter)
    if not groups:
        raise InputError("freeze leaves nothing that learns: name fewer parameters")
    parameters = [{"params": members, "factor": factor} for factor, members in groups.items()]
    if recipe.optimizer == "adamw":
        decay = recipe.weight_decay
        return torch.optim.AdamW(parameters, recipe.learning_rate, recipe.betas, weight_decay=decay, fused=True)
    return torch.optim.SGD(
        parameters,
        recipe.learning_rate,
        momentum=recipe.momentum,
        nesterov=recipe.nesterov,
        weight_decay=recipe.weight_decay,
        fused=True,
    )
