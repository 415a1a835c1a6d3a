"""RLPS's classifier: its size at both faces' sizes."""

from __future__ import annotations

import pytest

from msanet.errors import InputError
from msanet.networks import create_network
from msanet.networks.rlps import RLPSNetwork


@pytest.mark.parametrize(("cells", "number"), [(12, 5_920_359), (8, 3_298_919)])
def test_as_many_parameters_as_specified(cells, number):
    network = create_network("rlps", 7, cells=cells)
    assert isinstance(network, RLPSNetwork)
    assert sum(value.numel() for value in network.parameters()) == number


def test_what_it_cannot_be_made_of_is_refused():
    for arguments in ({"cells": 0}, {"dropout": 1.0}):
        with pytest.raises(InputError, match="cells and dropout"):
            create_network("rlps", **arguments)
