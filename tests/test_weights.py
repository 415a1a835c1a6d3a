"""Trained weights on disk: nothing is lost, nothing unsafe is loaded, nothing is half written."""

from __future__ import annotations

import json
import os
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from msanet import weights
from msanet.errors import InputError
from msanet.labels import EXPRESSIONS
from msanet.model import Metadata
from msanet.networks import Network, create_network
from msanet.preprocessing import Framing, Preprocessing

pytestmark = pytest.mark.usefixtures("one_thread")

ARGUMENTS = {"channels": [16, 32], "strides": [1, 2]}
METADATA = Metadata(
    name="tiny",
    network="msanet_ms",
    arguments=ARGUMENTS,
    expressions=EXPRESSIONS,
    preprocessing=Preprocessing(size=32, resize=36, gray=True, mean=(0.1, 0.2, 0.3), framing=Framing(1.1)),
    temperature=1.25,
    training={"data": "ferplus", "epoch": 3, "recipe": {"epochs": 4}},
    scores={"validation": {"accuracy": 0.5}},
)


@pytest.fixture(scope="module")
def network(one_thread) -> Network:
    torch.manual_seed(0)
    network = create_network("msanet_ms", 8, **ARGUMENTS).eval()
    network.bn1.running_mean.uniform_(-1, 1)  # type: ignore[operator, union-attr]
    return network


@pytest.fixture
def file(network, tmp_path) -> Path:
    path = tmp_path / "tiny.safetensors"
    weights.save(path, network.state_dict(), METADATA)
    return path


def rewrite(file: Path, tensors: dict[str, Tensor] | None = None, **texts: str) -> Path:
    """The same file with other tensors or other metadata."""
    own, own_texts = weights.load_tensors(file)
    weights.save_tensors(file, own if tensors is None else tensors, {**own_texts, **texts})
    return file


@torch.inference_mode()
def test_weights_and_metadata_come_back_as_they_were(network, file):
    loaded, metadata = weights.load(file)
    assert metadata == METADATA
    assert not loaded.training
    state = loaded.state_dict()
    assert list(state) == list(network.state_dict())
    for name, tensor in network.state_dict().items():
        assert torch.equal(state[name], tensor)
        assert state[name].dtype == tensor.dtype
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(loaded(images), network(images))


def test_a_path_may_be_given_as_text(file):
    assert weights.load(str(file))[1] == METADATA


def test_the_metadata_is_readable_json_in_the_file(file):
    _, texts = weights.load_tensors(file)
    values = json.loads(texts["msanet"])
    assert values["expressions"] == list(EXPRESSIONS)
    assert values["preprocessing"]["size"] == 32
    assert Metadata.from_json(METADATA.to_json(), "x") == METADATA


def test_tensors_that_share_memory_or_lie_in_another_order_are_saved_too(tmp_path):
    base = torch.arange(24.0).reshape(1, 2, 3, 4)
    tensors = {"a": base, "b": base[:, :1], "c": base.to(memory_format=torch.channels_last), "d": base.transpose(2, 3)}
    weights.save_tensors(tmp_path / "x.safetensors", tensors, {})
    loaded, _ = weights.load_tensors(tmp_path / "x.safetensors")
    assert all(torch.equal(loaded[name], tensor) for name, tensor in tensors.items())


def test_missing_folders_are_made(network, tmp_path):
    path = tmp_path / "a" / "b" / "x.safetensors"
    weights.save(path, network.state_dict(), METADATA)
    assert path.is_file()


# -- what cannot be loaded --------------------------------------------------------------------------------------------


def refused(path: object, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        weights.load(path)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("ending", ["pt", "pth", "safetensors"])
def test_a_pickle_is_refused(network, tmp_path, ending):
    path = tmp_path / f"weights.{ending}"
    torch.save(network.state_dict(), path)
    refused(path, rf"weights.{ending} is not a safetensors file: .* never from a pickle")


class Trap:
    """Unpickling it creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("protocol", [0, pickle.HIGHEST_PROTOCOL])
@pytest.mark.parametrize("with_torch", [False, True])
def test_no_code_of_a_pickle_is_run(tmp_path, protocol, with_torch):
    sprung = tmp_path / "sprung"
    path = tmp_path / "trap.safetensors"
    if with_torch:
        torch.save(Trap(sprung), path, pickle_protocol=max(protocol, 2))
    else:
        path.write_bytes(pickle.dumps(Trap(sprung), protocol))
    refused(path, "never from a pickle")
    assert not sprung.exists()
    if not with_torch:  # the trap would have worked
        pickle.loads(path.read_bytes())
        assert sprung.exists()


@pytest.mark.parametrize("kept", [0, 4, 8, 100, 0.5, 0.999])
def test_a_truncated_file_is_refused(file, kept):
    content = file.read_bytes()
    file.write_bytes(content[: kept if isinstance(kept, int) else int(kept * len(content))])
    refused(file, "tiny.safetensors is not a safetensors file")


@pytest.mark.parametrize("content", [b"just some text\n" * 20, b"\xff" * 64, b"\0" * 64])
def test_a_file_of_another_kind_is_refused(tmp_path, content):
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    refused(path, "x.safetensors is not a safetensors file")


def test_a_missing_file_is_refused(tmp_path):
    refused(tmp_path / "none.safetensors", "none.safetensors is missing")
    refused(tmp_path, "is missing")
    refused("no_such_model", "there is no model 'no_such_model': choose one of")
    (tmp_path / "folder.safetensors").mkdir()
    refused(tmp_path / "folder.safetensors", "folder.safetensors is missing")


def test_safetensors_of_somebody_else_are_refused(network, tmp_path):
    path = tmp_path / "other.safetensors"
    weights.save_tensors(path, network.state_dict(), {"format": "pt"})
    refused(path, "other.safetensors has no msanet metadata")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("not json", "tiny.safetensors: its msanet metadata cannot be used"),
        ("[1, 2]", "its msanet metadata cannot be used"),
        ("{}", "does not say its"),
        ('{"preprocessing": {}, "name": "x"}', "does not say its"),
    ],
)
def test_broken_metadata_are_refused(file, text, words):
    refused(rewrite(file, msanet=text), words)


def test_metadata_of_a_later_version_are_refused(file):
    values = json.loads(METADATA.to_json())
    refused(rewrite(file, msanet=json.dumps({**values, "something": 1})), "something.*update msanet")
    values["preprocessing"]["colour"] = 1
    refused(rewrite(file, msanet=json.dumps(values)), "has unknown fields, such as .colour.: update msanet")


def test_a_wrong_class_count_is_refused(file):
    metadata = replace(METADATA, expressions=EXPRESSIONS[:7])
    refused(rewrite(file, msanet=metadata.to_json()), "its weights do not fit network msanet_ms")


@pytest.mark.parametrize(
    ("name", "arguments"), [("resnet18", {}), ("msanet_ms_as", ARGUMENTS), ("msanet_ms", {"channels": [16, 24]})]
)
def test_weights_of_another_network_are_refused(file, name, arguments):
    metadata = replace(METADATA, network=name, arguments=arguments)
    refused(rewrite(file, msanet=metadata.to_json()), f"its weights do not fit network {name}")


def test_a_network_that_is_not_known_is_refused(file):
    metadata = replace(METADATA, network="vgg")
    refused(rewrite(file, msanet=metadata.to_json()), "no network 'vgg'")


def test_a_missing_or_a_further_tensor_is_refused(network, file):
    state = network.state_dict()
    refused(rewrite(file, {name: state[name] for name in list(state)[1:]}), "its weights do not fit")
    refused(rewrite(file, {**state, "further": torch.zeros(1)}), "its weights do not fit")


# -- nothing half written ---------------------------------------------------------------------------------------------


def test_saving_leaves_nothing_but_the_file(file):
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_others_may_read_the_file_as_they_may_any_other(file, tmp_path):
    other = tmp_path / "other"
    other.touch()
    assert file.stat().st_mode == other.stat().st_mode


def test_a_save_that_fails_leaves_the_file_as_it_was(network, file, monkeypatch):
    before = file.read_bytes()

    write = Path.write_bytes

    def fail(path: Path, content: bytes) -> int:
        write(path, content[: len(content) // 2])
        raise OSError("no space left on device")

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(InputError, match="no space"):
        weights.save(file, network.state_dict(), METADATA)
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_a_file_is_replaced_in_one_step(network, file, monkeypatch):
    """At the moment of replacing, the old file is whole and so is the new one beside it."""
    seen = []
    replace_file = os.replace

    def watch(new: Path, target: Path) -> None:
        seen.append((weights.load_tensors(new)[1]["msanet"], weights.load(target)[1].name))
        replace_file(new, target)

    monkeypatch.setattr(os, "replace", watch)
    metadata = replace(METADATA, name="new")
    weights.save(file, network.state_dict(), metadata)
    assert seen == [(metadata.to_json(), "tiny")]
    assert weights.load(file)[1].name == "new"


class Centred(nn.Module):
    """What it subtracts is found before training, and so is its size."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 2)
        self.register_buffer("mean", torch.empty(0))


def test_what_was_fitted_is_restored_with_its_size_and_nothing_else_changes_shape():
    fitted, new = Centred(), Centred()
    fitted.get_buffer("mean").resize_(3).copy_(torch.arange(3.0))
    weights.restore(new, fitted.state_dict())
    assert torch.equal(new.get_buffer("mean"), torch.arange(3.0))
    assert torch.equal(new.fc.weight, fitted.fc.weight)
    with pytest.raises(RuntimeError, match="size mismatch"):
        weights.restore(new, {**fitted.state_dict(), "mean": torch.zeros(4)})
