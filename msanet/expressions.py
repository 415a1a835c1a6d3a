"""The vocabulary: one canonical order of expression names for every data set, file and table."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from msanet.errors import InputError

EXPRESSIONS: tuple[str, ...] = (
    "neutral",
    "happiness",
    "sadness",
    "surprise",
    "fear",
    "disgust",
    "anger",
    "contempt",
)
"""All eight expressions; the sets of seven classes are the first seven."""


def expressions_for(num_classes: int) -> tuple[str, ...]:
    """Names of the first `num_classes` expressions.

    Raises:
        InputError: `num_classes` is neither 7 nor 8.
    """
    if num_classes not in (7, 8):
        raise InputError(f"num_classes is {num_classes}: choose 7 (without contempt) or 8")
    return EXPRESSIONS[:num_classes]


def restrict(probabilities: np.ndarray, source: Sequence[str], target: Sequence[str]) -> np.ndarray:
    """Probabilities over `source` names as probabilities over `target` names.

    Names outside `target` are left out and the rest is normalised to sum 1, which is how a model of eight
    expressions is evaluated on a set of seven.

    Args:
        probabilities: float [N, len(source)], each row summing to 1.
        source: names of the columns.
        target: names wanted, in the order wanted; all of them in `source`.

    Returns:
        float [N, len(target)].

    Raises:
        InputError: a target name is missing in `source`.
    """
    missing = [name for name in target if name not in source]
    if missing:
        raise InputError(f"the model does not know {', '.join(missing)}; it knows {', '.join(source)}")
    kept = probabilities[:, [list(source).index(name) for name in target]]
    return kept / np.maximum(kept.sum(axis=1, keepdims=True), np.finfo(kept.dtype).tiny)
