"""A network that wants landmarks gets the same ones in training, evaluation, ONNX and recognition."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from msanet.data.augmentation import Augmentation
from msanet.export import export
from msanet.faces.crops import place, to_crop
from msanet.labels import EXPRESSIONS
from msanet.measure.evaluate import evaluate
from msanet.networks import NETWORKS, Network, create_network
from msanet.preprocessing import MEAN_LANDMARKS, Framing, Preprocessing
from msanet.recognize.recognizer import Recognizer
from msanet.train.recipe import Recipe
from msanet.train.run import Run
from tests.conftest import TINY_RECIPE

pytestmark = pytest.mark.usefixtures("one_thread")


class Pointed(Network):
    """Where the landmarks are, and what colour the picture is."""

    inputs = ("landmarks",)

    def __init__(self, num_classes: int = 7) -> None:
        super().__init__()
        self.fc = nn.Linear(13, num_classes)

    def features(self, images: Tensor, **inputs: Tensor) -> Tensor:
        return torch.cat([images.mean(dim=(2, 3)), 10 * inputs["landmarks"].flatten(1)], dim=1)

    def head(self, features: Tensor) -> Tensor:
        return self.fc(features)


@pytest.fixture
def source(portrait, tmp_path: Path) -> str:
    face = Image.fromarray(portrait[130:330, 168:368]).resize((64, 64))
    for number, (split, count) in enumerate({"train": 2, "validation": 1, "test": 2}.items()):
        for code, label in enumerate(EXPRESSIONS[:3]):
            folder = tmp_path / "faces" / split / label
            folder.mkdir(parents=True)
            for index in range(count):
                face.rotate(9 * code - 9 + 3 * index + number).save(folder / f"{index}.png")
    return f"folder:{tmp_path / 'faces'}"


@pytest.mark.parametrize("align", [True, False])
def test_landmarks_go_the_whole_way(source, portrait, tmp_path, monkeypatch, align):
    monkeypatch.setitem(NETWORKS, "pointed", Pointed)
    preprocessing = {"size": 32, "resize": 36, "mirror": True, "align": align}
    fields = {"epochs": 1, "batch_size": 4, "network": {}, "preprocessing": preprocessing, "labels": EXPRESSIONS[:3]}
    run = Run(source, "pointed", Recipe(**{**TINY_RECIPE, **fields}), tmp_path / "run")
    run.train()
    best, onnx = tmp_path / "run" / "best.safetensors", tmp_path / "model.onnx"
    export(best, onnx)
    one, other = evaluate(best, source, workers=0), evaluate(onnx, source, workers=0)
    np.testing.assert_array_equal(one.confusion, other.confusion)
    recognizer = Recognizer(onnx)
    assert recognizer.metadata.inputs == ("landmarks",)
    (face,) = recognizer.recognize(portrait)
    found = recognizer.find(portrait)
    points = to_crop(place(found.boxes[0], found.landmarks[0], recognizer.preprocessing.framing), found.landmarks[0])
    points = recognizer.preprocessing.to_input(points).astype(np.float32)[None]
    assert 0.2 < points.mean() < 0.8
    expected = recognizer.classifier.classify(found.crops, points)[0]
    np.testing.assert_allclose(list(face.probabilities.values()), expected, atol=1e-6)
    mean = recognizer.classifier.classify(found.crops)[0]  # not known: the mean face's
    assert not np.allclose(mean, expected, atol=1e-6)


def test_augmentation_moves_landmarks_with_the_picture():
    preprocessing = Preprocessing(size=60, resize=72, framing=Framing())
    augmentation = Augmentation(flip=0.5, rotation=20, scale=1.2, shift=0.05, crop="corners")
    for seed in range(12):
        crop = np.zeros((96, 96, 3), np.uint8)
        points = 0.25 + 0.5 * np.random.default_rng(seed).random((5, 2))
        shown, moved = [], None
        for x, y in points:
            crop[:] = 0
            column, row = (int(96 * value) for value in (x, y))
            crop[row - 1 : row + 3, column - 1 : column + 3] = 255
            image, moved = augmentation.with_points(crop, points, preprocessing, np.random.default_rng(seed))
            rows, columns = np.nonzero(image[..., 0] > 64)
            shown.append([columns.mean() / 60, rows.mean() / 60] if len(rows) else [np.nan, np.nan])
        assert moved is not None
        places = np.array(shown)
        flipped = bool(moved[0, 0] > moved[1, 0]) != bool(points[0, 0] > points[1, 0])
        order = [1, 0, 2, 4, 3] if flipped or not np.nanmax(np.abs(moved - places)) < 0.06 else [0, 1, 2, 3, 4]
        assert np.nanmax(np.abs(moved[order] - places)) < 0.06


def test_a_network_without_landmarks_is_not_bothered_with_them():
    assert create_network("msanet").inputs == ()
    assert MEAN_LANDMARKS.shape == (5, 2)
