"""After HistNet: what makes a histogram one, and its distance."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import softplus

from msanet.errors import InputError
from msanet.networks import count_cost, create_network
from msanet.networks.histnet import HistNet


def test_the_cost_is_pinned():
    assert count_cost(create_network("histnet", 8), 64) == (2_931_393, 216_334_336)


@torch.inference_mode()
def test_a_histogram_sums_to_one_and_does_not_know_where():
    torch.manual_seed(0)
    network = HistNet(8, reduced=4, projected=8, stem_width=4)
    maps = torch.rand(2, 4, 5, 5)
    histograms = network.histograms(maps)
    torch.testing.assert_close(histograms.sum(dim=2), torch.ones(2, 4))
    shuffled = maps.flatten(2)[:, :, torch.randperm(25)].reshape(maps.shape)
    torch.testing.assert_close(network.histograms(shuffled), histograms)
    assert network.histograms(torch.full((1, 1, 2, 2), 3 / 15))[0, 0].argmax() == 3


@torch.inference_mode()
def test_only_a_classs_own_histogram_is_at_no_distance():
    torch.manual_seed(0)
    network = HistNet(8, reduced=4, projected=8, stem_width=4)
    distances = network.distances(softplus(network.classes))
    assert distances.diagonal().abs().max() == 0
    assert (distances + torch.eye(8) > 0).all()
    assert network.head(softplus(network.classes)).argmax(dim=1).tolist() == list(range(8))


@torch.inference_mode()
def test_it_begins_undecided():
    torch.manual_seed(0)
    probabilities = HistNet(8).eval()(torch.randn(2, 3, 32, 32)).softmax(dim=1)
    assert -(probabilities * probabilities.log()).sum(dim=1).min() > 0.5


def test_what_it_cannot_be_made_of_is_refused():
    with pytest.raises(InputError, match="2 bins"):
        create_network("histnet", bins=1)
