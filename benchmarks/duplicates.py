"""What pixel-for-pixel duplicates between FERPlus's training and test pictures do to a model's scores.

    python benchmarks/duplicates.py --model accurate --data ferplus:DIR

Scores all test pictures, those with a duplicate among the training pictures, and those without. A model that was
trained without the duplicates (the default) shows how hard these pictures are; one trained with them
(--set data.duplicates=true) what it gains by having seen them.
"""

from __future__ import annotations

import argparse
import warnings
from collections import defaultdict

import numpy as np

from msanet import data
from msanet.data.ferplus import FOLDERS
from msanet.data.sample import DataWarning, Sample, duplicates_of
from msanet.measure.evaluate import examine
from msanet.measure.scores import score


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="accurate")
    parser.add_argument("--data", required=True, help="ferplus:DIR")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", DataWarning)  # that the duplicates are read here

    root = data.parse(arguments.data)[2]
    # FERPlus writes equal pixels as equal files: comparing 35,710 decoded pictures finds the same duplicates.
    training = [Sample(path, "") for path in (root / FOLDERS["train"]).glob("*.png")]
    held_out = [Sample(path, "") for path in (root / FOLDERS["test"]).glob("*.png")]
    print(
        f"{len(duplicates_of(held_out, training))} of {len(held_out)} test pictures have a duplicate among "
        f"{len(duplicates_of(training, held_out))} of {len(training)} training pictures"
    )

    evaluation = examine(arguments.model, arguments.data, "test")
    report = evaluation.report
    repeated = {sample.path for sample in duplicates_of(evaluation.samples, training)}
    twice = np.array([sample.path in repeated for sample in evaluation.samples])
    labels = defaultdict(set)
    for sample in data.read(arguments.data, "train", duplicates=True):
        labels[sample.digest()].add(sample.label)
    known = [sample for sample in evaluation.samples if sample.path in repeated and labels[sample.digest()]]
    other = sum(sample.label not in labels[sample.digest()] for sample in known)
    print(
        f"{len(known)} of the {twice.sum()} scored ones have a labelled duplicate, "
        f"{other} of them with another label only\n"
    )

    print("| test pictures | number | accuracy | average accuracy |\n| --- | ---: | ---: | ---: |")
    for name, chosen in (("all", np.ones_like(twice)), ("with a duplicate", twice), ("without", ~twice)):
        part = score(evaluation.probabilities[chosen], evaluation.targets[chosen], report.labels)
        cells = [
            f"{100 * getattr(part, measure):.2f} ({100 * low:.2f} to {100 * high:.2f})"
            for measure, (low, high) in part.intervals.items()
            if measure != "macro_f1"
        ]
        print(f"| {name} | {part.num_pictures} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
