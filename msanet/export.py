"""Weights -> ONNX, and the proof that both agree: the one door from the lab to the shop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from msanet import weights
from msanet.errors import InputError, require
from msanet.images import replacing
from msanet.models import Network
from msanet.preprocessing import softmax
from msanet.runtime import METADATA_KEY, Session
from msanet.weights import Metadata

OPSET = 18
TOLERANCE = 1e-4
"""Largest difference allowed between the probabilities of PyTorch and of ONNX, both in float32."""

LARGE = 1024
"""Weights of more values than this are stored in half precision when asked for; the rest would save nothing."""


class Outputs(nn.Module):
    """The network as ONNX sees it: images -> logits, embedding, evidence and, where there is any, attention."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        explanation = self.network.explain(images)
        return tuple(explanation) if explanation.attention.shape[1] else tuple(explanation)[:3]


def export(model: str | Path, output: Path, *, half: bool = False) -> float:
    """Write a model as ONNX, then run both on the same inputs.

    Args:
        model: a shipped model's name, or a .safetensors file.
        output: the .onnx file; it appears only when the proof has succeeded.
        half: store large weights in half precision, half the file. They are rounded to it for both sides of the
            proof, and the network still computes in float32.

    Returns:
        The largest difference between the two sides' probabilities.

    Raises:
        InputError: the model cannot be loaded, the output cannot be written, or an extra is not installed.
        RuntimeError: the two sides differ by more than `TOLERANCE`.
    """
    if output.suffix != ".onnx":
        raise InputError(f"{output} does not end in .onnx: give the name of an ONNX file")
    network, metadata = weights.load(model)
    if half:
        network.load_state_dict(weights.rounded(network.state_dict()))
    content = to_onnx(network, metadata, half=half)
    difference = compare(network, Session(content, threads=1), metadata)
    if not difference <= TOLERANCE:
        raise RuntimeError(f"ONNX and PyTorch differ by {difference:.2e} in probability, over {TOLERANCE:.0e}")
    with replacing(output) as temporary:
        output.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(content)
    return difference


def to_onnx(network: Network, metadata: Metadata, *, half: bool = False) -> bytes:
    """The ONNX file's bytes, opset 18: input "images" float32 [N, 3, size, size], N free.

    Outputs float32: "logits" [N, K], "embedding" [N, D], "evidence" [N, K, h, w] and, from networks with attention,
    "attention" [N, B, h, w]. The metadata lie as JSON under the key "msanet".
    """
    onnx = require("onnx")
    require("onnxscript")
    size = metadata.preprocessing.size
    # Two pictures, so that the exporter does not take the number 1 for a constant.
    images = torch.zeros(2, 3, size, size)
    outputs = Outputs(network.cpu()).eval()
    names = ["logits", "embedding", "evidence", "attention"][: len(outputs(images))]
    program = torch.onnx.export(
        outputs,
        (images,),
        dynamo=True,
        # onnxruntime optimises when it loads. Here it would fold BatchNorm into the weights, which rounded to half
        # precision would no longer be PyTorch's.
        optimize=False,
        opset_version=OPSET,
        input_names=["images"],
        output_names=names,
        dynamic_shapes={"images": {0: torch.export.Dim("N")}},
        verbose=False,
    )
    model = program.model_proto  # type: ignore[union-attr]  # with dynamo=True there is a program
    if half:
        store_half(model)
    for item in (*model.graph.node, *model.graph.value_info, *model.graph.input, *model.graph.output):
        # The exporter notes the lines of code that made each node, with this machine's paths.
        del item.metadata_props[:]
    onnx.helper.set_model_props(model, {METADATA_KEY: metadata.to_json()})
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def store_half(model: Any) -> None:
    """Keep large weights in half precision, each under a Cast to float32 that onnxruntime folds when it loads."""
    import onnx
    from onnx import numpy_helper

    graph = model.graph
    casts = []
    for weight in graph.initializer:
        values = numpy_helper.to_array(weight)
        if values.dtype == np.float32 and values.size > LARGE:
            name, weight.name = weight.name, f"{weight.name}_half"
            weight.CopyFrom(numpy_helper.from_array(values.astype(np.float16), weight.name))
            casts.append(onnx.helper.make_node("Cast", [weight.name], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


def compare(network: Network, session: Session, metadata: Metadata) -> float:
    """Largest difference in probability between PyTorch and ONNX over 16 random pictures."""
    size = metadata.preprocessing.size
    pixels = np.random.default_rng(0).integers(0, 256, (16, size, size, 3), np.uint8)
    images = metadata.preprocessing.normalize(pixels)
    with torch.inference_mode():
        expected = network(torch.from_numpy(images)).numpy()
    actual = session.run(["logits"], {"images": images})[0]
    return float(np.abs(softmax(expected) - softmax(actual)).max())
