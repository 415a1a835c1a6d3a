"""What a model is worth on a labelled data set: its `Report`, and what it says of each picture."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from msanet import data
from msanet.data.alignment import aligned
from msanet.data.sample import DataWarning, Sample, targets_of
from msanet.errors import InputError
from msanet.labels import expressions_for, restrict
from msanet.measure.predict import Model
from msanet.measure.scores import Report, score
from msanet.model import Metadata
from msanet.preprocessing import Preprocessing, softmax

LABELS_SHOWN = 10
"""Labels of a set that a message names."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """A report, and what it was made from.

    Args:
        model: what was asked.
        source: NAME:DIR of the data set.
        samples: the N pictures.
        probabilities: float32 [N, K], over the report's labels.
        report: the scores.
    """

    model: Model
    source: str
    samples: list[Sample]
    probabilities: np.ndarray
    report: Report

    @cached_property
    def targets(self) -> np.ndarray:
        """int64 [N], true class in 0..K-1."""
        return targets_of(self.samples, self.report.labels)


def evaluate(
    model: str | Path,
    source: str,
    split: str = "test",
    subset: str | None = None,
    classes: int | None = None,
    *,
    options: Mapping[str, Any] | None = None,
    workers: int = 2,
) -> Report:
    """Score trained weights on a labelled data set: the report of `examine`."""
    return examine(model, source, split, subset, classes, options=options, workers=workers).report


def examine(
    model: str | Path,
    source: str,
    split: str = "test",
    subset: str | None = None,
    classes: int | None = None,
    *,
    options: Mapping[str, Any] | None = None,
    workers: int = 2,
) -> Evaluation:
    """Score trained weights on a labelled data set, and keep what they say of each picture.

    A label that the data set does not tell apart, such as contempt in sets of seven, is left out of the model's
    answers, and the rest is normalised. Labels that the model's training merged are merged, and pictures of others that
    it does not know are left out. The protocol in the report says what was left out, what the reader warned of, and
    whether the crops were aligned.

    Args:
        model: a shipped model's name, a .safetensors file (run by PyTorch) or an .onnx file (run by onnxruntime).
        source: NAME:DIR of the data set.
        split: "train", "validation" or "test"; of the data set that the model was trained on as in training, see
            `held_out`.
        subset: "pose30", "pose45" or "occlusion" of the test split alone; None: the whole split, and beside the whole
            test split all subsets whose lists are there, each also by its list's own labels.
        classes: 7 leaves contempt out of pictures and answers; None: as many as data set and model tell apart.
        options: named arguments of the data set's reader, such as protocol="top"; subsets, whose lists have a protocol
            of their own, are left out then.
        workers: loading processes.

    Raises:
        InputError: the model or the data cannot be used.
    """
    name, reader, _ = data.parse(source)
    asked = Model(model)
    given = dict(options or {})
    chosen = {**({} if subset else held_out(asked.metadata, source)), **given}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", DataWarning)
        samples = data.read(source, split, subset, **chosen)
    for warning in caught:
        warnings.warn(warning.message, stacklevel=2)
    noted = [str(warning.message) for warning in caught if issubclass(warning.category, DataWarning)]
    known_labels, merged = asked.metadata.expressions, merges(asked.metadata)
    told = data.labels_of(source, samples) if classes is None else expressions_for(classes)
    told = tuple(dict.fromkeys(merged.get(label, label) for label in told))
    samples = relabelled(samples, merged)
    labels = tuple(label for label in known_labels if label in told)
    known = [sample for sample in samples if sample.label in labels]
    if not known or len(labels) < 2:
        raise InputError(
            f"{source}, {split} split: its labels ({_listed(told)}) and the model's ({_listed(known_labels)}) do not "
            "have two in common: evaluate on a data set of the model's labels"
        )
    words = [f"{name}, {split} split{f', subset {subset}' if subset else ''}, {_protocol(reader.protocol, chosen)}"]
    ignored = [label for label in known_labels if label not in told]
    if ignored:
        words.append(f"the model's {', '.join(ignored)} left out and the rest normalised")
    if len(known) < len(samples):
        words.append(f"{len(samples) - len(known)} pictures of other labels than the model's are left out")
    preprocessing = asked.metadata.preprocessing
    known = aligned(known, preprocessing, workers)
    words += [*alignment_words(known, preprocessing), *noted]
    probabilities = restrict(
        softmax(asked.logits(known, workers), asked.metadata.temperature), asked.metadata.expressions, labels
    )
    facts = {"data": name, "split": split, "options": chosen, **alignment_counts(known, preprocessing)}
    report = score(
        probabilities, targets_of(known, labels), labels, "; ".join(words), asked.name, subset=subset, **facts
    )
    evaluation = Evaluation(asked, source, known, probabilities, report)
    if split == "test" and subset is None and not given:
        evaluation = replace(evaluation, report=replace(report, subsets=score_subsets(evaluation)))
    return evaluation


def held_out(metadata: Metadata, source: str) -> dict[str, Any]:
    """Options of the data set's reader by which a model's training decided which picture is in which split.

    They stand in the recipe that travels with the weights. {} where it was trained on another data set, or does not
    say; without them, pictures of its training would be taken for validation.
    """
    name, reader, _ = data.parse(source)
    options = _recipe(metadata).get("data")
    if metadata.training.get("data") != name or not isinstance(options, Mapping):
        return {}
    return {option: options[option] for option in reader.held_out if option in options}


def merges(metadata: Metadata) -> dict[str, str]:
    """Label of the data -> the model's label into which its training merged it, see `data.arrange`."""
    entries = _recipe(metadata).get("labels")
    return {
        str(part): str(name)
        for entry in (entries if isinstance(entries, list) else ())
        if isinstance(entry, Mapping)
        for name, parts in entry.items()
        if name in metadata.expressions and isinstance(parts, list)
        for part in parts
    }


def relabelled(samples: Sequence[Sample], merged: Mapping[str, str]) -> list[Sample]:
    """The samples with the labels into which theirs were merged; the others as they are."""
    return [
        replace(sample, label=merged[sample.label], votes=()) if sample.label in merged else sample
        for sample in samples
    ]


def _recipe(metadata: Metadata) -> Mapping[str, Any]:
    recipe = metadata.training.get("recipe")
    return recipe if isinstance(recipe, Mapping) else {}


def score_subsets(evaluation: Evaluation) -> dict[str, Report]:
    """Reports of the subsets whose lists are there, by the data set's labels and by the lists' own.

    A list that cannot be read is left out with a warning.
    """
    name, reader, root = data.parse(evaluation.source)
    whole, preprocessing = evaluation.report, evaluation.model.metadata.preprocessing
    merged = merges(evaluation.model.metadata)
    places = {sample.path: place for place, sample in enumerate(evaluation.samples)}
    reports = {}
    for subset in data.subsets_of(evaluation.source):
        assert reader.read_subset is not None  # who has lists reads them
        for own in (False, True):
            try:
                listed = relabelled(reader.read_subset(root, subset, own_labels=own), merged)
            except InputError as error:
                warnings.warn(f"{subset} is left out: {error}", stacklevel=3)
                break
            samples = [item for item in listed if item.path in places and item.label in whole.labels]
            if not samples:
                break
            chosen = [places[sample.path] for sample in samples]
            seen = [evaluation.samples[place] for place in chosen]
            words = [f"{name}, test split, subset {subset}, {reader.protocol}", *alignment_words(seen, preprocessing)]
            reports[f"{subset}, labels of the list" if own else subset] = score(
                evaluation.probabilities[chosen],
                targets_of(samples, whole.labels),
                whole.labels,
                "; ".join(["labels of the list", *words] if own else words),
                whole.model,
                data=name,
                split="test",
                subset=subset,
                own_labels=own,
                **alignment_counts(seen, preprocessing),
            )
    return reports


def alignment_counts(samples: Sequence[Sample], preprocessing: Preprocessing) -> dict[str, int]:
    """The fields of a report about crops that `aligned` has seen."""
    found = sum(bool(sample.placement) for sample in samples)
    return {"aligned": found, "without_face": len(samples) - found if preprocessing.align else 0}


def alignment_words(samples: Sequence[Sample], preprocessing: Preprocessing) -> list[str]:
    """What a protocol says of crops that `aligned` has seen; nothing where they are not aligned."""
    if not preprocessing.align:
        return []
    unseen = alignment_counts(samples, preprocessing)["without_face"]
    return [f"each crop aligned by the face detector, {unseen} without a face as they are"]


def _protocol(usual: str, options: Mapping[str, Any]) -> str:
    """Which pictures count, in words; an option "protocol" takes the place of the usual one."""
    changed = ", ".join(f"{name}={value}" for name, value in options.items())
    if not changed:
        return usual
    return f"read with {changed}" if "protocol" in options else f"{usual}, read with {changed}"


def _listed(labels: Sequence[str]) -> str:
    return ", ".join(labels[:LABELS_SHOWN]) + (", ..." if len(labels) > LABELS_SHOWN else "")
