"""Backbones of timm go the whole way: trained, evaluated, exported, and recognizing photographs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from msanet.errors import InputError
from msanet.export import export
from msanet.measure.evaluate import evaluate
from msanet.networks import Explains, create_network
from msanet.recognize.recognizer import Recognizer
from msanet.train.recipe import Recipe
from msanet.train.run import Run
from tests.conftest import TINY_RECIPE

pytest.importorskip("timm")
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize(("name", "arguments"), [("timm:test_resnet", {}), ("timm:test_vit", {"img_size": 32})])
def test_a_backbone_goes_the_whole_way(name, arguments, faces_folder, portrait, tmp_path: Path):
    recipe = Recipe(**{**TINY_RECIPE, "epochs": 1, "network": arguments})
    source = f"folder:{faces_folder}"
    Run(source, name, recipe, tmp_path / "run").train()
    best, onnx = tmp_path / "run" / "best.safetensors", tmp_path / "model.onnx"
    proof = export(best, onnx)
    assert proof.agreement == 1
    one, other = evaluate(best, source, workers=0), evaluate(onnx, source, workers=0)
    np.testing.assert_array_equal(one.confusion, other.confusion)
    recognizer = Recognizer(onnx)
    (face,) = recognizer.recognize(portrait)
    assert sum(face.probabilities.values()) == pytest.approx(1, abs=1e-5)
    with pytest.raises(InputError, match="gives no evidence"):
        recognizer.recognize(portrait, explain=True)


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("timm:no_such_model", {}, "timm has no model 'no_such_model'"),
        ("timm:test_resnet", {"nonsense": 3}, "cannot be made with"),
        ("timm:test_resnet", {"pretrained": True}, "weights come by initial_weights"),
    ],
)
def test_what_timm_cannot_make_is_one_sentence(name: str, arguments: dict[str, Any], words: str):
    with pytest.raises(InputError, match=words):
        create_network(name, 7, **arguments)


def test_a_backbone_gives_features_and_no_evidence():
    network = create_network("timm:test_resnet", 7).eval()
    assert not isinstance(network, Explains)


@pytest.mark.parametrize(("name", "number"), [("legacy_xception", 20_823_344), ("densenet121", 6_962_056)])
def test_the_networks_of_hardjadinata_et_al_have_the_published_sizes(name, number):
    with torch.device("meta"):
        network = create_network(f"timm:{name}", 8)
    assert sum(value.numel() for value in network.parameters()) == number
