"""Visual words over dense SIFT: what is a word, and that presence is all that counts."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from msanet import data, weights
from msanet.errors import InputError
from msanet.labels import EXPRESSIONS
from msanet.methods import Context, create_method
from msanet.model import Metadata
from msanet.networks import create_network
from msanet.networks.sift_words import DenseSIFT, SIFTWords
from msanet.preprocessing import Preprocessing
from msanet.train.recipe import Recipe
from msanet.train.run import Run
from tests.conftest import TINY_RECIPE

pytestmark = pytest.mark.usefixtures("one_thread")


def test_as_many_parameters_and_windows_as_specified():
    assert sum(value.numel() for value in create_network("sift_words", 8).parameters()) == 344_072
    for side, windows in ((48, 289), (64, 529)):
        assert DenseSIFT(12, 2)(torch.randn(1, 1, side, side)).flatten(2).shape == (1, 128, windows)


@torch.inference_mode()
def test_descriptors_are_of_unit_norm_blind_to_light_and_flat_ones_are_none():
    sift, gray = DenseSIFT(12, 2), torch.randn(2, 1, 48, 48, generator=torch.Generator().manual_seed(0))
    gray[1, :, :, 24:] = 0.3
    descriptors = sift(gray)
    norms = descriptors.norm(dim=1)
    assert ((norms == 0) | ((norms - 1).abs() < 1e-5)).all()
    assert (norms[1, :, -2:] == 0).all()
    torch.testing.assert_close(sift(3 * gray + 1), descriptors, atol=1e-4, rtol=1e-3)
    ramp = torch.arange(48.0).expand(1, 1, 48, 48)
    assert sift(ramp)[0, :, 5, 5].reshape(16, 8).sum(dim=0).argmax() == 0  # to the right
    assert sift(ramp.mT)[0, :, 5, 5].reshape(16, 8).sum(dim=0).argmax() == 2  # downwards


@torch.inference_mode()
def test_a_pattern_that_is_repeated_changes_no_presence():
    torch.manual_seed(0)
    network = SIFTWords(8, words=16)
    image = torch.randn(1, 3, 48, 48)
    present = network.features(image)
    assert present.shape == (1, 21 * 16)
    torch.testing.assert_close(present.norm(dim=1), torch.ones(1))
    assert len(present.unique()) == 2  # there or not
    # A word of a coarse part is in one of its fine parts, and the reverse.
    fine, half, whole = present[0].split([16 * 16, 4 * 16, 16])
    assert torch.equal(fine.reshape(16, 16).amax(dim=0), whole)
    assert torch.equal(half.reshape(4, 16).amax(dim=0), whole)
    # Down a picture of stripes the same windows repeat: each row of parts, and the whole, has the same words.
    stripes = torch.sin(torch.arange(48.0) / 2).expand(1, 3, 48, 48)
    fine, _, whole = (network.features(stripes)[0] > 0).split([16 * 16, 4 * 16, 16])
    rows = fine.reshape(4, 4, 16)
    assert (rows == rows[:1]).all()
    assert torch.equal(rows[0].any(dim=0), whole)


def test_the_codebook_is_found_from_training_pictures_and_travels(faces_folder, tmp_path: Path):
    arguments = {"words": 8, "step": 3}
    torch.manual_seed(0)
    network = create_network("sift_words", 8, **arguments)
    assert isinstance(network, SIFTWords)
    before = network.codebook.clone()
    preprocessing = Preprocessing(size=32)
    method = create_method({"name": "svm"}, network, Context(labels=EXPRESSIONS, preprocessing=preprocessing))
    samples = data.read(f"folder:{faces_folder}", "train")
    method.fit(samples, 0)
    found = network.codebook.clone()
    assert found.shape == before.shape
    assert not torch.equal(found, before)
    method.fit(samples, 0)
    assert torch.equal(network.codebook, found)
    metadata = Metadata("words", "sift_words", arguments, EXPRESSIONS, preprocessing)
    weights.save(tmp_path / "words.safetensors", network.state_dict(), metadata)
    loaded, _ = weights.load(tmp_path / "words.safetensors")
    assert isinstance(loaded, SIFTWords)
    assert torch.equal(loaded.codebook, found)
    with pytest.raises(InputError, match="give fewer words"):
        SIFTWords(8, words=500).fit([(torch.randn(1, 3, 16, 16), torch.zeros(1))], 0)


def test_the_averaged_network_has_the_codebook_too(faces_folder, tmp_path: Path):
    settings = {"epochs": 1, "ema": 0.9, "network": {"words": 8, "step": 3}, "method": {"name": "svm"}}
    run = Run(f"folder:{faces_folder}", "sift_words", Recipe(**{**TINY_RECIPE, **settings}), tmp_path / "run")
    run.fit(data.read(f"folder:{faces_folder}", "train"))
    assert run.average.network is not run.network
    assert torch.equal(run.average.network.get_buffer("codebook"), run.network.get_buffer("codebook"))


def test_what_it_cannot_be_made_of_is_refused():
    for arguments in ({"words": 1}, {"bins": 3}, {"step": 0}):
        with pytest.raises(InputError, match="words, bins and step"):
            create_network("sift_words", **arguments)
