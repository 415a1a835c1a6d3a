"""Knowledge distillation (Hinton, Vinyals & Dean, 2015): what trained models say, as a part of the targets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from msanet import weights
from msanet.classifier import Classifier
from msanet.data.dataset import Batch, FaceDataset, evaluation_loader
from msanet.data.sample import Sample
from msanet.errors import InputError
from msanet.methods import method
from msanet.methods.method import Context, Method, Wrapper, with_targets
from msanet.methods.mixup import blend
from msanet.preprocessing import Preprocessing


class Distill(Wrapper):
    """Teachers' answers take a share of the targets of training pictures; extra pictures keep their own.

    Within `mixup` (mixup's `inner`) and with sees="augmented" the teachers see the blended picture; round it (mixup as
    this method's `inner`) and with sees="original" answers are blended as labels are.

    Options:
        teachers: shipped models' names, .safetensors or .onnx files, see `Teachers`.
        share: of the target that they give.
        sees: "augmented": the very picture that is learnt; "original": the crop as it is and its mirror image, once
            before training, so that augmentation may hide what the answer rests on.
        inner: the method that learns from these targets.
    """

    class Options(method.Options):
        teachers: tuple[str, ...] = Field(min_length=1)
        share: float = Field(0.5, ge=0, le=1)
        sees: Literal["augmented", "original"] = "augmented"
        inner: dict[str, Any] = Field(default_factory=lambda: {"name": "plain"})

    def __init__(self, inner: Method, options: Options, context: Context) -> None:
        super().__init__(inner, options, context)
        self.teachers = Teachers(options.teachers, context.labels, context.preprocessing, context.device)
        self.opinions: Tensor
        self.register_buffer("opinions", torch.zeros(0, len(context.labels), device=context.device))

    def fit(self, samples: Sequence[Sample], seed: int) -> None:
        super().fit(samples, seed)
        self.opinions = torch.zeros(len(samples), len(self.context.labels), device=self.context.device)
        if self.options.sees == "original":
            dataset = FaceDataset(samples, self.context.preprocessing, self.context.labels)
            rows = []
            for item in evaluation_loader(dataset, workers=self.context.workers):
                images = Batch.of(item).images.to(self.context.device)
                mirrored = images.flip(-1).contiguous(memory_format=torch.channels_last)
                rows.append((self.teachers(images) + self.teachers(mirrored)) / 2)
            self.opinions = torch.cat(rows)

    def change(self, batch: Batch) -> Batch:
        share = torch.tensor(1 - self.options.share, dtype=torch.float32, device=batch.targets.device)
        taught = batch.index < len(self.opinions)  # extra pictures come after those of training
        own = torch.where(taught, share, 1.0)[:, None]  # [B, 1], what the label gives
        if self.options.sees == "original":
            answers = self.opinions[batch.index.clamp(max=len(self.opinions) - 1)]
        else:
            if batch.partner is not None:
                own = blend(own, batch.partner, batch.part)
            answers = self.teachers(batch.images)
        return with_targets(batch, own * batch.targets + (1 - own) * answers)


class Teachers:
    """One or more trained models whose answers become targets.

    A teacher of another input size gets them resized; colours and normalisation must be the student's.

    Args:
        models: names of shipped models, .safetensors files, or .onnx files: an int8 one on a processor is up to three
            times as fast as its original.
        labels: names of the student's K classes.
        preprocessing: the student's.
        device: of the student.

    Raises:
        InputError: a model cannot be loaded, lacks a label, wants other colours or another normalisation, or wants
            more than pictures.
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
            if metadata.inputs:
                raise InputError(
                    f"teacher {model} wants {', '.join(metadata.inputs)} beside the picture: choose another"
                )
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
        (logits,) = classifier.run(["logits"], np.ascontiguousarray(images.cpu().numpy()), mirror=False)
        return torch.from_numpy(logits).to(images.device)

    return run
