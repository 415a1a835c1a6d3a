"""A 720p video of three people: frames a second and peak memory, beside fer's milliseconds for such a frame.

    python benchmarks/video.py --lfw DIR --models fast accurate --fer fer/bin/python

Makes a video of 25 frames a second (H.264) in which three faces of LFW, 180 to 260 pixels high, sway and turn over a
background of noise, and runs `msanet recognize` on it twice for each model: for the table alone, and with the annotated
video. Frames a second are those of the whole command, its start included. `--fer` is the Python of an environment into
which the package fer was installed; there `FER().detect_emotions` reads the first frames of the same video.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from msanet import images

WIDTH, HEIGHT, RATE = 1280, 720, 25
FER = """
import json, sys, time, cv2
from fer.fer import FER
detector, video = FER(), cv2.VideoCapture(sys.argv[1])
seconds, faces = [], 0
for _ in range(int(sys.argv[2]) + 1):
    frame = video.read()[1]
    start = time.perf_counter()
    faces += len(detector.detect_emotions(frame))
    seconds.append(time.perf_counter() - start)
print(json.dumps([sorted(seconds[1:])[len(seconds) // 2 - 1], faces / len(seconds)]))
"""


def make(path: Path, lfw: Path, frames: int) -> None:
    """Write the video; the same faces and paths every time."""
    rng = np.random.default_rng(0)
    with (lfw / "faces.csv").open(newline="") as file:
        names = [row["name"] for row in csv.DictReader(file)]
    faces = [images.read(lfw / "images" / names[index]) for index in rng.choice(len(names), 3, replace=False)]
    background = cv2.resize(rng.integers(60, 160, (18, 32, 3), dtype=np.uint8), (WIDTH, HEIGHT))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", Fraction(RATE), options={"crf": "20"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number in range(frames):
            picture = background.copy()
            for place, face in enumerate(faces):
                phase = 2 * np.pi * number / RATE / (3 + place)
                height = 220 + 40 * np.sin(phase / 2)
                centre = (WIDTH * (1 + 2 * place) / 6 + 40 * np.sin(phase), HEIGHT / 2 + 60 * np.cos(phase))
                turn = cv2.getRotationMatrix2D((75, 75), 10 * float(np.sin(phase)), height / 115)
                turn[:, 2] += np.array(centre) - 75
                cv2.warpAffine(face, turn, (WIDTH, HEIGHT), picture, cv2.INTER_CUBIC, borderMode=cv2.BORDER_TRANSPARENT)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.asarray(picture, np.uint8), format="rgb24")))
        container.mux(stream.encode())


def run(command: list[str]) -> tuple[float, float]:
    """Seconds and peak memory in MiB of a command."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"this failed: {' '.join(command)}")
    return time.perf_counter() - start, usage.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lfw", required=True, type=Path)
    parser.add_argument("--models", nargs="+", default=["accurate"])
    parser.add_argument("--fer", help="the Python of fer's environment")
    parser.add_argument("--frames", type=int, default=750)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder) / "clip.mp4"
        make(clip, arguments.lfw, arguments.frames)
        print("| | frames/s | peak MiB | faces a frame |\n| --- | ---: | ---: | ---: |")
        if arguments.fer:
            command = [arguments.fer, "-c", FER, str(clip), "40"]
            said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            seconds, faces = json.loads(said.strip().rpartition("\n")[2])
            print(f"| fer, {1000 * seconds:.0f} ms a frame | {1 / seconds:.1f} | | {faces:.2f} |", flush=True)
        for model in arguments.models:
            for words, option in (("table", "--no-annotate"), ("annotated", "--annotate")):
                output = Path(folder) / f"{Path(model).stem} {words}"
                command = [sys.executable, "-m", "msanet", "recognize", str(clip), "--model", model, option]
                runs = [run([*command, "--output", str(output / str(n))]) for n in range(arguments.rounds)]
                rates = sorted(arguments.frames / seconds for seconds, _ in runs)
                table = next(output.glob("*/*.csv"))
                faces = (len(table.read_text().splitlines()) - 1) / arguments.frames
                peak = max(memory for _, memory in runs)
                spread = f"{rates[len(rates) // 2]:.0f} ({rates[0]:.0f} to {rates[-1]:.0f})"
                print(f"| msanet {Path(model).stem}, {words} | {spread} | {peak:.0f} | {faces:.2f} |", flush=True)


if __name__ == "__main__":
    main()
