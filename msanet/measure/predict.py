"""A network's logits for labelled pictures, on one process or several."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor
from torch.utils.data import DataLoader

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
        samples = aligned(samples, self.metadata.preprocessing, workers)
        arguments = (samples, self.metadata.preprocessing, self.metadata.expressions)
        if self._classifier is not None:
            return predict_onnx(self._classifier, *arguments, workers=workers)
        return predict(self._network, *arguments, workers=workers)

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
    batches = evaluation_loader(FaceDataset(samples, preprocessing, labels), batch_size, workers)
    return answers(network, batches, preprocessing, accelerator)


@torch.no_grad()  # in inference mode, weights that `to` copies could not be loaded into again
def answers(
    ask: Callable[[Tensor], Tensor],
    batches: DataLoader[tuple[Tensor, Tensor]],
    preprocessing: Preprocessing,
    accelerator: Accelerator,
) -> np.ndarray:
    """What a function of network inputs says of each picture, the processes sharing the work.

    Args:
        ask: float32 [B, 3, S, S] on the accelerator's device -> [B, K] there.
        batches: of network inputs, in order.
        preprocessing: whether the mirror image is averaged too.
        accelerator: device, precision and processes.

    Returns:
        float32 [N, K], in the order of the pictures, equal on every process.
    """

    def run(images: np.ndarray, _: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        batch = torch.from_numpy(images).to(accelerator.device, memory_format=torch.channels_last)
        with accelerator.autocast():
            return [ask(batch).float().cpu().numpy()]

    rows = [
        accelerator.gather_for_metrics(
            torch.from_numpy(preprocessing.average_views(run, images.cpu().numpy())[0]).to(accelerator.device)
        )
        for images, _ in accelerator.prepare_data_loader(batches)
    ]
    return torch.cat(rows).cpu().numpy()


def predict_onnx(
    classifier: Classifier,
    samples: Sequence[Sample],
    preprocessing: Preprocessing,
    labels: Sequence[str],
    *,
    batch_size: int = 64,
    workers: int = 0,
) -> np.ndarray:
    """As `predict`, by an ONNX file in onnxruntime."""
    batches = evaluation_loader(FaceDataset(samples, preprocessing, labels), batch_size, workers)
    return np.concatenate([classifier.run(["logits"], images.numpy())[0] for images, _ in batches])
