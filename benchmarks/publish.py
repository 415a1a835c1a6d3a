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
from msanet import weights
from msanet.data import SUBSETS
from msanet.export import export
from msanet.measure.evaluate import Evaluation, evaluate, examine
from msanet.model import METADATA_KEY

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


def publish(arguments: argparse.Namespace, target: Path) -> Evaluation:
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
    evaluation = examine(arguments.name, arguments.data)  # by name, so that no path is in its metadata
    metadata = replace(metadata, scores={"test": evaluation.report.to_dict()})
    weights.save(target, weights.rounded(network.state_dict()), metadata)
    int8 = {"quantize": "int8", "source": arguments.data}
    proof = export(target, target.with_suffix(".onnx"), **(int8 if arguments.int8 else {"half": True}))
    print(f"ONNX and PyTorch: {proof}")
    return evaluation


def measure_again(name: str, target: Path, source: str) -> Evaluation:
    """Score both files of a shipped model anew, as `publish` and `export` do, and change nothing else in them."""
    evaluation = examine(name, source)
    tensors, texts = weights.load_tensors(target)
    metadata = json.loads(texts[METADATA_KEY])
    scores = {"test": evaluation.report.to_dict()}
    print(f"accuracy: {metadata['scores']['test']['accuracy']:.6f} before, {scores['test']['accuracy']:.6f} now")
    weights.save_tensors(target, tensors, texts | {METADATA_KEY: json.dumps(metadata | {"scores": scores})})

    file = target.with_suffix(".onnx")
    model = onnx.load(file)
    (entry,) = (entry for entry in model.metadata_props if entry.key == METADATA_KEY)
    metadata = json.loads(entry.value)
    if "quantization" in metadata["training"]:
        report = replace(evaluate(file, source, "validation"), model=metadata["name"])
        scores = {"validation": report.to_dict()}
    entry.value = json.dumps(metadata | {"scores": scores})
    file.write_bytes(model.SerializeToString())
    return evaluation


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
        evaluation = publish(arguments, target)
    else:
        evaluation = measure_again(arguments.name, target, arguments.data)

    report = evaluation.report
    reports = {"test": report, **{subset: report.subsets[subset] for subset in SUBSETS}}
    recognizer = msanet.Recognizer(target.with_suffix(".onnx"))
    if "quantization" in recognizer.metadata.training:
        int8 = evaluate(target.with_suffix(".onnx"), arguments.data)
        reports["test, int8"] = replace(int8, model=recognizer.metadata.name)
    card = "\n".join(f"# {name}\n\n{report.to_markdown()}" for name, report in reports.items())
    target.with_suffix(".md").write_text(card)
    print(card)

    recognized = recognizer.classify([sample.crop() for sample in evaluation.samples], align=False)
    difference = np.abs(evaluation.probabilities - recognized).max()
    print(f"recognize and evaluate on {len(recognized)} test pictures: {difference:.1e}")


if __name__ == "__main__":
    main()
