"""Knowledge distillation (Hinton, Vinyals & Dean, 2015): what trained models say of a batch, as targets."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from msanet import weights
from msanet.classifier import Classifier
from msanet.errors import InputError
from msanet.preprocessing import Preprocessing


class Teachers:
    """One or more trained models whose answers become targets (`Recipe.teacher_sees`: to which pictures).

    A teacher of another input size gets them resized; colours and normalisation must be the student's.

    Args:
        models: names of shipped models, .safetensors files, or .onnx files: an int8 one on a processor is up to three
            times as fast as its original.
        labels: names of the student's K classes.
        preprocessing: the student's.
        device: of the student.

    Raises:
        InputError: a model cannot be loaded, lacks a label, or wants other colours or another normalisation.
    """

    def __init__(
        self, models: Sequence[str], labels: Sequence[str], preprocessing: Preprocessing, device: torch.device
    ) -> None:
        self.members: list[tuple[Callable[[Tensor], Tensor], int, float, list[int]]] = []
        for model in models:
            loaded, metadata = weights.load_either(model, torch.get_num_threads())
            missing = [name for name in labels if name not in metadata.expressions]
            if missing:
                raise InputError(f"teacher {model} does not know {', '.join(missing)}: choose another")
            own = metadata.preprocessing
            if (own.gray, own.mean, own.std) != (preprocessing.gray, preprocessing.mean, preprocessing.std):
                raise InputError(
                    f"teacher {model} takes other colours: set preprocessing.gray, mean and std to its own"
                )
            columns = [metadata.expressions.index(name) for name in labels]
            if isinstance(loaded, Classifier):
                network = on_tensors(loaded)
            else:
                network = loaded.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
            self.members.append((network, own.size, metadata.temperature, columns))

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """float32 [B, 3, S, S] -> mean of the teachers' calibrated probabilities, float32 [B, K]."""
        opinions = []
        for network, size, temperature, columns in self.members:
            own = images
            if images.shape[-1] != size:
                own = nn.functional.interpolate(images, size=(size, size), mode="bilinear", antialias=True)
            opinions.append((network(own).float()[:, columns] / temperature).softmax(dim=1))
        return torch.stack(opinions).mean(dim=0)


def on_tensors(classifier: Classifier) -> Callable[[Tensor], Tensor]:
    """An ONNX network as a function of tensors: float32 [B, 3, S, S] on any device -> logits [B, K] there, one view."""

    def run(images: Tensor) -> Tensor:
        (logits,) = classifier.run(["logits"], images.cpu().contiguous().numpy(), mirror=False)
        return torch.from_numpy(logits).to(images.device)

    return run
