"""After Sadeghi & Raie: as many numbers as the paper counts (the codes: test_fixed.py)."""

from __future__ import annotations

import pytest

from msanet.networks import create_network
from msanet.networks.gabor_pairs import GaborPairsNetwork


@pytest.mark.parametrize(
    ("arguments", "classes", "number"), [({}, 7, 25_095), ({"blocks": 1}, 8, 456), ({"filters": 16}, 7, 107_527)]
)
def test_as_many_parameters_as_specified(arguments, classes, number):
    network = create_network("gabor_pairs", classes, **arguments)
    assert isinstance(network, GaborPairsNetwork)
    assert sum(value.numel() for value in network.parameters()) == number
