"""Trained weights as safetensors, with everything that is needed to use them in readable metadata."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize
from torch import Tensor, nn

from msanet.classifier import Classifier
from msanet.errors import InputError
from msanet.files import replacing
from msanet.model import METADATA_KEY, Metadata, model_path
from msanet.networks import Network, create_network, head_parameters


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file under a temporary name, then rename, so that it is never half there."""
    # A copy of each: safetensors refuses memory that is shared or not in row order.
    contiguous = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    with replacing(path) as temporary:
        path.parent.mkdir(parents=True, exist_ok=True)
        # not save_file, whose files only their owner may read
        temporary.write_bytes(serialize(contiguous, dict(metadata)))


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file.

    Raises:
        InputError: the file is missing, or is not safetensors (a pickle, say).
    """
    if not path.is_file():
        raise InputError(f"{path} is missing: give a .safetensors file that msanet train wrote")
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except (SafetensorError, OSError):
        raise InputError(
            f"{path} is not a safetensors file: weights load from safetensors or ONNX only, never from a pickle"
        ) from None


def save(path: Path, state: Mapping[str, Tensor], metadata: Metadata) -> None:
    """Write a network's state dict with its metadata."""
    save_tensors(path, state, {METADATA_KEY: metadata.to_json()})


def restore(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load a state dict, as `load_state_dict`; empty buffers, which wait to be fitted, get its size."""
    for name, buffer in list(module.named_buffers()):
        if name in state and not buffer.numel():
            *path, last = name.split(".")
            setattr(module.get_submodule(".".join(path)), last, torch.empty_like(state[name], device=buffer.device))
    module.load_state_dict(state)


def rounded(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict with its values of more than one dimension in half precision, half the file when saved."""
    return {
        name: value.half() if value.is_floating_point() and value.ndim > 1 else value for name, value in state.items()
    }


def load(name_or_file: str | Path) -> tuple[Network, Metadata]:
    """A network in evaluation mode with its weights, and their metadata.

    Args:
        name_or_file: a shipped model's name, or a .safetensors file.

    Raises:
        InputError: no such model, not a safetensors file, or one without our metadata or with other weights.
    """
    path = model_path(name_or_file, ".safetensors")
    tensors, texts = load_tensors(path)
    metadata = Metadata.from_json(texts.get(METADATA_KEY), str(path))
    network = create_network(metadata.network, len(metadata.expressions), **metadata.arguments)
    try:
        restore(network, tensors)
    except RuntimeError:
        raise InputError(
            f"{path}: its weights do not fit network {metadata.network}; train or export it again"
        ) from None
    return network.eval(), metadata


def load_either(name_or_file: str | Path, threads: int | None = None) -> tuple[Network | Classifier, Metadata]:
    """As `load`; an .onnx file gives the classifier that runs it, with so many processor threads.

    Raises:
        InputError: the model cannot be loaded.
    """
    if Path(name_or_file).suffix != ".onnx":
        return load(name_or_file)
    classifier = Classifier(name_or_file, threads)
    return classifier, classifier.metadata


def start_from(
    network: Network, name: str, arguments: Mapping[str, Any], labels: Sequence[str], file: str | Path
) -> str:
    """Load weights into a network, to train it further; what was taken, in a sentence.

    Weights of the same network and labels are taken whole. Otherwise, and from files of other programs, all that bears
    the same name and shape is taken: a ResNet-18 of torchvision's names, or of a face recognition network that wraps
    them ("module.", "features.", ...), for `resnet18` whole and for the stem of MSA-Net. What depends on the labels,
    the head, begins anew.

    Args:
        network: freshly initialised.
        name: of the network.
        arguments: that it was created with.
        labels: names of its K classes.
        file: a shipped model's name, or a .safetensors file.

    Raises:
        InputError: the file cannot be loaded, fits nowhere, or is of another architecture.
    """
    path = model_path(file, ".safetensors")
    tensors, texts = load_tensors(path)
    own = network.state_dict()
    if METADATA_KEY in texts:
        metadata = Metadata.from_json(texts[METADATA_KEY], str(path))
        if metadata.network == name and tuple(metadata.expressions) == tuple(labels):
            try:
                restore(network, tensors)
            except RuntimeError:
                raise InputError(
                    f"{path} is {name} with other arguments: set network to {json.dumps(dict(metadata.arguments))}"
                ) from None
            return f"the network starts from {path}"
    head = head_parameters(name, arguments)
    prefix = shared_prefix(own, tensors)
    found = {key: tensors[prefix + key] for key in own if prefix + key in tensors and key not in head}
    wrong = [key for key, tensor in found.items() if tensor.shape != own[key].shape]
    if wrong and METADATA_KEY in texts and metadata.network == name:
        raise InputError(
            f"{path} is {name} with other arguments: set network to {json.dumps(dict(metadata.arguments))}"
        )
    if wrong:
        raise InputError(
            f"{path} is of another architecture than {name}: its {prefix}{wrong[0]} is {list(found[wrong[0]].shape)}, "
            f"not {list(own[wrong[0]].shape)}"
        )
    if not found:
        raise InputError(f"{path} holds nothing that network {name} has: it is of another architecture")
    network.load_state_dict({**own, **found})
    new = sorted({key.split(".")[0] for key in own if key not in found})
    unused = sorted(
        {key.removeprefix(prefix).split(".")[0] for key in tensors if key.removeprefix(prefix) not in found}
    )
    return f"{len(found)} of {len(own)} tensors start from {path}; anew: {', '.join(new)}" + (
        f"; left out of the file: {', '.join(unused)}" if unused else ""
    )


def shared_prefix(own: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> str:
    """What stands before a network's names in a file: the prefix under which most of them are there."""
    counts = Counter(key[: -len(name)] for key in tensors for name in own if key == name or key.endswith("." + name))
    return max(counts, key=lambda prefix: (counts[prefix], -len(prefix)), default="")
