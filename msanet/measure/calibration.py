"""Calibration: whether a confidence of 80 % is right in 80 of 100 cases."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

BINS = 15


@dataclass(frozen=True)
class Reliability:
    """How confidence and accuracy go together.

    Args:
        pictures: int64 [B], in bins of equal width over the confidences 0..1.
        confidence, accuracy: float64 [B], means of each bin; 0 where it has no pictures.
    """

    pictures: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray

    @property
    def error(self) -> float:
        """Expected calibration error: mean of |accuracy - confidence| over the bins, weighted by their pictures."""
        return float((self.pictures * np.abs(self.accuracy - self.confidence)).sum() / self.pictures.sum())


def reliability(probabilities: np.ndarray, targets: np.ndarray, bins: int = BINS) -> Reliability:
    """Confidence (largest probability of each picture) against accuracy.

    Args:
        probabilities: float32 [N, K], N at least 1.
        targets: int64 [N].
        bins: number of bins.
    """
    confidence = probabilities.max(axis=1).astype(np.float64)
    right = probabilities.argmax(axis=1) == targets
    place = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    pictures = np.bincount(place, minlength=bins)
    sums = [np.bincount(place, weights=values, minlength=bins) for values in (confidence, right)]
    return Reliability(pictures, *(values / np.maximum(pictures, 1) for values in sums))


def calibration_error(probabilities: np.ndarray, targets: np.ndarray, bins: int = BINS) -> float:
    """Expected calibration error, see `Reliability.error`, in 0..1."""
    return reliability(probabilities, targets, bins).error


def fit_temperature(logits: np.ndarray, targets: np.ndarray) -> float:
    """The temperature by which to divide the logits so that the targets become most likely.

    To be fitted on validation pictures, never on the test set. It changes confidences, never predictions.

    Args:
        logits: float [N, K], N at least 1.
        targets: int64 [N].

    Returns:
        A temperature in 0.05..20; an end of this range where the likelihood has no maximum inside, as with
        predictions that are all right.
    """
    logits = np.asarray(logits, np.float64)
    # The distance of each logit to the target's: at most K - 1 exponentials of it decide the likelihood.
    distances = logits - np.take_along_axis(logits, np.asarray(targets)[:, None], axis=1)

    def loss(log_temperature: float) -> float:
        scaled = distances * np.exp(-log_temperature)
        return float(np.logaddexp.reduce(scaled, axis=1).mean())

    # The loss is convex in 1 / temperature, so it has one valley in log temperature: golden section search finds it.
    low, high = np.log(0.05), np.log(20.0)
    golden = (np.sqrt(5) - 1) / 2
    left, right = high - golden * (high - low), low + golden * (high - low)
    loss_left, loss_right = loss(left), loss(right)
    while high - low > 1e-6:
        if loss_left <= loss_right:
            high, right, loss_right = right, left, loss_left
            left = high - golden * (high - low)
            loss_left = loss(left)
        else:
            low, left, loss_left = left, right, loss_right
            right = low + golden * (high - low)
            loss_right = loss(right)
    return float(np.exp((low + high) / 2))
