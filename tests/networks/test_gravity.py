"""After Mohan et al.: two branches, and light that does not count (the force: test_fixed.py)."""

from __future__ import annotations

import pytest
import torch

from msanet.errors import InputError
from msanet.networks import count_cost, create_network
from msanet.networks.gravity import GravityNetwork


def test_the_parameters_are_pinned():
    assert count_cost(create_network("gravity", 8), 64)[0] == 4_432_560


@torch.inference_mode()
def test_the_geometric_branch_does_not_see_the_lights_strength_and_logits_are_of_the_mean():
    torch.manual_seed(0)
    network = GravityNetwork(8, width=4, mean=(0, 0, 0), std=(1, 1, 1)).eval()
    images = torch.rand(2, 3, 16, 16) * 0.4 + 0.05
    dark, bright = (network.features(pictures) for pictures in (images, 2 * images))
    torch.testing.assert_close(dark[:, :32], bright[:, :32], atol=1e-5, rtol=1e-4)
    assert (dark[:, 32:] - bright[:, 32:]).abs().max() > 1e-3
    mean = sum(logits.softmax(dim=1) for logits in network.both(dark)) / 2
    torch.testing.assert_close(network.head(dark).softmax(dim=1), mean)


def test_what_it_cannot_be_made_of_is_refused():
    for arguments in ({"width": 0}, {"mean": [0.5]}, {"std": [0.5, 0.5, 0.0]}):
        with pytest.raises(InputError):
            create_network("gravity", **arguments)
