"""A network's logits for labelled pictures, on one process or several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from msanet import weights
from msanet.classifier import Classifier
from msanet.data.alignment import aligned
from msanet.data.dataset import FaceDataset, evaluation_loader
from msanet.data.sample import Sample
from msanet.networks.network import Explains, Network
from msanet.preprocessing import Preprocessing


class Model:
    """Trained weights, run by PyTorch (a shipped model's name, .safetensors) or by onnxruntime (.onnx).

    Args:
        name_or_file: a shipped model's name, or a file.

    Attributes:
        name: as given.
        metadata: what travels with the weights.

    Raises:
        InputError: the model cannot be loaded.
    """

    def __init__(self, name_or_file: str | Path) -> None:
        self.name = str(name_or_file)
        loaded, self.metadata = weights.load_either(name_or_file)
        self._classifier = loaded if isinstance(loaded, Classifier) else None
        if isinstance(loaded, Network):
            self._network = loaded

    def logits(self, samples: Sequence[Sample], workers: int = 0) -> np.ndarray:
        """float32 [len(samples), K], in the samples' order; they are aligned first if the preprocessing says so."""
        return self._ask("logits", samples, workers)

    def embed(self, samples: Sequence[Sample], workers: int = 0) -> np.ndarray:
        """The pooled features, float32 [len(samples), D], of pictures as `logits` takes them."""
        return self._ask("embedding", samples, workers)

    def _ask(self, output: str, samples: Sequence[Sample], workers: int) -> np.ndarray:
        landmarks = "landmarks" in self.metadata.inputs
        samples = aligned(samples, self.metadata.preprocessing, workers, landmarks)
        arguments = (samples, self.metadata.preprocessing, self.metadata.expressions)
        if self._classifier is not None:
            return predict_onnx(self._classifier, *arguments, output=output, workers=workers)
        network = self._network if output == "logits" else Headless(self._network)
        return predict(network, *arguments, workers=workers)

    @torch.inference_mode()
    def explain(self, crops: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Where in the network's input the logits come from, both views averaged where the preprocessing says so.

        Args:
            crops: RGB uint8 [H, W, 3] of any sizes; few, since all go at once.

        Returns:
            Evidence for each class float32 [N, K, h, w], and the branches' spatial attention [N, B, h, w] in 0..1;
            K or B is 0 where the model gives none.
        """
        preprocessing = self.metadata.preprocessing
        images = preprocessing(crops)
        if self._classifier is not None:
            given = [name for name in ("evidence", "attention") if name in self._classifier.outputs]
            maps = dict(zip(given, self._classifier.run(given, images) if given else [], strict=True))
            nothing = np.empty((len(images), 0, 1, 1), np.float32)
            return maps.get("evidence", nothing), maps.get("attention", nothing)

        network = self._network
        if not isinstance(network, Explains):
            return np.empty((len(images), 0, 1, 1), np.float32), np.empty((len(images), 0, 1, 1), np.float32)

        def run(images: np.ndarray, _: Mapping[str, np.ndarray]) -> list[np.ndarray]:
            device = next(network.parameters()).device
            explanation = network.explain(torch.from_numpy(images).to(device))
            return [explanation.evidence.float().cpu().numpy(), explanation.attention.float().cpu().numpy()]

        evidence, attention = preprocessing.average_views(run, images)
        return evidence, attention


class Headless(Network):
    """A network whose output are its features."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network, self.inputs = network, network.inputs

    def features(self, images: Tensor, **inputs: Tensor) -> Tensor:
        return self.network.features(images, **inputs)

    def head(self, features: Tensor) -> Tensor:
        return features


def predict(
    network: Network,
    samples: Sequence[Sample],
    preprocessing: Preprocessing,
    labels: Sequence[str],
    *,
    batch_size: int = 64,
    workers: int = 0,
    accelerator: Accelerator | None = None,
) -> np.ndarray:
    """Logits float32 [len(samples), K], in the samples' order, equal on every process.

    Args:
        network: in evaluation mode after the call.
        samples: pictures.
        preprocessing: of the network; its `mirror` is obeyed.
        labels: names of the K classes.
        batch_size: pictures at once on each process.
        workers: loading processes.
        accelerator: device, precision and processes; None: this process alone in float32, on a GPU if there is one.
    """
    accelerator = accelerator or Accelerator()
    network = network.to(accelerator.device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    dataset = FaceDataset(samples, preprocessing, labels, inputs=network.inputs)
    rows = []
    with torch.no_grad():  # in inference mode, weights that `to` copies could not be loaded into again
        for item in accelerator.prepare_data_loader(evaluation_loader(dataset, batch_size, workers)):
            images = item["images"].to(memory_format=torch.channels_last)
            inputs = {name: item[name] for name in network.inputs}
            with accelerator.autocast():
                logits = network(images, **inputs).float()
                if preprocessing.mirror:
                    mirrored = images.flip(-1).contiguous(memory_format=torch.channels_last)
                    logits = (logits + network(mirrored, **mirrored_inputs(inputs)).float()) / 2
            rows.append(accelerator.gather_for_metrics(logits))
    return torch.cat(rows).cpu().numpy()


def mirrored_inputs(inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A network's further inputs, all of them landmarks [B, 5, 2], as the mirror image has them."""
    return {
        name: torch.stack([1 - value[..., 0], value[..., 1]], dim=-1)[:, [1, 0, 2, 4, 3]]
        for name, value in inputs.items()
    }


def predict_onnx(
    classifier: Classifier,
    samples: Sequence[Sample],
    preprocessing: Preprocessing,
    labels: Sequence[str],
    *,
    output: str = "logits",
    batch_size: int = 64,
    workers: int = 0,
) -> np.ndarray:
    """As `predict`, by an ONNX file in onnxruntime; `output` is one of the classifier's."""
    dataset = FaceDataset(samples, preprocessing, labels, inputs=classifier.metadata.inputs)
    batches = evaluation_loader(dataset, batch_size, workers)
    rows = []
    for item in batches:
        landmarks = item["landmarks"].numpy() if "landmarks" in item else None
        rows.append(classifier.run([output], item["images"].numpy(), landmarks)[0])
    return np.concatenate(rows)
