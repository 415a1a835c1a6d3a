"""Name -> network. A new network is one file in this folder and one line here."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch

from msanet.errors import InputError
from msanet.networks.cbam_resnet import CBAMResNet18
from msanet.networks.dan import DAN
from msanet.networks.dlp_cnn import DLPCNN
from msanet.networks.fmpn import FMPN
from msanet.networks.gabor_pairs import GaborPairsNetwork
from msanet.networks.gacnn import GACNN
from msanet.networks.gravity import GravityNetwork
from msanet.networks.histnet import HistNet
from msanet.networks.hog import HOG
from msanet.networks.lbp_attention import LBPAttention
from msanet.networks.manet import MANet
from msanet.networks.msanet import MSANet, msanet_ms, msanet_ms_as
from msanet.networks.network import Explains, Explanation, Network, example_inputs
from msanet.networks.oadn import OADN
from msanet.networks.pacnn import PACNN
from msanet.networks.psr import PSR
from msanet.networks.ran import RAN
from msanet.networks.res2net import Res2Net
from msanet.networks.resnet import ResNet18
from msanet.networks.rlps import RLPSNetwork
from msanet.networks.se_resnet import SEResNet18
from msanet.networks.sift_words import SIFTWords
from msanet.networks.timm_backbone import PREFIX, TimmBackbone
from msanet.networks.vgg13 import VGG13

__all__ = [
    "NETWORKS",
    "Explains",
    "Explanation",
    "Network",
    "check_network",
    "cost_of",
    "count_cost",
    "create_network",
    "example_inputs",
    "feature_size",
    "fitting_arguments",
    "head_parameters",
    "network_arguments",
]

NETWORKS: dict[str, Callable[..., Network]] = {
    "resnet18": ResNet18,
    "msanet_ms": msanet_ms,
    "msanet_ms_as": msanet_ms_as,
    "msanet": MSANet,
    "dan": DAN,
    "res2net": Res2Net,
    "cbam_resnet18": CBAMResNet18,
    "se_resnet18": SEResNet18,
    "manet": MANet,
    "ran": RAN,
    "dlp_cnn": DLPCNN,
    "oadn": OADN,
    "pacnn": PACNN,
    "gacnn": GACNN,
    "psr": PSR,
    "fmpn": FMPN,
    "hog": HOG,
    "gabor_pairs": GaborPairsNetwork,
    "vgg13": VGG13,
    "histnet": HistNet,
    "gravity": GravityNetwork,
    "lbp_attention": LBPAttention,
    "rlps": RLPSNetwork,
    "sift_words": SIFTWords,
}


def check_network(name: str) -> str:
    """The name, if there is a network of that name.

    Raises:
        InputError: there is none.
    """
    if name not in NETWORKS and not name.startswith(PREFIX):
        raise InputError(f"there is no network {name!r}: choose one of {', '.join(NETWORKS)}, or {PREFIX}NAME")
    return name


def create_network(name: str, num_classes: int = 7, **arguments: Any) -> Network:
    """A network by name, float32 [N, 3, H, W] -> logits [N, num_classes], freshly initialised.

    Args:
        name: a key of `NETWORKS`, or timm:NAME for a backbone of timm's.
        num_classes: number of labels.
        arguments: named arguments of that network.

    Raises:
        InputError: no such network or argument, or a value out of its range.
    """
    check_network(name)
    if num_classes < 2:
        raise InputError(f"num_classes is {num_classes}: a network needs at least two")
    if name.startswith(PREFIX):
        return TimmBackbone(num_classes, model=name.removeprefix(PREFIX), **arguments)
    known = network_arguments(name)
    unknown = set(arguments) - set(known)
    if unknown:
        raise InputError(f"network {name} has no argument {', '.join(sorted(unknown))}; it has {', '.join(known)}")
    try:
        return NETWORKS[name](num_classes, **arguments)
    except TypeError as error:  # a number where several are wanted, or what this form of a network has fixed
        raise InputError(f"network {name} cannot be made with {arguments}: {error}") from error


def network_arguments(name: str) -> dict[str, Any]:
    """The arguments that a network of `NETWORKS` has besides `num_classes`, with their defaults; timm's are its own."""
    if name.startswith(PREFIX):
        return {}
    own = dict(inspect.signature(NETWORKS[check_network(name)]).parameters)
    if own.pop("arguments", None):  # a form of MSANet with one branch
        others = inspect.signature(MSANet).parameters
        own |= {argument: others[argument] for argument in others if argument not in ("kernels", "attention")}
    return {argument: parameter.default for argument, parameter in own.items() if argument != "num_classes"}


def fitting_arguments(name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Those of a recipe's network arguments that a network has, and those that no network has, to be refused later."""
    others = {argument for other in NETWORKS for argument in network_arguments(other)} - set(network_arguments(name))
    return {argument: value for argument, value in arguments.items() if argument not in others}


def head_parameters(name: str, arguments: Mapping[str, Any]) -> set[str]:
    """Names in a network's state dict whose shape depends on the number of classes."""
    with torch.device("meta"):
        shapes = [
            {key: value.shape for key, value in create_network(name, number, **arguments).state_dict().items()}
            for number in (2, 3)
        ]
    return {key for key, shape in shapes[0].items() if shapes[1][key] != shape}


def feature_size(network: Network, size: int) -> int:
    """D of a network's features, for pictures of `size` x `size` pixels."""
    training = network.training
    images, inputs = example_inputs(network, 1, size)
    device = next(iter(network.parameters())).device
    with torch.no_grad():
        features = network.eval().features(
            images.to(device), **{name: item.to(device) for name, item in inputs.items()}
        )
    network.train(training)
    return int(features.shape[1])


def count_cost(network: Network, size: int) -> tuple[int, int]:
    """Parameters, and multiply-adds of convolutions and linear layers for one picture of `size` x `size` pixels."""
    from torch.utils.flop_counter import FlopCounterMode

    parameters = sum(parameter.numel() for parameter in network.parameters())
    training = network.training
    counter = FlopCounterMode(display=False)
    images, inputs = example_inputs(network, 1, size)
    device = next(iter(network.parameters())).device
    with counter, torch.no_grad():
        network.eval()(images.to(device), **{name: item.to(device) for name, item in inputs.items()})
    network.train(training)
    return parameters, counter.get_total_flops() // 2


def cost_of(name: str, size: int, num_classes: int = 7, /, **arguments: Any) -> tuple[int, int]:
    """What `count_cost` says of a network by name, from shapes alone: its weights are never made."""
    with torch.device("meta"):
        return count_cost(create_network(name, num_classes, **arguments), size)
