"""Drawing within strata, and Wilson's interval against its published values."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from msanet.measure.intervals import RESAMPLES, combined, ends, resample, wilson


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 40)), min_size=1, max_size=12))
def test_every_resample_has_as_many_pictures_of_each_stratum(kinds):
    strata, counts = np.array(kinds, np.int64).T
    draws = resample(counts, strata, np.random.default_rng(0))
    assert draws.shape == (RESAMPLES, len(kinds))
    assert draws.dtype == np.int64
    for stratum in range(4):
        assert set(draws[:, strata == stratum].sum(axis=1)) == {counts[strata == stratum].sum()}
    assert not draws[:, counts == 0].any()


def test_each_kind_is_drawn_as_often_as_it_occurs():
    counts = np.array([30, 70, 5, 5])
    draws = resample(counts, np.array([0, 0, 1, 1]), np.random.default_rng(0))
    np.testing.assert_allclose(draws.mean(axis=0), counts, rtol=0.02)
    np.testing.assert_allclose(draws.std(axis=0), [21**0.5, 21**0.5, 2.5**0.5, 2.5**0.5], rtol=0.05)


def test_ends_leave_out_what_is_no_number():
    values = np.arange(1001, dtype=float)[:, None].repeat(2, axis=1)
    values[500:, 1] = np.nan
    np.testing.assert_allclose(ends(values), [[25, 12.475], [975, 486.525]])


# Newcombe, Two-sided confidence intervals for the single proportion (1998), table I, method 3.
@pytest.mark.parametrize(
    ("hits", "number", "interval"),
    [(81, 263, (0.2553, 0.3662)), (15, 148, (0.0624, 0.1605)), (0, 20, (0, 0.1611)), (1, 29, (0.0061, 0.1718))],
)
def test_wilson_as_published(hits, number, interval):
    assert wilson(hits, number) == pytest.approx(interval, abs=1e-4)
    low, high = wilson(number - hits, number)
    assert (1 - high, 1 - low) == pytest.approx(interval, abs=1e-4)


def test_the_interval_of_a_mean_of_one_share_is_its_own():
    share = wilson(3, 10)
    assert combined(0.3, np.array([0.3]), np.array([share]), 1.0) == pytest.approx(share)


def test_the_interval_of_a_mean_has_the_width_of_theory():
    """Of two shares with many pictures: the root of the sum of the variances."""
    ends_of_both = np.array([wilson(500, 1000), wilson(9000, 10000)])
    low, high = combined(0.7, np.array([0.5, 0.9]), ends_of_both, 0.5)
    assert high - low == pytest.approx(2 * 1.96 * 0.5 * (0.25 / 1000 + 0.09 / 10000) ** 0.5, rel=0.01)
