"""What makes PSR itself: three scales of one picture, extractors of their own, one classifier."""

from __future__ import annotations

import copy

import torch
from torch.nn.functional import avg_pool2d

from msanet.networks.psr import PSR


def make() -> PSR:
    torch.manual_seed(0)
    return PSR(size=64, width=4, blocks=1).eval()


@torch.no_grad()
def test_at_first_the_transformer_is_the_identity_and_the_small_scale_the_halved_picture():
    images = torch.rand(2, 3, 64, 64)
    small, enlarged, whole = make().scales(images)
    torch.testing.assert_close(whole, images, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(small, avg_pool2d(images, 2), atol=1e-4, rtol=1e-4)
    assert enlarged.shape == whole.shape


@torch.no_grad()
def test_branches_have_extractors_of_their_own_and_one_classifier():
    network = make()
    images = torch.rand(2, 3, 64, 64)
    swapped = copy.deepcopy(network)
    first, _, third = swapped.low
    state = copy.deepcopy(first.state_dict())
    first.load_state_dict(third.state_dict())
    third.load_state_dict(state)
    assert not torch.allclose(network(images), swapped(images), atol=1e-6)
    part = network.features(images).chunk(3, dim=1)[0]
    one, two, three = network.branch_logits(part.repeat(1, 3))
    assert torch.equal(one, two)
    assert torch.equal(one, three)


@torch.no_grad()
def test_the_answer_is_the_mean_of_the_branches_probabilities():
    network = make()
    features = torch.randn(2, 3 * 64)
    mean = torch.stack([logits.softmax(dim=1) for logits in network.branch_logits(features)]).mean(dim=0)
    torch.testing.assert_close(network.head(features).softmax(dim=1), mean)


def test_the_transformer_learns_from_the_whole_picture_alone():
    network = make()
    torch.nn.init.normal_(network.transformer.last.weight, std=0.01)
    for place, learns in enumerate((False, False, True)):
        scale = network.scales(torch.rand(1, 3, 64, 64))[place]
        bias = network.transformer.last.bias
        assert (
            scale.requires_grad and torch.autograd.grad(scale.sum(), bias, allow_unused=True)[0] is not None
        ) == learns
