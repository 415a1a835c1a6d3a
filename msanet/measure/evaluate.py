"""What a model is worth on a labelled data set: its `Report`, and what it says of each picture."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from msanet import data
from msanet.data.alignment import aligned
from msanet.data.sample import DataWarning, Sample, targets_of
from msanet.errors import InputError
from msanet.labels import expressions_for, restrict
from msanet.measure.predict import Model
from msanet.measure.scores import Report, score
from msanet.preprocessing import softmax


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
    workers: int = 2,
) -> Report:
    """Score trained weights on a labelled data set: the report of `examine`."""
    return examine(model, source, split, subset, classes, workers=workers).report


def examine(
    model: str | Path,
    source: str,
    split: str = "test",
    subset: str | None = None,
    classes: int | None = None,
    *,
    workers: int = 2,
) -> Evaluation:
    """Score trained weights on a labelled data set, and keep what they say of each picture.

    A label that the data set does not tell apart, such as contempt in sets of seven, is left out of the model's
    answers, and the rest is normalised. Pictures of a label that the model does not know are left out. The
    protocol in the report says both, and what the reader warned of, and whether the crops were aligned.

    Args:
        model: a shipped model's name, a .safetensors file (run by PyTorch) or an .onnx file (run by onnxruntime).
        source: NAME:DIR of the data set.
        split: "train", "validation" or "test".
        subset: "pose30", "pose45" or "occlusion" of the test split alone; None: the whole split, and beside the whole
            test split all subsets whose lists are there, each also by its list's own labels.
        classes: 7 leaves contempt out of pictures and answers; None: as many as data set and model tell apart.
        workers: loading processes.

    Raises:
        InputError: the model or the data cannot be used.
    """
    name, reader, _ = data.parse(source)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", DataWarning)
        samples = data.read(source, split, subset)
    for warning in caught:
        warnings.warn(warning.message, stacklevel=2)
    noted = [str(warning.message) for warning in caught if issubclass(warning.category, DataWarning)]
    asked = Model(model)
    told = data.labels_of(source, samples) if classes is None else expressions_for(classes)
    labels = tuple(label for label in asked.metadata.expressions if label in told)
    known = [sample for sample in samples if sample.label in labels]
    if not known or len(labels) < 2:
        raise InputError(f"{source}, {split} split: no picture shows a label that the model knows")
    words = [f"{name}, {split} split{f', subset {subset}' if subset else ''}, {reader.protocol}"]
    ignored = [label for label in asked.metadata.expressions if label not in told]
    if ignored:
        words.append(f"the model's {', '.join(ignored)} left out and the rest normalised")
    if len(known) < len(samples):
        words.append(f"{len(samples) - len(known)} pictures of other labels than the model's are left out")
    known = aligned(known, asked.metadata.preprocessing, workers)
    if asked.metadata.preprocessing.align:
        words.append(alignment_of(known))
    probabilities = restrict(
        softmax(asked.logits(known, workers), asked.metadata.temperature), asked.metadata.expressions, labels
    )
    targets = targets_of(known, labels)
    report = score(probabilities, targets, labels, "; ".join([*words, *noted]), asked.name)
    evaluation = Evaluation(asked, source, known, probabilities, report)
    if split == "test" and subset is None:
        evaluation = replace(evaluation, report=replace(report, subsets=score_subsets(evaluation)))
    return evaluation


def score_subsets(evaluation: Evaluation) -> dict[str, Report]:
    """Reports of the subsets whose lists are there, by the data set's labels and by the lists' own.

    A list that cannot be read is left out with a warning.
    """
    name, reader, root = data.parse(evaluation.source)
    labels = evaluation.report.labels
    places = {sample.path: place for place, sample in enumerate(evaluation.samples)}
    reports = {}
    for subset in data.subsets_of(evaluation.source):
        assert reader.read_subset is not None  # who has lists reads them
        for own in (False, True):
            try:
                listed = reader.read_subset(root, subset, own_labels=own)
            except InputError as error:
                warnings.warn(f"{subset} is left out: {error}", stacklevel=3)
                break
            samples = [item for item in listed if item.path in places and item.label in labels]
            if not samples:
                break
            chosen = [places[sample.path] for sample in samples]
            words = f"{name}, test split, subset {subset}, {reader.protocol}"
            if evaluation.model.metadata.preprocessing.align:
                words = f"{words}; {alignment_of([evaluation.samples[place] for place in chosen])}"
            title, words = (f"{subset}, labels of the list", f"labels of the list; {words}") if own else (subset, words)
            rows = evaluation.probabilities[chosen]
            reports[title] = score(rows, targets_of(samples, labels), labels, words, evaluation.report.model)
    return reports


def alignment_of(samples: Sequence[Sample]) -> str:
    """What a protocol says of crops that `aligned` has seen."""
    unseen = sum(not sample.placement for sample in samples)
    return f"each crop aligned by the face detector, {unseen} without a face as they are"
