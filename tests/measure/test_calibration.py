"""Calibration error by hand, and the temperature that was applied is found."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msanet.measure.calibration import calibration_error, fit_temperature
from msanet.measure.scores import score
from msanet.preprocessing import softmax

patient = settings(deadline=None, max_examples=50)  # a busy machine is no bug


def test_calibration_error_by_hand():
    # Two pictures at confidence 0.9, one right; two at 0.6, both right: (2 * |0.5 - 0.9| + 2 * |1 - 0.6|) / 4.
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.4, 0.6]], np.float32)
    assert calibration_error(probabilities, np.array([0, 1, 0, 1])) == pytest.approx(0.4, abs=1e-6)
    assert score(probabilities, np.array([0, 1, 0, 1]), ("a", "b")).calibration_error == pytest.approx(0.4, abs=1e-6)


def test_calibration_error_of_honest_confidences_is_small():
    random = np.random.default_rng(0)
    probabilities = random.dirichlet(np.ones(4), 20000)
    targets = (probabilities.cumsum(1) > random.random((20000, 1))).argmax(1)
    assert calibration_error(probabilities, targets) < 0.015
    sharp = softmax(np.log(probabilities), 0.5)
    assert calibration_error(sharp, targets) > 0.1


@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5])
def test_fit_temperature_finds_the_one_that_was_applied(temperature):
    random = np.random.default_rng(0)
    probabilities = random.dirichlet(np.ones(5), 20000)
    targets = (probabilities.cumsum(1) > random.random((20000, 1))).argmax(1)
    logits = np.log(probabilities) * temperature + random.normal(size=(20000, 1))
    assert fit_temperature(logits, targets) == pytest.approx(temperature, rel=0.03)


@patient
@given(st.integers(0, 2**32 - 1))
def test_fit_temperature_is_a_minimum(seed):
    random = np.random.default_rng(seed)
    logits, targets = random.normal(scale=3, size=(40, 4)), random.integers(0, 4, 40)

    def loss(temperature):
        return -np.log(softmax(logits, temperature)[np.arange(40), targets] + 1e-30).mean()

    best = fit_temperature(logits, targets)
    assert 0.05 <= best <= 20.001
    for other in (best * 0.9, best * 1.1):
        assert loss(best) <= loss(np.clip(other, 0.05, 20)) + 1e-6


def test_fit_temperature_stops_at_the_end_of_its_range():
    logits = np.array([[1.0, 0.0], [0.0, 1.0]])
    assert fit_temperature(logits, np.array([0, 1])) == pytest.approx(0.05, rel=1e-3)
    assert fit_temperature(logits, np.array([1, 0])) == pytest.approx(20, rel=1e-3)
    assert np.isfinite(fit_temperature(1e4 * logits, np.array([1, 0])))
