"""PSR's loss, and its super-resolution."""

from __future__ import annotations

import pytest
import torch

from msanet import data
from msanet.errors import InputError
from msanet.networks.psr import PSR
from tests.methods.test_methods import make, make_batch


@torch.no_grad()
def test_the_loss_is_the_mean_of_the_branches():
    method = make({"name": "psr"}, "psr").eval()
    assert isinstance(method.network, PSR)
    batch = make_batch(8)
    terms = method(batch)
    branches = method.network.branch_logits(method.network.features(batch.images))
    losses = [torch.nn.functional.cross_entropy(logits, batch.targets) for logits in branches]
    torch.testing.assert_close(terms["loss"], torch.stack(losses).mean())
    torch.testing.assert_close(terms["logits"], method.network(batch.images))
    with pytest.raises(InputError, match="trains the branches of network psr"):
        make({"name": "psr"}, "resnet18")


def test_the_super_resolution_alone_learns_beforehand(faces_folder):
    method = make({"name": "psr", "enlarging_steps": 2}, "psr")
    before = {name: value.clone() for name, value in method.network.state_dict().items()}
    assert isinstance(method.network, PSR)
    method.fit(data.read(f"folder:{faces_folder}", "train"), 0)
    changed = {name for name, value in method.network.state_dict().items() if not torch.equal(value, before[name])}
    assert {name.split(".")[0] for name in changed} == {"super_resolution"}
    assert all(parameter.grad is None for parameter in method.network.parameters())
