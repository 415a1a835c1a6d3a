"""A recipe's labels: which of a data set's labels are told apart, in which order, and which are taken as one."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias

from msanet.data.sample import DataWarning, Sample, count
from msanet.errors import InputError
from msanet.labels import EXPRESSIONS, check_label, check_labels, expressions_for, in_order

Entry: TypeAlias = str | Mapping[str, Sequence[str]]
"""A label, or the name of a new label -> the labels that are merged into it."""


def default_labels(told: Sequence[str], num_classes: int) -> tuple[str, ...]:
    """The labels of a recipe that names none: of a data set of expressions the first `num_classes`, else all.

    Args:
        told: the data set's labels, see `data.labels_of`.
        num_classes: 7 or 8.
    """
    return expressions_for(num_classes) if set(told) <= set(EXPRESSIONS) else check_labels(in_order(told))


def arrange(
    samples: Sequence[Sample], labels: Sequence[Entry], told: Sequence[str] | None = None
) -> tuple[list[Sample], tuple[str, ...]]:
    """Samples with a recipe's labels, and these labels in its order.

    Of merged labels the votes are added; the label stays the one into which the sample's own went. Samples of labels
    that are not named are left out, and a warning counts them.

    Args:
        samples: of any split.
        labels: of the recipe: a label, or {name: [labels that it merges]}, each.
        told: the data set's labels, to find names that it does not have; None: any name will do, as for a test set
            that lacks some.

    Raises:
        InputError: there are fewer than two labels, one stands twice, is unknown or cannot be one, an entry is
            neither of the two, or no sample is left.
    """
    names, sources = [], list[str]()
    merged: dict[str, str] = {}
    for entry in labels:
        name, parts = _parts(entry)
        names.append(name)
        sources += parts
        merged |= dict.fromkeys(parts, name)
    for label in sources:
        if sources.count(label) > 1:
            raise InputError(f"labels name {label!r} twice: each label of the data goes to one place")
        if told is not None and label not in told:
            raise InputError(f"the data set has no label {label!r}: it has {', '.join(told)}")
    check_labels(names)
    kept = [sample for sample in samples if sample.label in merged]
    if not kept:
        raise InputError(f"there is no picture of {', '.join(sources)}: check labels and data")
    others = [sample for sample in samples if sample.label not in merged]
    if others:
        numbers = ", ".join(f"{number:,} of {label}" for label, number in count(others).items())
        sentence = f"{len(others):,} of {len(samples):,} pictures are of other labels and left out: {numbers}"
        warnings.warn(DataWarning(sentence, [sample.name for sample in others]), stacklevel=2)
    if any(part != name for part, name in merged.items()):
        kept = [replace(sample, label=merged[sample.label], votes=_merge(sample, merged)) for sample in kept]
    return kept, tuple(names)


def _parts(entry: Entry) -> tuple[str, list[str]]:
    """An entry's label, and the labels that go into it."""
    if isinstance(entry, str):
        return check_label(entry), [entry]
    if isinstance(entry, Mapping) and len(entry) == 1:
        ((name, parts),) = entry.items()
        if isinstance(parts, Sequence) and not isinstance(parts, str) and parts:
            return check_label(name), [check_label(part) for part in parts]
    raise InputError(f"labels hold {str(entry)[:80]!r}: give a label, or {{name: [labels that it merges]}}")


def _merge(sample: Sample, merged: Mapping[str, str]) -> tuple[tuple[str, float], ...]:
    """A sample's votes with merged labels; votes for labels that are left out are dropped and the rest sums to 1."""
    shares: dict[str, float] = defaultdict(float)
    for label, share in sample.votes:
        if label in merged:
            shares[merged[label]] += share
    total = sum(shares.values())
    return tuple((label, share / total) for label, share in shares.items())
