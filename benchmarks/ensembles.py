"""Models, and the mean of the answers of two or more, on a split: accuracy and cross-entropy with the votes.

    python benchmarks/ensembles.py accurate RUN/best.safetensors --data ferplus:DIR [--data list:DIR/faces.csv]

What a mean gains shows whether the models err differently. Probabilities are calibrated on the first set's pictures
(fitted on validation, so look at no other split with it before a choice is made), those of an ensemble after averaging.
"""

from __future__ import annotations

import argparse
from itertools import combinations
from pathlib import Path

import numpy as np

from msanet import data
from msanet.data.sample import Sample, targets_of
from msanet.measure.calibration import fit_temperature
from msanet.measure.predict import Model
from msanet.measure.scores import score
from msanet.preprocessing import softmax


def cells(logits: np.ndarray, samples: list[Sample], expressions: tuple[str, ...], temperature: float) -> list[str]:
    """Accuracy and average accuracy in percent, and the mean cross-entropy with the votes."""
    probabilities = softmax(logits, temperature)
    votes = np.stack([sample.target(expressions, soft=True) for sample in samples])
    entropy = -float((votes * np.log(probabilities.clip(1e-9))).sum(axis=1).mean())
    report = score(probabilities, targets_of(samples, expressions), expressions)
    return [f"{100 * report.accuracy:.2f}", f"{100 * report.average_accuracy:.1f}", f"{entropy:.3f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", help="shipped models' names, .safetensors or .onnx files")
    parser.add_argument("--data", required=True, action="append", metavar="NAME:DIR")
    parser.add_argument("--split", default="validation")
    arguments = parser.parse_args()

    models = [Model(name) for name in arguments.models]
    expressions = models[0].metadata.expressions
    if any(model.metadata.expressions != expressions for model in models):
        raise SystemExit("the models know other expressions: their answers have no mean")
    sets = [list(data.read(source, arguments.split)) for source in arguments.data]
    logits = [[model.logits(samples) for model in models] for samples in sets]  # a list for each set
    names = [source.partition(":")[0] for source in arguments.data]
    print(f"{arguments.split}: {', '.join(f'{n} {len(s)} pictures' for n, s in zip(names, sets, strict=True))}\n")
    print("| models |", " | ".join(f"{name}: accuracy | average | cross-entropy" for name in names), "|")
    print("| --- |", " | ".join("---: | ---: | ---:" for _ in names), "|")
    for number in range(1, len(models) + 1):
        for chosen in combinations(range(len(models)), number):
            means = [np.mean([own[index] for index in chosen], axis=0) for own in logits]
            temperature = fit_temperature(means[0], targets_of(sets[0], expressions))
            row = [
                cell
                for mean, samples in zip(means, sets, strict=True)
                for cell in cells(mean, samples, expressions, temperature)
            ]
            label = " + ".join("/".join(Path(models[index].name).parts[-2:]) for index in chosen)
            print(f"| {label} |", " | ".join(row), "|", flush=True)


if __name__ == "__main__":
    main()
