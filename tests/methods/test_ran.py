"""RAN's losses."""

from __future__ import annotations

import pytest
import torch

from msanet.errors import InputError
from msanet.networks.ran import RAN
from tests.methods.test_methods import make, make_batch


@torch.no_grad()
def test_the_rank_loss_is_what_the_best_crop_lacks_of_the_margin():
    method = make({"name": "ran", "margin": 0.3}, "ran").eval()
    assert isinstance(method.network, RAN)
    batch = make_batch(8)
    attention = method.network.parts(batch.images)[1]
    expected = sum(max(0.0, 0.3 - float(row[1:].max() - row[0])) for row in attention) / 8
    terms = method(batch)
    assert 0 < expected == pytest.approx(float(terms["rank"]), rel=1e-4)
    plain = torch.nn.functional.cross_entropy(terms["logits"], batch.targets)
    torch.testing.assert_close(terms["loss"], plain + terms["rank"])
    with pytest.raises(InputError, match="trains the regions of network ran"):
        make({"name": "ran"}, "resnet18")
