"""The locality-preserving loss."""

from __future__ import annotations

import torch

from msanet.methods.dlp import locality_loss


def test_classes_that_are_single_points_have_no_loss_and_loners_none():
    points = torch.randn(2, 5)
    targets = torch.eye(8)[[0, 0, 0, 3, 3, 3]]
    assert locality_loss(points.repeat_interleave(3, dim=0), points.repeat_interleave(3, dim=0), targets, 20) == 0
    alone = torch.randn(8, 5)
    assert locality_loss(alone, alone, torch.eye(8), 20) == 0


def test_neighbours_are_the_nearest_of_the_class_and_constants_in_the_gradient():
    features = torch.tensor([[0.0], [1.0], [5.0], [0.1]], requires_grad=True)
    targets = torch.eye(8)[[0, 0, 0, 1]]
    loss = locality_loss(features, features.detach(), targets, 1)
    torch.testing.assert_close(loss, torch.tensor((1 + 1 + 16) / 8.0))
    (gradient,) = torch.autograd.grad(loss, features)
    torch.testing.assert_close(gradient, torch.tensor([[-1.0], [1.0], [4.0], [0.0]]) / 4)
    two = locality_loss(features, features, targets, 20)  # as many as there are: two
    torch.testing.assert_close(two, torch.tensor((3.0**2 + 1.5**2 + 4.5**2) / 8))
