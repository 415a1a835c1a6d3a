"""Logits for labelled pictures: their order, both views, and one process or two."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from msanet import data, weights
from msanet.data.alignment import aligned
from msanet.data.sample import Sample
from msanet.labels import EXPRESSIONS
from msanet.measure.predict import Model, predict
from msanet.model import Metadata
from msanet.networks import Network, create_network
from msanet.preprocessing import Preprocessing
from tests.conftest import build_model

pytestmark = pytest.mark.usefixtures("one_thread")

ROOT = Path(__file__).parents[2]
PREPROCESSING = Preprocessing(size=32, gray=True)
ARGUMENTS = {"channels": [16, 32], "strides": [1, 2]}


@pytest.fixture(scope="module")
def network(one_thread) -> Network:
    torch.manual_seed(0)
    return create_network("msanet_ms", 8, **ARGUMENTS).eval()


@pytest.fixture(scope="module")
def samples(faces_folder) -> list[Sample]:
    """15 pictures, a number that neither two processes nor a batch of four divides."""
    return data.read(f"folder:{faces_folder}", "test")[:15]


@torch.inference_mode()
def test_logits_stand_in_the_order_of_the_samples(network, samples):
    logits = predict(network, samples, PREPROCESSING, EXPRESSIONS)
    assert logits.shape == (15, 8)
    assert logits.dtype == np.float32
    for sample, row in zip(samples, logits, strict=True):
        alone = network(torch.from_numpy(PREPROCESSING([sample.crop()])))[0].numpy()
        np.testing.assert_allclose(row, alone, rtol=1e-4, atol=1e-5)
    assert np.abs(logits[0] - logits[-1]).max() > 1e-3
    backwards = predict(network, samples[::-1], PREPROCESSING, EXPRESSIONS)
    np.testing.assert_allclose(backwards[::-1], logits, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("batch_size", [1, 4, 15])
def test_the_batch_size_and_the_workers_change_nothing(network, samples, batch_size):
    expected = predict(network, samples, PREPROCESSING, EXPRESSIONS)
    result = predict(
        network, samples, PREPROCESSING, EXPRESSIONS, batch_size=batch_size, workers=1 if batch_size == 4 else 0
    )
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-5)


@torch.inference_mode()
def test_mirror_averages_the_logits_of_both_views(network, samples):
    images = torch.from_numpy(PREPROCESSING([sample.crop() for sample in samples]))
    expected = (network(images) + network(images.flip(3))) / 2
    mirrored = predict(network, samples, replace(PREPROCESSING, mirror=True), EXPRESSIONS)
    np.testing.assert_allclose(mirrored, expected.numpy(), rtol=1e-4, atol=1e-5)
    assert np.abs(mirrored - predict(network, samples, PREPROCESSING, EXPRESSIONS)).max() > 1e-4


def test_a_network_in_training_is_evaluated_with_its_statistics(network, samples):
    expected = predict(network, samples, PREPROCESSING, EXPRESSIONS)
    network.train()
    before = network.bn1.running_mean.clone()
    np.testing.assert_array_equal(predict(network, samples, PREPROCESSING, EXPRESSIONS), expected)
    assert not network.training
    assert torch.equal(network.bn1.running_mean, before)


SCRIPT = """
import sys
import numpy as np
import torch
from accelerate import Accelerator
from msanet import data, weights
from msanet.measure.predict import predict

torch.set_num_threads(1)
folder, model, output = sys.argv[1:]
accelerator = Accelerator(cpu=True)
assert accelerator.num_processes == 2
network, metadata = weights.load(model)
samples = data.read("folder:" + folder, "test")[:15]
logits = predict(
    network, samples, metadata.preprocessing, metadata.expressions, batch_size=4, accelerator=accelerator
)
np.save(f"{output}/{accelerator.process_index}.npy", logits)
accelerator.end_training()
"""


def test_two_processes_evaluate_exactly_the_pictures_that_one_does(network, samples, faces_folder, tmp_path):
    """The variables are those that `accelerate launch --cpu --num_processes 2` sets."""
    preprocessing = replace(PREPROCESSING, mirror=True)
    model = tmp_path / "x.safetensors"
    weights.save(
        model,
        network.state_dict(),
        Metadata("x", "msanet_ms", ARGUMENTS, EXPRESSIONS, preprocessing),
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    shared |= {"ACCELERATE_USE_CPU": "true", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(faces_folder), str(model), str(tmp_path)],
            env={**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        outputs = [process.communicate(timeout=300)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], "\n".join(outputs)
    one = predict(network, samples, preprocessing, EXPRESSIONS)
    for rank in range(2):
        logits = np.load(tmp_path / f"{rank}.npy")
        assert logits.shape == (15, 8)
        np.testing.assert_allclose(logits, one, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["safetensors", "onnx"])
def test_a_model_aligns_the_crops_of_data_sets_if_its_preprocessing_says_so(kind, network, tmp_path, portrait):
    preprocessing = replace(PREPROCESSING, align=True)
    if kind == "onnx":
        path = build_model(tmp_path / "model.onnx", preprocessing=preprocessing)
    else:
        path = tmp_path / "model.safetensors"
        metadata = Metadata("it", "msanet_ms", ARGUMENTS, EXPRESSIONS, preprocessing)
        weights.save(path, network.state_dict(), metadata)
    picture = tmp_path / "face.png"
    Image.fromarray(portrait[130:330, 168:368]).rotate(20).resize((64, 64)).save(picture)
    samples = [Sample(picture, "fear")]
    model = Model(path)
    placed = aligned(samples, preprocessing)
    assert placed[0].placement
    np.testing.assert_array_equal(model.logits(samples), model.logits(placed))
    unaligned = Model(path)
    unaligned.metadata = replace(unaligned.metadata, preprocessing=PREPROCESSING)
    assert np.abs(model.logits(samples) - unaligned.logits(samples)).max() > 1e-3
