"""HOG under a kernel: its sizes, and that random Fourier features are the kernel."""

from __future__ import annotations

import pytest
import torch

from msanet.errors import InputError
from msanet.networks import create_network
from msanet.networks.hog import HOG


@pytest.mark.parametrize(("kernel", "number"), [("linear", 14_120), ("rbf", 32_776)])
def test_as_many_parameters_as_specified(kernel, number):
    assert sum(value.numel() for value in create_network("hog", 8, kernel=kernel).parameters()) == number


def test_the_fourier_features_are_the_rbf_kernel():
    torch.manual_seed(0)
    network = HOG(8, fourier=20_000)
    images = torch.randn(4, 3, 16, 16)
    descriptor = HOG(8, kernel="linear").features(images)
    kernel = torch.exp(-torch.cdist(descriptor, descriptor).square() / (1764 * 0.011))
    features = network.features(images)
    torch.testing.assert_close(features @ features.T, kernel, atol=0.03, rtol=0)


def test_what_it_cannot_be_made_of_is_refused():
    with pytest.raises(InputError, match="choose one of rbf, linear"):
        HOG(kernel="chi2")
    with pytest.raises(InputError, match="variance"):
        HOG(variance=0)
