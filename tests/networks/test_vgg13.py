"""VGG-13: its size, and that it reads grey."""

from __future__ import annotations

import pytest
import torch

from msanet.errors import InputError
from msanet.networks import count_cost, create_network
from msanet.networks.vgg13 import VGG13


def test_the_cost_is_pinned():
    assert count_cost(create_network("vgg13", 8), 64) == (8_757_704, 875_831_296)


@torch.inference_mode()
def test_it_sees_grey_alone():
    network = VGG13(8, width=4, hidden=16).eval()
    images = torch.randn(2, 3, 32, 32)
    shifted = images + torch.tensor([1 / 0.299, -1 / 0.587, 0.0])[:, None, None]  # of the same luma
    torch.testing.assert_close(network(shifted), network(images), atol=1e-5, rtol=1e-4)


def test_what_it_cannot_be_made_of_is_refused():
    for arguments in ({"width": 0}, {"dropout": [0.5]}, {"dropout": [0.5, 1.0]}):
        with pytest.raises(InputError):
            create_network("vgg13", **arguments)
