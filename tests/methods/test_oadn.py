"""OADN's losses."""

from __future__ import annotations

import pytest
import torch

from msanet.errors import InputError
from tests.methods.test_methods import make, make_batch


@torch.no_grad()
def test_the_regions_losses_are_added_and_weighed_against_the_attention():
    batch = make_batch(8)
    terms = make({"name": "oadn", "attention": 0.3}, "oadn").eval()(batch)
    torch.testing.assert_close(terms["loss"], 0.3 * terms["attention"] + 0.7 * terms["regions"])
    assert terms["regions"] > 3 * terms["attention"]  # four of them, each like the other
    with pytest.raises(InputError, match="trains the branches of network oadn"):
        make({"name": "oadn"}, "resnet18")
