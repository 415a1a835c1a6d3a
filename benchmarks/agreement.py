"""How far FERPlus's annotators agree, and how a model does where they agree more and less.

    python benchmarks/agreement.py accurate --data ferplus:DIR [--split validation]

One annotator: the mean share of a picture's votes that its label has, so how often one of its annotators, drawn at
random, names it as the majority does (with votes that stood alone left out, as FERPlus does). Redrawn: ten annotators
drawn anew with replacement from a picture's votes; how often their top vote is the label still.
"""

from __future__ import annotations

import argparse
from itertools import pairwise

import numpy as np

from msanet import data
from msanet.data.sample import targets_of
from msanet.measure.predict import Model

VOTES = 10
EDGES = (0.0, 0.6, 0.7, 0.8, 1.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", help="shipped models' names, .safetensors or .onnx files")
    parser.add_argument("--data", required=True, metavar="NAME:DIR")
    parser.add_argument("--split", default="validation")
    arguments = parser.parse_args()

    samples = data.read(arguments.data, arguments.split)
    models = [Model(name) for name in arguments.models]
    expressions = models[0].metadata.expressions
    votes = np.stack([sample.target(expressions, soft=True) for sample in samples]).astype(np.float64)
    targets = targets_of(samples, expressions)
    share = votes[np.arange(len(votes)), targets]
    drawn = np.random.default_rng(0).multinomial(
        VOTES, votes / votes.sum(axis=1, keepdims=True), size=(100, len(votes))
    )
    # of expressions with equally many votes each has its part
    top = drawn == drawn.max(axis=2, keepdims=True)
    repeats = (top[:, np.arange(len(votes)), targets] / top.sum(axis=2)).mean(axis=0)
    right = [model.logits(samples).argmax(axis=1) == targets for model in models]

    print(f"{arguments.data.partition(':')[0]}, {arguments.split} split, {len(samples)} pictures; percent\n")
    print("| votes for the label | pictures | one annotator | redrawn |", " | ".join(arguments.models), "|")
    print("| --- |", " | ".join("---:" for _ in range(len(models) + 3)), "|")
    groups = [("all", np.ones(len(share), bool))]
    for low, high in pairwise(EDGES):
        groups.append((f"over {low:.0%} to {high:.0%}", (share > low + 1e-6) & (share <= high + 1e-6)))
    for name, chosen in groups:
        means = [100 * float(values[chosen].mean()) for values in (share, repeats, *right)]
        print(f"| {name} | {chosen.sum()} |", " | ".join(f"{value:.1f}" for value in means), "|")


if __name__ == "__main__":
    main()
