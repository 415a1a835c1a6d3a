"""What a data set owes: how it is read, and what is known of it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from msanet.data.sample import Sample
from msanet.errors import InputError


@dataclass(frozen=True)
class Reader:
    """How a data set is read.

    Args:
        read: (root, split, **options) -> samples.
        layout: what it wants on disk, in words.
        license: what its owners ask.
        protocol: which pictures count, in words.
        labels: what its pictures are told apart by; empty: by what they show, see `find_labels`.
        find_labels: (root) -> the labels that it has pictures of, in any split; None: those of the pictures at hand.
        read_subset: (root, subset name, **options) -> samples of the test split, for pose and occlusion.
        lists: subset name -> name of its list in the folder subsets/; empty: it has no subsets.
        official_counts: split -> label -> number of pictures, where the owners publish it.
        official_options: named arguments of `read` under which these counts hold.
        held_out: names of the arguments of `read` that decide which picture is in which split: what was trained with
            them is evaluated with the same.
        note: what else to know of the counts.
    """

    read: Callable[..., list[Sample]]
    layout: str
    license: str
    protocol: str = "all pictures"
    labels: tuple[str, ...] = ()
    find_labels: Callable[[Path], Sequence[str]] | None = None
    read_subset: Callable[..., list[Sample]] | None = None
    lists: Mapping[str, str] = field(default_factory=dict)
    official_counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    official_options: Mapping[str, Any] = field(default_factory=dict)
    held_out: tuple[str, ...] = ()
    note: str = ""


def check_options(name: str, read: Callable[..., Any], options: Mapping[str, Any]) -> None:
    """Raise an InputError where a reader's function has no named argument of that name.

    Args:
        name: of the data set.
        read: its `read` or `read_subset`.
        options: named arguments beside the first two, which are the root and the split or subset.
    """
    parameters = list(inspect.signature(read).parameters.values())
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return
    known = [parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY]
    for option in options:
        if option not in known:
            raise InputError(f"{name} has no option {option!r} here: it has {', '.join(known) or 'none'}")
