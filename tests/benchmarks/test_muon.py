"""Convolutions turn by orthogonal steps; everything else is SGD."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from muon import Muon, orthogonal
from torch import nn

pytestmark = pytest.mark.usefixtures("one_thread")

OPTIONS: dict[str, Any] = {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 1e-3}


def gradients(network: nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)


@given(st.integers(1, 3), st.integers(1, 24), st.integers(1, 24), st.integers(0, 99), st.floats(1e-6, 1e6))
@settings(max_examples=50, deadline=None)
def test_singular_values_become_one_nearly_and_singular_vectors_stay(number, rows, columns, seed, size):
    generator = torch.Generator().manual_seed(seed)
    left, _, right = torch.linalg.svd(torch.randn(number, rows, columns, generator=generator), full_matrices=False)
    values = torch.linspace(1, 0.05, min(rows, columns))
    result = orthogonal(size * left * values @ right)
    assert result.shape == (number, rows, columns)
    assert result.dtype == torch.float32
    inner = left.mT @ result @ right.mT
    diagonal = inner.diagonal(dim1=-2, dim2=-1)
    assert float(diagonal.min()) > 0.5
    assert float(diagonal.max()) < 1.4
    assert float((inner - torch.diag_embed(diagonal)).abs().max()) < 0.2


def test_no_gradient_no_turn():
    assert not orthogonal(torch.zeros(2, 3, 4)).any()


def test_all_but_convolutions_without_bias_is_sgd():
    networks = []
    for _ in range(2):
        torch.manual_seed(0)
        networks.append(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2)))
    optimizers = [Muon(networks[0], turn=0.02, **OPTIONS), torch.optim.SGD(networks[1].parameters(), **OPTIONS)]
    for step in range(3):
        for network, optimizer in zip(networks, optimizers, strict=True):
            gradients(network, step)
            optimizer.step()
    for ours, theirs in zip(networks[0].parameters(), networks[1].parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_convolution_keeps_its_length_and_turns_alike_in_every_direction(layout):
    torch.manual_seed(0)
    layer = nn.Conv2d(8, 6, 3, bias=False).to(memory_format=layout)
    optimizer = Muon(layer, turn=0.02, **OPTIONS)
    optimizer.step()  # without gradients nothing happens
    left, _, right = torch.linalg.svd(torch.randn(6, 72), full_matrices=False)
    layer.weight.grad = (left * torch.logspace(0, -1.5, 6) @ right).reshape(6, 8, 3, 3)
    before = layer.weight.detach() * 6**0.5 / layer.weight.detach().norm()
    optimizer.step()
    turned = (layer.weight.detach() - before).reshape(6, 72)
    assert -torch.diag(left.T @ turned @ right.T) / 0.02 == pytest.approx(torch.ones(6), abs=0.5)
    for step in range(50):
        gradients(layer, step)
        optimizer.step()
    assert float(layer.weight.detach().norm()) == pytest.approx(6**0.5, rel=0.02)


def test_the_groups_of_a_convolution_turn_by_themselves():
    torch.manual_seed(0)
    layer = nn.Conv2d(8, 8, 3, groups=2, bias=False)
    optimizer = Muon(layer, turn=0.02, **OPTIONS)
    layer.weight.grad = torch.randn(8, 4, 3, 3)
    layer.weight.grad[4:] = 0
    before = layer.weight.detach() * 8**0.5 / layer.weight.detach().norm()
    optimizer.step()
    torch.testing.assert_close(layer.weight.detach()[4:], before[4:])
    expected = orthogonal(1.9 * layer.weight.grad[:4].reshape(1, 4, 36)).reshape(4, 4, 3, 3)
    torch.testing.assert_close(layer.weight.detach()[:4], before[:4] - 0.02 * expected)


def test_a_loss_falls():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 8, 3, bias=False), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(288, 2))
    images, targets = torch.randn(32, 1, 8, 8), torch.arange(32) % 2
    optimizer = Muon(network, turn=0.02, **OPTIONS)
    losses = []
    for _ in range(20):
        loss = nn.functional.cross_entropy(network(images), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]
