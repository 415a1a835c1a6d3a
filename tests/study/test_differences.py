"""Paired differences against drawing pictures and seeds one by one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from msanet.study.differences import paired_difference


def recall(targets: np.ndarray, right: np.ndarray) -> float:
    return float(np.mean([right[targets == label].mean() for label in np.unique(targets)]))


@given(st.integers(1, 40), st.integers(1, 3), st.integers(1, 3), st.integers(0, 99))
def test_the_difference_is_that_of_the_means_over_seeds(number, first_seeds, second_seeds, seed):
    rng = np.random.default_rng(seed)
    targets = rng.integers(4, size=number)
    first = rng.random((first_seeds, number)) < 0.7
    second = rng.random((second_seeds, number)) < 0.5
    found = paired_difference(targets, first, second)
    assert found["accuracy"][0] == pytest.approx(first.mean() - second.mean())
    means = [np.mean([recall(targets, right) for right in part]) for part in (first, second)]
    assert found["average_accuracy"][0] == pytest.approx(means[0] - means[1])
    for _, low, high in found.values():
        assert -1 <= low <= high <= 1


def test_a_row_against_itself_differs_by_its_seeds_alone():
    rng = np.random.default_rng(0)
    targets = rng.integers(3, size=200)
    one = rng.random((1, 200)) < 0.6
    for values in paired_difference(targets, one, one).values():
        assert values == [0, 0, 0]
    two = rng.random((2, 200)) < 0.6
    for difference, low, high in paired_difference(targets, two, two).values():
        assert difference == pytest.approx(0)
        assert low < 0 < high


def test_the_interval_is_that_of_drawing_pictures_of_each_class_and_seeds_one_by_one():
    rng = np.random.default_rng(1)
    targets = np.repeat([0, 1, 2], [150, 40, 10])
    skill = rng.random(200)  # pictures are hard or easy for all networks
    first, second = (
        np.stack([rng.random(200) < np.clip(skill + gain, 0, 1) for gain in gains])
        for gains in ((0.15, 0.3, 0.2), (0.05, 0.1))
    )
    drawn: dict[str, list[float]] = {"accuracy": [], "average_accuracy": []}
    for _ in range(3000):
        chosen = np.concatenate(
            [rng.choice(np.flatnonzero(targets == label), sum(targets == label)) for label in range(3)]
        )
        parts = [part[rng.integers(len(part), size=len(part))][:, chosen] for part in (first, second)]
        drawn["accuracy"].append(parts[0].mean() - parts[1].mean())
        means = [np.mean([recall(targets[chosen], right) for right in part]) for part in parts]
        drawn["average_accuracy"].append(float(means[0] - means[1]))
    for measure, (_, low, high) in paired_difference(targets, first, second).items():
        expected = np.quantile(drawn[measure], [0.025, 0.975])
        width = expected[1] - expected[0]
        assert [low, high] == pytest.approx(expected, abs=0.08 * width)


def test_a_class_of_one_picture_is_in_every_resample():
    """Left out of a third of the resamples, it would let the average reach that of the other class."""
    targets = np.repeat([0, 1], [400, 1])
    first = np.arange(401)[None] < 200
    _, low, high = paired_difference(targets, first, np.zeros((1, 401), bool))["average_accuracy"]
    assert 0.22 < low < high < 0.28
