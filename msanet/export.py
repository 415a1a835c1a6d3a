"""Weights -> ONNX, and the proof that both agree: the one door from the lab to the shop."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from msanet import data, weights
from msanet.data.alignment import aligned
from msanet.data.sample import DataWarning
from msanet.errors import InputError, require
from msanet.files import replacing
from msanet.measure.evaluate import examine, held_out
from msanet.model import METADATA_KEY, Metadata
from msanet.networks.network import Explains, Network, example_inputs
from msanet.preprocessing import softmax
from msanet.runtime import Session

OPSET = 18
TOLERANCE = 1e-4
"""Largest difference allowed between the probabilities of PyTorch and of ONNX, both in float32."""

LARGE = 1024
"""Weights of more values than this are stored in half precision when asked for; the rest would save nothing."""

QUANTIZATIONS = ("int8",)
CALIBRATION = 512
"""Training pictures that show how large the values of each layer become."""


@dataclass(frozen=True)
class Proof:
    """How an ONNX file compares with the network in PyTorch that it was made from.

    Attributes:
        pictures: how many were shown to both.
        difference: largest difference between their probabilities.
        agreement: share of the pictures that both give the same expression.
        accuracies: PyTorch's and ONNX's on these pictures, where they have labels.
    """

    pictures: int
    difference: float
    agreement: float
    accuracies: tuple[float, float] | None = None

    @classmethod
    def of(cls, expected: np.ndarray, actual: np.ndarray, accuracies: tuple[float, float] | None = None) -> Proof:
        """From the probabilities of both, float32 [N, K]."""
        agreement = float((expected.argmax(axis=1) == actual.argmax(axis=1)).mean())
        return cls(len(expected), float(np.abs(expected - actual).max()), agreement, accuracies)


class Outputs(nn.Module):
    """A network as ONNX sees it: images and further inputs -> its outputs, `names` of them."""

    def __init__(self, network: Network, size: int) -> None:
        super().__init__()
        self.network = network
        self.names = ["logits", "embedding"]
        if isinstance(network, Explains):
            images, inputs = example_inputs(network, 2, size)
            with torch.no_grad():
                attended = network.explain(images, **inputs).attention.shape[1]
            self.names += ["evidence", "attention"] if attended else ["evidence"]

    def forward(self, images: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
        named = dict(zip(self.network.inputs, inputs, strict=True))
        if isinstance(self.network, Explains):
            return tuple(self.network.explain(images, **named))[: len(self.names)]
        features = self.network.features(images, **named)
        return self.network.head(features), features


def export(
    model: str | Path, output: Path, *, half: bool = False, quantize: str | None = None, source: str | None = None
) -> Proof:
    """Write a model as ONNX, then run both on the same inputs.

    Args:
        model: a shipped model's name, or a .safetensors file.
        output: the .onnx file; it appears only when the proof has succeeded.
        half: store large weights in half precision, half the file. They are rounded to it for both sides of the
            proof, and the network still computes in float32.
        quantize: "int8" computes in whole numbers: a quarter of the file, and faster.
        source: NAME:DIR of a data set, for int8: its training pictures calibrate, its validation pictures compare.

    Returns:
        How the two compare: in float32 over 16 random pictures, in int8 over the validation pictures.

    Raises:
        InputError: the model or the data cannot be used, the output cannot be written, an argument is wrong or an
            extra is not installed.
        RuntimeError: in float32, the two sides differ by more than `TOLERANCE`.
    """
    if output.suffix != ".onnx":
        raise InputError(f"{output} does not end in .onnx: give the name of an ONNX file")
    if quantize not in (None, *QUANTIZATIONS):
        raise InputError(f"quantize is {quantize!r}: choose {' or '.join(QUANTIZATIONS)}")
    if quantize and half:
        raise InputError("half precision and int8 are two ways to store weights: ask for one of them")
    if quantize and source is None:
        raise InputError("int8 needs faces to calibrate on: give a data set by --data NAME:DIR")
    network, metadata = weights.load(model)
    if half:
        network.load_state_dict(weights.rounded(network.state_dict()))
    content = to_onnx(network, metadata, half=half)
    if source is not None and quantize:
        content, proof = to_int8(content, model, metadata, source)
    else:
        proof = prove(network, Session(content, threads=1), metadata)
        if not proof.difference <= TOLERANCE:
            raise RuntimeError(
                f"ONNX and PyTorch differ by {proof.difference:.2e} in probability, over {TOLERANCE:.0e}"
            )
    with replacing(output) as temporary:
        output.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(content)
    return proof


def to_onnx(network: Network, metadata: Metadata, *, half: bool = False) -> bytes:
    """The ONNX file's bytes, opset 18: input "images" float32 [N, 3, size, size], N free.

    Outputs float32: "logits" [N, K], "embedding" [N, D], "evidence" [N, K, h, w] and, from networks with attention,
    "attention" [N, B, h, w]. The metadata lie as JSON under the key "msanet".
    """
    onnx = require("onnx")
    require("onnxscript")
    size = metadata.preprocessing.size
    # Two pictures, so that the exporter does not take the number 1 for a constant.
    images, inputs = example_inputs(network, 2, size)
    outputs = Outputs(foldable(network), size).eval()
    batch = torch.export.Dim("N")
    program = torch.onnx.export(
        outputs,
        (images, *inputs.values()),
        dynamo=True,
        # onnxruntime optimises when it loads. Here it would fold BatchNorm into the weights, which rounded to half
        # precision would no longer be PyTorch's.
        optimize=False,
        opset_version=OPSET,
        input_names=["images", *inputs],
        output_names=outputs.names,
        dynamic_shapes={"images": {0: batch}} | ({"inputs": tuple({0: batch} for _ in inputs)} if inputs else {}),
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


def foldable(network: Network) -> Network:
    """A copy with the same outputs, written so that onnxruntime joins what can be joined when it loads."""
    network = network.folded()
    for module in list(network.modules()):
        if isinstance(module, nn.Conv2d) and module.bias is None:
            # Without one the exporter makes zeros out of the input's type, which keeps BatchNorm and ReLU apart.
            module.bias = nn.Parameter(torch.zeros(module.out_channels))
    return network


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


def prove(network: Network, session: Session, metadata: Metadata) -> Proof:
    """PyTorch and ONNX over 16 random pictures."""
    size = metadata.preprocessing.size
    pixels = np.random.default_rng(0).integers(0, 256, (16, size, size, 3), np.uint8)
    images = metadata.preprocessing.normalize(pixels)
    _, inputs = example_inputs(network, len(images), size)
    with torch.inference_mode():
        expected = network(torch.from_numpy(images), **inputs).numpy()
    given = {name: value.numpy() for name, value in inputs.items()}
    actual = session.run(["logits"], {"images": images, **given})[0]
    return Proof.of(softmax(expected), softmax(actual))


def to_int8(content: bytes, model: str | Path, metadata: Metadata, source: str) -> tuple[bytes, Proof]:
    """An ONNX file's bytes in int8, and how it does on validation pictures beside the model in PyTorch.

    The metadata keep preprocessing, expressions and temperature; the scores become int8's own.

    Raises:
        InputError: the data cannot be used.
    """
    onnx = require("onnx")
    samples = data.read(source, "train", **held_out(metadata, source))
    chosen = np.random.default_rng(0).choice(len(samples), min(CALIBRATION, len(samples)), replace=False)
    calibrating = aligned([samples[index] for index in chosen], metadata.preprocessing)
    graph = quantized(content, metadata.preprocessing([sample.crop() for sample in calibrating]))
    made = {"type": "int8", "data": source.partition(":")[0], "split": "train", "pictures": len(chosen), "seed": 0}
    metadata = replace(
        metadata, name=f"{metadata.name}-int8", training={**metadata.training, "quantization": made}, scores={}
    )
    onnx.helper.set_model_props(graph, {METADATA_KEY: metadata.to_json()})
    expected = examine(model, source, "validation")
    with TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)  # said once is enough
        file = Path(folder) / "int8.onnx"
        file.write_bytes(graph.SerializeToString())
        actual = examine(file, source, "validation")
    report = replace(actual.report, model=metadata.name)
    metadata = replace(metadata, scores={"validation": report.to_dict()})
    onnx.helper.set_model_props(graph, {METADATA_KEY: metadata.to_json()})
    accuracies = (expected.report.accuracy, report.accuracy)
    return bytes(graph.SerializeToString()), Proof.of(expected.probabilities, actual.probabilities, accuracies)


class Calibration:
    """The pictures as onnxruntime wants them: batch by batch, then None."""

    def __init__(self, images: np.ndarray) -> None:
        self._batches: Iterator[np.ndarray] = iter(np.array_split(images, -(-len(images) // 64)))

    def get_next(self) -> dict[str, np.ndarray] | None:
        batch = next(self._batches, None)
        return None if batch is None else {"images": batch}


def quantized(content: bytes, images: np.ndarray) -> Any:
    """Static quantisation: weights in 7 bits per output channel, values between the layers uint8 with fixed ranges.

    With 8 bits, x86 processors without int8 dot products (VNNI) would overflow.

    From the first pooling of whole maps on, attention and head stay in float32: little is computed there, converting
    back and forth takes longer, and the mean of a class's evidence stays its logit.

    Args:
        content: an ONNX file's bytes.
        images: float32 [N, 3, size, size], whose largest and smallest values in each layer set its range.

    Returns:
        An onnx.ModelProto with the same input and outputs.
    """
    onnx = require("onnx")
    from onnxruntime.quantization import QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with TemporaryDirectory() as folder:
        before, after = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        # Folds all that can be folded, so that what is quantised is what will be computed.
        quant_pre_process(onnx.load_from_string(content), before, skip_symbolic_shape=True)
        late: list[str] = []  # nodes that are, or come after, a pooling of whole maps
        reached: set[str] = set()
        for node in onnx.load(before).graph.node:  # in the order of computation
            if node.op_type in ("ReduceMean", "ReduceMax") or reached & set(node.input):
                late.append(node.name)
                reached |= set(node.output)
        quantize_static(
            before,
            after,
            Calibration(images),
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=late,
        )
        return onnx.load(after)
