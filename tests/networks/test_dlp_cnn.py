"""DLP-CNN's network: one size of pictures."""

from __future__ import annotations

import torch

from msanet.networks.dlp_cnn import DLPCNN


@torch.no_grad()
def test_pictures_of_another_size_are_resized_and_those_of_its_own_stay():
    torch.manual_seed(0)
    network = DLPCNN(size=32, width=8, hidden=16).eval()
    images = torch.rand(2, 3, 48, 48)
    resized = torch.nn.functional.interpolate(images, size=(32, 32), mode="bilinear")
    assert torch.equal(network(images), network(resized))
    features = network.features(resized)
    assert features.shape == (2, 16)
    assert (features >= 0).all()  # under a ReLU
