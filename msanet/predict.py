"""A network's logits for labelled pictures, on one process or several."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from accelerate import Accelerator

from msanet.data.samples import FaceDataset, Sample, evaluation_loader
from msanet.models import Network
from msanet.preprocessing import Preprocessing
from msanet.runtime import Session


@torch.inference_mode()
def predict(
    network: Network,
    samples: Sequence[Sample],
    preprocessing: Preprocessing,
    expressions: Sequence[str],
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
        expressions: names of the K classes.
        batch_size: pictures at once on each process.
        workers: loading processes.
        accelerator: device, precision and processes; None: this process alone in float32, on a GPU if there is one.
    """
    accelerator = accelerator or Accelerator()
    dataset = FaceDataset(samples, preprocessing, expressions)
    loader = accelerator.prepare_data_loader(evaluation_loader(dataset, batch_size, workers))
    network = network.to(accelerator.device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]

    def run(images: np.ndarray) -> np.ndarray:
        batch = torch.from_numpy(images).to(accelerator.device, memory_format=torch.channels_last)
        with accelerator.autocast():
            return network(batch).float().cpu().numpy()

    logits = [
        accelerator.gather_for_metrics(
            torch.from_numpy(preprocessing.average_views(run, images.cpu().numpy())).to(accelerator.device)
        )
        for images, _ in loader
    ]
    return torch.cat(logits).cpu().numpy()


def predict_onnx(
    session: Session,
    samples: Sequence[Sample],
    preprocessing: Preprocessing,
    expressions: Sequence[str],
    *,
    batch_size: int = 64,
    workers: int = 0,
) -> np.ndarray:
    """As `predict`, by an ONNX file in onnxruntime."""
    dataset = FaceDataset(samples, preprocessing, expressions)

    def run(images: np.ndarray) -> np.ndarray:
        return session.run(["logits"], {"images": images})[0]

    batches = evaluation_loader(dataset, batch_size, workers)
    return np.concatenate([preprocessing.average_views(run, images.numpy()) for images, _ in batches])
