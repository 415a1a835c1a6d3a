"""Make a shipped model out of a training run, or measure one again.

    python benchmarks/publish.py runs/NAME/best.safetensors --name accurate --data ferplus:DIR --scale 1.05
    python benchmarks/publish.py --name accurate --data ferplus:DIR

The first form writes msanet/pretrained/NAME.safetensors and NAME.onnx (weights rounded to half precision, the same in
both; or int8 in the ONNX file), with the scores in their metadata. The second measures the shipped model again and
changes its scores alone. Both write NAME.md, the card's tables, and check that recognition gives what evaluation gives,
picture by picture.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx

import msanet
from msanet import data, weights
from msanet.data import SUBSETS
from msanet.data.alignment import aligned
from msanet.export import export
from msanet.measure import evaluate
from msanet.measure.predict import predict
from msanet.measure.scores import Report
from msanet.model import METADATA_KEY
from msanet.preprocessing import softmax

PRETRAINED = Path(msanet.__file__).parent / "pretrained"


def shortened(path: str) -> str:
    """The last two parts of a path; a model's name as it is."""
    return "/".join(Path(path).parts[-2:])


def portable(training: Mapping[str, Any]) -> dict[str, Any]:
    """How the weights were made, without the folders of the machine that made them."""
    recipe = dict(training["recipe"])
    recipe["initial_weights"] = shortened(recipe["initial_weights"])
    if "teachers" in recipe["method"]:
        teachers = [shortened(path) for path in recipe["method"]["teachers"]]
        recipe["method"] = {**recipe["method"], "teachers": teachers}
    return {**training, "recipe": recipe}


def publish(arguments: argparse.Namespace, target: Path) -> None:
    """Write both files of a model, with their scores."""
    network, metadata = weights.load(arguments.weights)
    preprocessing = metadata.preprocessing
    if arguments.scale:
        preprocessing = replace(preprocessing, framing=replace(preprocessing.framing, scale=arguments.scale))
    metadata = replace(
        metadata,
        name=arguments.name,
        description=arguments.description,
        preprocessing=preprocessing,
        training=portable(metadata.training),
        scores={},
    )
    weights.save(target, weights.rounded(network.state_dict()), metadata)
    report = evaluate.evaluate(arguments.name, arguments.data, "test")  # by name, so that no path is in its metadata
    metadata = replace(metadata, scores={"test": report.to_dict()})
    weights.save(target, weights.rounded(network.state_dict()), metadata)
    int8 = {"quantize": "int8", "source": arguments.data}
    proof = export(target, target.with_suffix(".onnx"), **(int8 if arguments.int8 else {"half": True}))
    print(f"ONNX and PyTorch: {proof}")


def measure_again(target: Path, source: str) -> None:
    """Score both files of a shipped model on the splits that they have scores of, and change nothing else in them."""
    tensors, texts = weights.load_tensors(target)
    texts[METADATA_KEY] = scored_again(target, texts[METADATA_KEY], source)
    weights.save_tensors(target, tensors, texts)
    file = target.with_suffix(".onnx")
    model = onnx.load(file)
    (entry,) = (entry for entry in model.metadata_props if entry.key == METADATA_KEY)
    entry.value = scored_again(file, entry.value, source)
    file.write_bytes(model.SerializeToString())


def scored_again(file: Path, text: str, source: str) -> str:
    """The metadata of a file with the scores that it has today; a score that moved is said."""
    metadata = json.loads(text)
    for split, before in metadata["scores"].items():
        after = replace(evaluate.evaluate(file, source, split), model=before["model"]).to_dict()
        print(f"{file.name}, {split}: accuracy {before['accuracy']:.6f} before, {after['accuracy']:.6f} now")
        metadata["scores"][split] = after
    return json.dumps(metadata)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path, nargs="?", help="without them, the shipped model is measured again")
    parser.add_argument("--name", required=True)
    parser.add_argument("--description", default="")
    parser.add_argument("--data", required=True, help="ferplus:DIR")
    parser.add_argument("--scale", type=float, help="framing in photographs, relative to the detector's box")
    parser.add_argument("--int8", action="store_true", help="the ONNX file computes in int8")
    arguments = parser.parse_args()
    target = PRETRAINED / f"{arguments.name}.safetensors"
    if arguments.weights:
        publish(arguments, target)
    else:
        measure_again(target, arguments.data)

    report = evaluate.evaluate(arguments.name, arguments.data, "test")
    reports: dict[str, Report] = {"test": report, **{subset: report.subsets[subset] for subset in SUBSETS}}
    recognizer = msanet.Recognizer(target.with_suffix(".onnx"))
    if "quantization" in recognizer.metadata.training:
        reports["test, int8"] = replace(
            evaluate.evaluate(target.with_suffix(".onnx"), arguments.data, "test"), model=recognizer.metadata.name
        )
    card = "\n".join(f"# {name}\n\n{report.to_markdown()}" for name, report in reports.items())
    target.with_suffix(".md").write_text(card)
    print(card)

    network, metadata = weights.load(target)
    samples = aligned(data.read(arguments.data, "test"), metadata.preprocessing, workers=2)
    evaluated = softmax(
        predict(network, samples, metadata.preprocessing, metadata.expressions, workers=2), metadata.temperature
    )
    recognized = recognizer.classify([sample.crop() for sample in samples])
    print(f"recognize and evaluate on {len(samples)} test pictures: {np.abs(evaluated - recognized).max():.1e}")


if __name__ == "__main__":
    main()
