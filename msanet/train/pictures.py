"""The pictures of a run: training, validation, a second data set, and pictures without labels."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from msanet import data
from msanet.data.arrange import Entry, arrange, default_labels
from msanet.data.sample import NoSplitWarning, Sample
from msanet.train.recipe import Recipe


@dataclass(frozen=True)
class Pictures:
    """What a run learns from and is scored on, and its labels.

    Args:
        labels: names of the K classes.
        entries: how they are made of the data sets' labels, see `arrange`.
        training: pictures of the main data set.
        validation: of the same one, held out; empty where the recipe holds out none.
        extra: training pictures of a second data set, mixed in.
        unlabelled: training pictures of another one, whose labels are not used.
    """

    labels: tuple[str, ...]
    entries: tuple[Entry, ...]
    training: list[Sample]
    validation: list[Sample]
    extra: list[Sample]
    unlabelled: list[Sample]

    @classmethod
    def read(cls, source: str, recipe: Recipe, extra: str, unlabelled: str) -> Pictures:
        """Read them all.

        Args:
            source, extra, unlabelled: NAME:DIR each; the last two may be "".
            recipe: of the run.

        Raises:
            InputError: a data set cannot be used.
        """
        training = data.read(source, "train", **recipe.data)
        told = data.labels_of(source, training)
        entries: tuple[Entry, ...] = tuple(recipe.labels) or default_labels(told, recipe.num_classes)
        chosen, labels = arrange(training, entries, told if recipe.labels else None)
        validation = cls._validation(source, recipe)
        return cls(
            labels,
            entries,
            chosen,
            arrange(validation, entries)[0] if validation else [],
            arrange(cls._others(extra), entries)[0] if extra else [],
            cls._others(unlabelled) if unlabelled else [],
        )

    @staticmethod
    def _validation(source: str, recipe: Recipe) -> list[Sample]:
        """The held-out pictures; none where the recipe holds out none."""
        reader = data.parse(source)[1]
        if reader.held_out and recipe.data.get("validation") == 0:
            return []
        options = {name: recipe.data[name] for name in reader.held_out if name in recipe.data}
        return data.read(source, "validation", **options)

    @staticmethod
    def _others(source: str) -> list[Sample]:
        """All training pictures of another data set: none is held out, since validation is the main set's alone."""
        options: dict[str, Any] = {"validation": 0} if "validation" in data.parse(source)[1].held_out else {}
        with warnings.catch_warnings():  # it is not tested on
            warnings.simplefilter("ignore", NoSplitWarning)
            return data.read(source, "train", **options)

    def select(self, samples: Sequence[Sample]) -> list[Sample]:
        """Other pictures of the main data set, with the run's labels."""
        return arrange(samples, self.entries)[0]

    @property
    def fingerprint(self) -> str:
        """Their number, and a hash of their names, labels and sizes."""
        digest, number = hashlib.blake2b(digest_size=16), 0
        for part in (self.training, self.validation, self.extra, self.unlabelled):
            number += len(part)
            for sample in part:
                with suppress(OSError):
                    size = sample.path.stat().st_size
                    digest.update(f"{sample.name} {sample.label} {sample.votes} {size}\n".encode(errors="replace"))
        return f"{number} {digest.hexdigest()}"

    def each(self, change: Callable[[list[Sample]], list[Sample]]) -> Pictures:
        """The same with every part changed."""
        return replace(
            self,
            training=change(self.training),
            validation=change(self.validation),
            extra=change(self.extra),
            unlabelled=change(self.unlabelled),
        )
