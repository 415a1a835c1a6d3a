"""Teachers see what the student sees, and their opinion becomes its target."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from msanet import data, weights
from msanet.data.dataset import FaceDataset
from msanet.errors import InputError
from msanet.export import export
from msanet.labels import EXPRESSIONS
from msanet.methods.distill import Teachers
from msanet.model import Metadata
from msanet.networks import create_network
from msanet.networks.network import PooledNetwork
from msanet.preprocessing import Preprocessing
from msanet.train.recipe import load_recipe
from msanet.train.run import Run

pytestmark = pytest.mark.usefixtures("one_thread")

ARGUMENTS = {"channels": [16, 32], "strides": [1, 2]}
GRAY = Preprocessing(size=32, gray=True)
CPU = torch.device("cpu")


@pytest.fixture
def save_teacher(tmp_path):
    def save(name: str, preprocessing=GRAY, expressions=EXPRESSIONS, favorite=None, temperature=1.0) -> str:
        torch.manual_seed(len(name))
        network = create_network("msanet", len(expressions), **ARGUMENTS)
        if favorite is not None:
            assert isinstance(network, PooledNetwork)
            with torch.no_grad():
                network.fc.weight.zero_()
                network.fc.bias.copy_(torch.tensor([9.0 * (other == favorite) for other in expressions]))
        path = tmp_path / f"{name}.safetensors"
        metadata = Metadata(name, "msanet", ARGUMENTS, tuple(expressions), preprocessing, temperature)
        weights.save(path, network.state_dict(), metadata)
        return str(path)

    return save


def probabilities(path: str, images: torch.Tensor) -> torch.Tensor:
    network, metadata = weights.load(path)
    with torch.no_grad():
        return (network(images) / metadata.temperature).softmax(dim=1)


def test_the_opinion_is_the_mean_of_calibrated_probabilities(save_teacher):
    models = [save_teacher("one", temperature=2.0), save_teacher("three")]
    images = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    expected = torch.stack([probabilities(model, images) for model in models]).mean(dim=0)
    assert torch.allclose(Teachers(models, EXPRESSIONS, GRAY, CPU)(images), expected, atol=1e-5)


def test_a_larger_teacher_gets_the_picture_at_its_own_size(save_teacher):
    teacher = save_teacher("large", Preprocessing(size=64, gray=True))
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    larger = torch.nn.functional.interpolate(images, size=(64, 64), mode="bilinear", antialias=True)
    opinion = Teachers([teacher], EXPRESSIONS, GRAY, CPU)(images)
    assert torch.allclose(opinion, probabilities(teacher, larger), atol=1e-5)


def test_an_onnx_file_teaches_as_its_weights_do(save_teacher, tmp_path):
    model, onnx = save_teacher("one", temperature=2.0), tmp_path / "one.onnx"
    export(model, onnx)
    images = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0)).to(memory_format=torch.channels_last)
    one, other = (Teachers([teacher], EXPRESSIONS, GRAY, CPU)(images) for teacher in (model, str(onnx)))
    assert torch.allclose(one, other, atol=1e-5)


def test_a_teacher_of_eight_expressions_teaches_seven(save_teacher):
    opinion = Teachers([save_teacher("one")], EXPRESSIONS[:7], GRAY, CPU)(torch.randn(2, 3, 32, 32))
    assert opinion.shape == (2, 7)
    assert torch.allclose(opinion.sum(dim=1), torch.ones(2))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"expressions": EXPRESSIONS[:7]}, "does not know contempt"),
        ({"preprocessing": Preprocessing(size=32)}, "takes other colours"),
        ({"preprocessing": Preprocessing(size=32, gray=True, mean=(0.4, 0.4, 0.4))}, "takes other colours"),
    ],
)
def test_a_teacher_that_does_not_fit_is_refused(save_teacher, arguments, sentence):
    with pytest.raises(InputError, match=sentence):
        Teachers([save_teacher("one", **arguments)], EXPRESSIONS, GRAY, CPU)


FEW = [
    *("preprocessing.size=32", "preprocessing.resize=null", "small_epochs=0", "epochs=3", "batch_size=8"),
    *("workers=0", "ema=0", "precision=float32", "mixup=0", "warmup_epochs=0", "plain_epochs=0"),
]
"""Changes of the recipe `default` with which it learns from a few pictures in seconds."""


@pytest.mark.parametrize("sees", ["augmented", "original"])
def test_a_student_believes_its_teacher(save_teacher, faces_folder, tmp_path: Path, sees):
    # The labels are spread evenly, so only the teacher can make all predictions fear.
    teacher = save_teacher("fearful", favorite="fear")
    settings = [f"teachers=[{teacher}]", "teacher_share=1", "network={channels: [16, 32], strides: [1, 2]}"]
    settings.append(f"teacher_sees={sees}")
    run = Run(f"folder:{faces_folder}", "msanet_ms_as", load_recipe("default", [*FEW, *settings]), tmp_path / "run")
    report = run.train()
    predicted = report.confusion.sum(axis=0)
    assert predicted[EXPRESSIONS.index("fear")] == report.num_pictures
    assert np.isfinite(report.accuracy)


@pytest.mark.parametrize("sees", ["augmented", "original"])
def test_of_extra_pictures_the_teacher_is_not_asked(save_teacher, make_faces, tmp_path: Path, sees):
    """It calls all fear; anger, of which the extra set alone has pictures, is learnt all the same."""
    teacher = save_teacher("fearful", favorite="fear")
    folder, extra = make_faces({"train": 4, "validation": 2}), tmp_path / "extra"
    extra.mkdir()
    (folder / "train" / "anger").rename(extra / "anger")
    settings = [f"teachers=[{teacher}]", "teacher_share=1", "network={channels: [16, 32], strides: [1, 2]}"]
    settings.append(f"teacher_sees={sees}")
    recipe = load_recipe("default", [*FEW, *settings, "epochs=12", "extra_share=0.3", "learning_rate=0.1"])
    run = Run(f"folder:{folder}", "msanet_ms_as", recipe, tmp_path / "run", extra=f"folder:{extra}")
    confusion = run.train().confusion
    anger, fear = EXPRESSIONS.index("anger"), EXPRESSIONS.index("fear")
    assert confusion[anger, anger] == 2
    assert np.delete(confusion[:, fear], anger).sum() >= 12  # of the 14 others


def test_opinions_on_the_originals_are_those_of_picture_and_mirror_image(save_teacher, faces_folder, tmp_path: Path):
    teacher = save_teacher("one")
    recipe = load_recipe("default", [*FEW, f"teachers=[{teacher}]", "teacher_sees=original", "augmentation.erase=1"])
    run = Run(f"folder:{faces_folder}", "msanet", recipe, tmp_path / "run")
    samples = data.read(run.source, "train")
    images = torch.from_numpy(recipe.preprocessing([sample.crop() for sample in samples]))
    expected = (probabilities(teacher, images) + probabilities(teacher, images.flip(3))) / 2
    assert torch.allclose(torch.from_numpy(run.opinions(samples)), expected, atol=1e-5)
    run.rows = [{}] * recipe.epochs
    assert run.opinions(samples) is None  # a finished run learns no more


def test_an_opinion_fills_what_the_label_leaves_of_a_target(faces_folder):
    samples = data.read(f"folder:{faces_folder}", "train")[:3]
    opinions = np.full((2, len(EXPRESSIONS)), 1 / len(EXPRESSIONS), np.float32)
    dataset = FaceDataset(samples, GRAY, EXPRESSIONS, shares=[0.25, 0.25, 1.0], opinions=opinions)
    for index, sample in enumerate(samples):
        label, target = sample.target(EXPRESSIONS, False), dataset[index][1].numpy()
        assert target == pytest.approx(0.25 * label + 0.75 * opinions[index] if index < 2 else label)
