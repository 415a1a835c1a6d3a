"""What one row of an ablation is worth beside another."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from msanet.measure.intervals import RESAMPLES, ends, resample
from msanet.study.cells import MEASURES, SET_TITLES, CellResult


def in_all(results: Sequence[CellResult], name: str) -> bool:
    """Whether all results have pictures of this set."""
    return all(name in result.sets and result.sets[name].any() for result in results)


def spread(results: Sequence[CellResult], name: str) -> dict[str, Any]:
    """Measure -> mean, standard deviation over the seeds (None for one seed) and the values, of one set."""
    scores = [result.scores(name) for result in results]
    return {
        measure: {
            "mean": float(np.mean(values)),
            "deviation": float(np.std(values, ddof=1)) if len(values) > 1 else None,
            "values": values,
        }
        for measure in MEASURES
        for values in [[entry[measure] for entry in scores]]
    }


def differences(results: Sequence[CellResult], others: Sequence[CellResult]) -> dict[str, dict[str, list[float]]]:
    """Set -> measure -> difference of `results` to `others`, with the ends of its interval; {} where there is none.

    Rows that were scored on different pictures, of seven and of eight labels for instance, cannot be compared:
    they are left out with a warning.
    """
    if not others:
        return {}
    both = [*results, *others]
    targets, sets = results[0].targets, results[0].sets
    names = [name for name in SET_TITLES if in_all(both, name)]
    if not all(
        np.array_equal(targets, other.targets) and all(np.array_equal(sets[name], other.sets[name]) for name in names)
        for other in both
    ):
        warnings.warn("rows that were scored on different pictures are not compared", stacklevel=2)
        return {}
    first, second = (np.stack([result.correct for result in part]) for part in (results, others))
    return {name: paired_difference(targets[sets[name]], first[:, sets[name]], second[:, sets[name]]) for name in names}


def paired_difference(targets: np.ndarray, first: np.ndarray, second: np.ndarray) -> dict[str, list[float]]:
    """How much better one row predicts than another, with a 95 % bootstrap interval.

    A row's score is the mean over its seeds. A resample draws pictures with replacement within each true class (see
    `msanet.measure.intervals` for why), the same for both rows, and for each row as many of its seeds as it has, with
    replacement too: the interval covers both the choice of test pictures and that of seeds, the latter as far as so few
    can tell. (A bootstrap of n seeds gives (n - 1) / n of their variance: two thirds for three, nothing for one.)

    Args:
        targets: int64 [N], true classes.
        first, second: bool [S, N], which pictures the networks of each row's S seeds predict correctly.

    Returns:
        Measure -> [difference, lower end, upper end], in -1..1.
    """
    # Pictures of one class that the same networks predict correctly are alike: one kind.
    kinds, counts = np.unique(np.vstack([targets[None], first, second]), axis=1, return_counts=True)
    rng = np.random.default_rng(0)
    draws = resample(counts, kinds[0], rng)
    seeds = [rng.integers(len(part), size=(RESAMPLES, len(part))) for part in (first, second)]
    found = {}
    for measure in MEASURES:
        exact = seed_scores(measure, kinds, counts[None])
        drawn = seed_scores(measure, kinds, draws)  # [R, seeds of both]
        one, other = (
            np.take_along_axis(scores, places, axis=1).mean(axis=1)
            for scores, places in zip(np.split(drawn, [len(first)], axis=1), seeds, strict=True)
        )
        difference = exact[0, : len(first)].mean() - exact[0, len(first) :].mean()
        found[measure] = [float(difference), *ends(one - other).tolist()]
    return found


def seed_scores(measure: str, kinds: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """A measure of several networks on resampled pictures.

    Args:
        measure: "accuracy" or "average_accuracy".
        kinds: int64 [1 + S, U], of each kind of picture the class, and which of S networks predict it correctly.
        draws: int64 [R, U], how often each kind is in each resample; every class is in each.

    Returns:
        float64 [R, S].
    """
    classes = kinds[0] if measure == "average_accuracy" else np.zeros_like(kinds[0])
    recalls = []
    for label in np.unique(classes):
        pictures = draws[:, classes == label]
        recalls.append(pictures @ kinds[1:, classes == label].T / pictures.sum(axis=1, keepdims=True))
    return np.asarray(np.mean(recalls, axis=0))
