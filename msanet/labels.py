"""Labels: the eight expressions and their one order, and any other set of labels as data."""

from __future__ import annotations

from collections import Counter
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

LONGEST_LABEL = 64
"""Characters of a label at most."""


def check_labels(labels: Sequence[str]) -> tuple[str, ...]:
    """The labels of a set as a tuple, if they can be one.

    Raises:
        InputError: there are fewer than two, one stands twice, or one is empty, longer than `LONGEST_LABEL` or holds
            something else than printable characters.
    """
    if len(labels) < 2:
        raise InputError(f"there is {'one label' if len(labels) else 'no label'}: give at least two")
    for label in labels:
        check_label(label)
    twice = sorted(label for label, number in Counter(labels).items() if number > 1)
    if twice:
        raise InputError(f"the label {twice[0]!r} stands twice: name each label once")
    return tuple(labels)


def check_label(label: str) -> str:
    """A label, if it can be one.

    Raises:
        InputError: see `check_labels`.
    """
    if not isinstance(label, str) or not label or len(label) > LONGEST_LABEL or not label.isprintable():
        shown = repr(label) if len(repr(label)) <= LONGEST_LABEL else repr(label)[: LONGEST_LABEL - 3] + "..."
        raise InputError(f"{shown} is no label: give 1 to {LONGEST_LABEL} printable characters")
    return label


def in_order(labels: Sequence[str]) -> tuple[str, ...]:
    """Distinct labels, sorted: the expressions first, in their order, then others by the alphabet."""
    known = [label for label in EXPRESSIONS if label in labels]
    return (*known, *sorted(set(labels) - set(EXPRESSIONS)))


def expressions_for(num_classes: int) -> tuple[str, ...]:
    """Names of the first `num_classes` expressions.

    Raises:
        InputError: `num_classes` is neither 7 nor 8.
    """
    if num_classes not in (7, 8):
        raise InputError(f"num_classes is {num_classes}: choose 7 (without contempt) or 8")
    return EXPRESSIONS[:num_classes]


def restrict(probabilities: np.ndarray, source: Sequence[str], target: Sequence[str]) -> np.ndarray:
    """Probabilities over `source` labels as probabilities over `target` labels.

    Labels outside `target` are left out and the rest is normalised to sum 1, which is how a model of eight
    expressions is evaluated on a set of seven.

    Args:
        probabilities: float32 [N, len(source)], each row summing to 1.
        source: labels of the columns.
        target: labels wanted, in the order wanted; all of them in `source`.

    Returns:
        float32 [N, len(target)].

    Raises:
        InputError: a target label is missing in `source`.
    """
    missing = [name for name in target if name not in source]
    if missing:
        raise InputError(f"the model does not know {', '.join(missing)}; it knows {', '.join(source)}")
    kept = probabilities[:, [list(source).index(name) for name in target]]
    return kept / np.maximum(kept.sum(axis=1, keepdims=True), np.finfo(kept.dtype).tiny)
