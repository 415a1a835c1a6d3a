"""Trained weights as safetensors, with everything that is needed to use them in readable metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize
from torch import Tensor

from msanet.errors import InputError
from msanet.images import replacing
from msanet.models import Network, create_network
from msanet.preprocessing import Preprocessing
from msanet.runtime import METADATA_KEY, Session


@dataclass(frozen=True)
class Metadata:
    """What travels with weights.

    Args:
        name: of the model.
        network: name of the architecture.
        arguments: of `create_network`.
        expressions: names of the classes, in the order of the logits.
        preprocessing: what the network's input has gone through.
        temperature: logits are divided by it before the softmax (calibration, fitted on validation).
        training: data, recipe, versions: how the weights were made.
        scores: measured, with the protocol in words.
        description: in a sentence.
    """

    name: str
    network: str
    arguments: Mapping[str, Any]
    expressions: tuple[str, ...]
    preprocessing: Preprocessing
    temperature: float = 1.0
    training: Mapping[str, Any] = field(default_factory=dict)
    scores: Mapping[str, Any] = field(default_factory=dict)
    description: str = ""

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Metadata:
        """The inverse of `to_json`, after `json.loads`.

        Raises:
            InputError: a field is missing, unknown or out of its range.
        """
        try:
            preprocessing = Preprocessing.from_dict(values["preprocessing"])
            return cls(**{**values, "preprocessing": preprocessing, "expressions": tuple(values["expressions"])})
        except (KeyError, TypeError) as error:
            raise InputError(
                f"the weights' metadata do not fit this version of msanet ({error}): update msanet"
            ) from None


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


def resolve(name_or_file: str | Path) -> Path:
    """Path of a shipped model's safetensors file by name, or of a file of the user's.

    Raises:
        InputError: it is neither.
    """
    shipped = Path(str(resources.files("msanet") / "pretrained" / f"{name_or_file}.safetensors"))
    if shipped.is_file():
        return shipped
    if Path(name_or_file).suffix != ".safetensors" and not Path(name_or_file).is_file():
        names = ", ".join(sorted(path.stem for path in shipped.parent.glob("*.safetensors")))
        raise InputError(f"there is no model {str(name_or_file)!r}: choose one of {names}, or a .safetensors file")
    return Path(name_or_file)


def load(name_or_file: str | Path) -> tuple[Network, Metadata]:
    """A network in evaluation mode with its weights, and their metadata.

    Args:
        name_or_file: a shipped model's name, or a .safetensors file.

    Raises:
        InputError: no such model, not a safetensors file, or one without our metadata or with other weights.
    """
    path = resolve(name_or_file)
    tensors, texts = load_tensors(path)
    if METADATA_KEY not in texts:
        raise InputError(f"{path} has no msanet metadata: give a file that msanet train wrote")
    try:
        metadata = Metadata.from_dict(json.loads(texts[METADATA_KEY]))
    except json.JSONDecodeError:
        raise InputError(f"{path}: its msanet metadata are not JSON; train or export it again") from None
    network = create_network(metadata.network, len(metadata.expressions), **metadata.arguments)
    try:
        network.load_state_dict(tensors)
    except RuntimeError:
        raise InputError(
            f"{path}: its weights do not fit network {metadata.network}; train or export it again"
        ) from None
    return network.eval(), metadata


def load_either(name_or_file: str | Path, threads: int | None = None) -> tuple[Network | Session, Metadata]:
    """As `load`; an .onnx file gives the session that runs it, with so many processor threads (see `Session`).

    Raises:
        InputError: the model cannot be loaded.
    """
    if Path(name_or_file).suffix != ".onnx":
        return load(name_or_file)
    session = Session(name_or_file, threads)
    return session, Metadata.from_dict(session.metadata)


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
