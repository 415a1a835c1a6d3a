"""Prior distribution label smoothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from msanet.data.sample import Sample
from msanet.errors import InputError
from msanet.labels import EXPRESSIONS
from msanet.methods import Context, create_method
from msanet.methods.pdls import FERPLUS, PDLS
from msanet.networks import create_network
from msanet.preprocessing import Preprocessing
from tests.methods.test_methods import make, make_batch


def fitted(samples: list[Sample], **options: object) -> PDLS:
    method = make({"name": "pdls", **options})
    assert isinstance(method, PDLS)
    method.fit(samples, 0)
    return method


def test_targets_keep_their_top_with_the_share_that_the_prior_gives_it():
    method = fitted([])
    batch = make_batch(8)
    targets = method.change(replace(batch, targets=0.9 * batch.targets + 0.1 / 8)).targets
    torch.testing.assert_close(targets.sum(dim=1), torch.ones(8))
    assert targets.argmax(dim=1).tolist() == list(range(8))
    prior = torch.tensor(FERPLUS)
    prior = prior / prior.sum(dim=1, keepdim=True)
    torch.testing.assert_close(targets.diagonal(), 0.8 + 0.2 * prior.diagonal())
    torch.testing.assert_close(method(batch)["loss"], method.inner(replace(batch, targets=targets))["loss"])


def test_the_prior_is_the_mean_of_the_votes_by_label():
    first, second, *_ = EXPRESSIONS
    samples = [
        Sample(Path("a"), first, ((first, 0.75), (second, 0.25))),
        Sample(Path("b"), first, ((first, 0.25), (second, 0.75))),
        Sample(Path("c"), second, ((second, 1.0),)),
    ]
    prior = fitted(samples).prior
    assert prior[0, :2].tolist() == [0.5, 0.5]
    assert torch.equal(prior[1:], torch.eye(8)[1:])
    assert fitted(samples, prior="ferplus").prior[0, 0] > 0.7


def test_labels_without_votes_that_ferplus_does_not_know_are_refused():
    context = Context(labels=("joy", "fear"), preprocessing=Preprocessing(size=32))
    method = create_method({"name": "pdls"}, create_network("resnet18", 2, stem_width=4), context)
    with pytest.raises(InputError, match="FERPlus's know no 'joy'"):
        method.fit([], 0)
