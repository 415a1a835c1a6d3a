"""MA-Net's loss."""

from __future__ import annotations

import pytest
import torch

from msanet.errors import InputError
from msanet.networks.manet import MANet
from tests.methods.test_methods import make, make_batch


@torch.no_grad()
def test_the_loss_weighs_both_branches_as_their_logits():
    method = make({"name": "manet"}, "manet").eval()
    assert isinstance(method.network, MANet)
    batch = make_batch(8)
    terms = method(batch)
    torch.testing.assert_close(terms["loss"], 0.6 * terms["local"] + 0.4 * terms["global"])
    local, _ = method.network.branch_logits(method.network.features(batch.images))
    torch.testing.assert_close(terms["local"], torch.nn.functional.cross_entropy(local, batch.targets))
    with pytest.raises(InputError, match="trains the branches of network manet"):
        make({"name": "manet"}, "resnet18")
