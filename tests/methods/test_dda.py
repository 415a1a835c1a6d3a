"""The DDA loss."""

from __future__ import annotations

import torch

from msanet.methods.dda import DDA, discriminative_loss
from tests.methods.test_methods import make, make_batch


def test_a_feature_nearer_to_its_centre_lowers_the_loss_and_nearer_to_another_raises_it():
    centers, classes = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0]]), torch.tensor([0])
    here = torch.tensor([[0.8, 0.8]])
    middle = discriminative_loss(here, centers, classes)[0]
    assert discriminative_loss(here + 0.2 * (centers[:1] - here), centers, classes)[0] < middle
    for other in centers[1:]:
        assert discriminative_loss(here + 0.2 * (other - here), centers, classes)[0] > middle


def test_centres_move_by_their_own_rule_in_training_alone():
    method = make({"name": "dda", "gamma": 0, "center_rate": 0.5})
    assert isinstance(method, DDA)
    batch = make_batch(12)
    before = method.centers.clone()
    method.eval()(batch)
    assert torch.equal(method.centers, before)
    features = torch.randn(3, before.shape[1])
    method.move(features, before.clone(), torch.tensor([2, 2, 5]))
    expected = before.clone()
    expected[2] -= 0.5 * (2 * before[2] - features[0] - features[1]) / 3
    expected[5] -= 0.5 * (before[5] - features[2]) / 2
    torch.testing.assert_close(method.centers, expected)
    pushed = make({"name": "dda", "gamma": 1.0, "center_rate": 0.5})
    assert isinstance(pushed, DDA)
    pushed.move(features, pushed.centers.clone(), torch.tensor([2, 2, 5]))
    assert not torch.allclose(pushed.centers, expected)  # the discriminative loss moves them too
