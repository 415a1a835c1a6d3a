"""One model out of several runs that began at the same weights: the weighted mean of theirs (Wortsman et al., 2022).

    python benchmarks/average_weights.py --part 0.2=stage4/last.safetensors --part 0.3=stage5/best.safetensors \\
        --part 0.5=stage6/last.safetensors --data ferplus:DIR --output mean.safetensors

The temperature is fitted anew on the validation split; preprocessing and the rest are those of the last part.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from publish import shortened

from msanet import data, weights
from msanet.data.alignment import aligned
from msanet.data.sample import targets_of
from msanet.measure.calibration import fit_temperature
from msanet.measure.predict import predict
from msanet.measure.scores import score
from msanet.preprocessing import softmax


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", action="append", required=True, metavar="SHARE=FILE", help="shares sum to 1")
    parser.add_argument("--data", required=True, help="ferplus:DIR")
    parser.add_argument("--output", required=True, type=Path)
    arguments = parser.parse_args()

    parts = [part.split("=", 1) for part in arguments.part]
    shares = [float(share) for share, _ in parts]
    if abs(sum(shares) - 1) > 1e-6:
        raise SystemExit(f"the shares sum to {sum(shares)}: make it 1")
    loaded = [weights.load(file) for _, file in parts]
    network, metadata = loaded[-1]
    states = [member.state_dict() for member, _ in loaded]
    mean = {
        name: sum(share * state[name] for share, state in zip(shares, states, strict=True))
        if value.is_floating_point()
        else value
        for name, value in states[-1].items()
    }
    network.load_state_dict(mean)

    samples = aligned(data.read(arguments.data, "validation"), metadata.preprocessing, workers=2)
    logits = predict(network, samples, metadata.preprocessing, metadata.expressions, workers=2)
    targets = targets_of(samples, metadata.expressions)
    temperature = fit_temperature(logits, targets)
    report = score(softmax(logits, temperature), targets, metadata.expressions, model=arguments.output.stem)
    recorded = [[share, shortened(file)] for share, (_, file) in zip(shares, parts, strict=True)]
    metadata = replace(
        metadata,
        name=arguments.output.stem,
        temperature=temperature,
        training={**metadata.training, "averaged": recorded},
        scores={"validation": report.to_dict()},
    )
    weights.save(arguments.output, network.state_dict(), metadata)
    print(f"validation: {100 * report.accuracy:.2f} %, average accuracy {100 * report.average_accuracy:.2f} %")


if __name__ == "__main__":
    main()
