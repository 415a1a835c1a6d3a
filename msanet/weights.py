"""Trained weights as safetensors, with everything that is needed to use them in readable metadata."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize
from torch import Tensor

from msanet.classifier import Classifier
from msanet.errors import InputError
from msanet.files import replacing
from msanet.model import METADATA_KEY, Metadata, model_path
from msanet.networks import Network, create_network


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
        network.load_state_dict(tensors)
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


def start_from(network: Network, name_or_file: str | Path) -> None:
    """Load the weights of a trained model into a network, to train it further.

    Raises:
        InputError: the model cannot be loaded, or is of another network or number of expressions.
    """
    trained, metadata = load(name_or_file)
    try:
        network.load_state_dict(trained.state_dict())
    except RuntimeError:
        raise InputError(
            f"{name_or_file} is {metadata.network} with {len(metadata.expressions)} expressions: "
            "start the same network with the same arguments from it"
        ) from None
