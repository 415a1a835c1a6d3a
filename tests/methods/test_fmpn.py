"""FMPN's losses: maps of where a class's faces differ, laid on each picture."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from msanet.errors import InputError
from msanet.methods.fmpn import FMPNLosses, motion_maps, moved, point_map, similarity
from msanet.preprocessing import MEAN_LANDMARKS, mirror_landmarks
from tests.methods.test_methods import make, make_batch


def method_of(**options: object) -> FMPNLosses:
    method = make({"name": "fmpn", **options}, "fmpn")
    assert isinstance(method, FMPNLosses)
    return method


def test_the_target_is_the_classes_map_and_at_it_the_loss_is_plain_cross_entropy(monkeypatch):
    method = method_of().eval()
    maps = torch.rand(8, 1, 64, 64)
    method.maps.copy_((maps + maps.flip(3)) / 2)
    batch = make_batch(8)
    targets = method.targets(batch)
    direct = torch.nn.functional.avg_pool2d(method.maps, 2)  # 32 pixels, landmarks as the mean face's
    torch.testing.assert_close(targets, direct, atol=1e-4, rtol=1e-4)
    features = torch.zeros(8, method.network.fc.in_features)  # type: ignore[union-attr, arg-type]
    monkeypatch.setattr(method.network, "parts", lambda images: (features, targets))
    terms = method(batch)
    torch.testing.assert_close(terms["loss"], cross_entropy(terms["logits"], batch.targets))
    assert terms["mask"] == 0


def test_maps_are_flipped_and_moved_with_the_picture():
    method = method_of()
    maps = torch.rand(8, 1, 64, 64)
    method.maps.copy_((maps + maps.flip(3)) / 2)
    landmarks = MEAN_LANDMARKS + np.random.default_rng(0).normal(0, 0.03, (8, 5, 2)).astype(np.float32)
    batch = make_batch(8)
    one = method.targets(replace(batch, inputs={"landmarks": torch.from_numpy(landmarks)}))
    mirrored = torch.from_numpy(mirror_landmarks(landmarks).astype(np.float32))
    other = method.targets(replace(batch, inputs={"landmarks": mirrored}))
    torch.testing.assert_close(one.flip(3), other, atol=1e-3, rtol=1e-3)
    points = torch.from_numpy(MEAN_LANDMARKS)[None]
    shifted = similarity(points + torch.tensor([0.25, 0.0]), points)
    torch.testing.assert_close(moved(maps[:1], shifted, 64)[..., 16:], maps[:1, ..., :48], atol=1e-3, rtol=1e-3)


def test_maps_are_differences_from_neutral_equalised():
    means = torch.randn(4, 8, 8)
    maps = motion_maps(means, 1)
    torch.testing.assert_close(maps[[0, 2, 3]].flatten(1).mean(dim=1), torch.full((3,), 0.5))
    torch.testing.assert_close(maps[1], maps[[0, 2, 3]].mean(dim=0))
    assert maps[0].argmax() == (means[0] - means[1]).abs().argmax()


def test_points_stand_in_where_nothing_is_neutral():
    with pytest.raises(InputError, match="there is no label 'calm'"):
        method_of(neutral="calm")
    method = method_of(neutral="calm", prior="points")
    method.fit([], 0)
    assert torch.equal(method.maps[3, 0], point_map())
    assert 0.9 < point_map().max() <= 1
    with pytest.raises(InputError, match="no training picture is neutral"):
        method_of().fit([], 0)
    with pytest.raises(InputError, match="trains the masks of network fmpn"):
        make({"name": "fmpn"}, "resnet18")
