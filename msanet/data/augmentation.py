"""Random changes of a training picture: its place in the crop, its light, its sharpness, what hides it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator

from msanet.preprocessing import MEAN_LANDMARKS, Preprocessing, blur, compress, mirror_landmarks

CHANGES: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {}
"""Further changes by name: RGB uint8 [size, size, 3] -> the same; a plug-in enters its own. Loading processes must have
them too, as they do where they are forked (Linux), or with `workers: 0`."""


class Augmentation(BaseModel):
    """What training does to a crop; the default does nothing. It ends in the model's own preprocessing.

    Args:
        crop: "center", or "corners": the centre or one of the four corners at random (the paper; needs
            `Preprocessing.resize` over `size`).
        flip: probability of mirroring.
        rotation: up to this many degrees either way.
        scale: up to this factor larger or smaller, log-uniform; 1.25 is 0.8 to 1.25.
        stretch: up to this factor between width and height.
        shift: up to this part of the side, in x and in y.
        brightness: added to values in 0..1, up to this much either way.
        contrast: factor 1 - contrast to 1 + contrast.
        gamma: exponent 1 / (1 + gamma) to 1 + gamma, log-uniform.
        sharpness: probability of a change of sharpness: half of them blur, half sharpen.
        noise: largest standard deviation of Gaussian noise, of values in 0..1.
        erase: probability that a rectangle of 2 to 20 % of the area is overwritten by grey or noise.
        bar: probability that a band over the whole width, 5 to 35 % of the height, is overwritten likewise.
        degrade: probability that the crop comes as from a poor source: half of them blurred by a Gaussian of up to 1/16
            of the side, half through JPEG of quality 3 to 50.
        randaugment: magnitude, 0 to 30, of two changes drawn from RandAugment's (Cubuk et al., NeurIPS 2020); 0 makes
            none. Some of them move the picture, which landmarks do not follow.
        further: names of `CHANGES`, which plug-ins enter, made at the end.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    crop: Literal["center", "corners"] = "center"
    flip: float = Field(0.0, ge=0, le=1)
    rotation: float = Field(0.0, ge=0, le=180)
    scale: float = Field(1.0, ge=1)
    stretch: float = Field(1.0, ge=1)
    shift: float = Field(0.0, ge=0, le=1)
    brightness: float = Field(0.0, ge=0, le=1)
    contrast: float = Field(0.0, ge=0, le=1)
    gamma: float = Field(0.0, ge=0)
    sharpness: float = Field(0.0, ge=0, le=1)
    noise: float = Field(0.0, ge=0, le=1)
    erase: float = Field(0.0, ge=0, le=1)
    bar: float = Field(0.0, ge=0, le=1)
    degrade: float = Field(0.0, ge=0, le=1)
    randaugment: int = Field(0, ge=0, le=30)
    further: tuple[str, ...] = ()

    @field_validator("further")
    @classmethod
    def known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [name for name in value if name not in CHANGES]
        if unknown:
            raise ValueError(f"there is no change {unknown[0]!r}: choose from {', '.join(CHANGES) or 'none, so far'}")
        return value

    def __call__(self, crop: np.ndarray, preprocessing: Preprocessing, rng: np.random.Generator) -> np.ndarray:
        """Crop RGB uint8 [H, W, 3] -> RGB uint8 [size, size, 3], ready for `preprocessing.normalize`."""
        return self.with_points(crop, MEAN_LANDMARKS, preprocessing, rng)[0]

    def with_points(
        self, crop: np.ndarray, points: np.ndarray, preprocessing: Preprocessing, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """As above, with the landmarks [5, 2] of the crop, whose sides are 0..1, as those of the result."""
        size = preprocessing.size
        if self.degrade and rng.random() < self.degrade:
            blurred = rng.random() < 0.5
            crop = blur(crop, rng.uniform(0, 1 / 16)) if blurred else compress(crop, int(rng.integers(3, 51)))
        if self.rotation or self.shift or self.scale > 1 or self.stretch > 1:
            matrix = self.matrix(rng)
            image = preprocessing.warp(crop, matrix)
            points = (points - 0.5) @ matrix[:, :2].T + matrix[:, 2] + 0.5
        else:
            image = preprocessing.fit(crop)
        room = image.shape[0] - size
        if self.crop == "corners" and room:
            place = rng.integers(5)
            top, left = (room // 2, room // 2) if place == 4 else (room * (place // 2), room * (place % 2))
            image = image[top : top + size, left : left + size]
            points = (points * (size + room) - [left, top]) / size
        else:
            image = preprocessing.center(image)
            points = (points * (size + room) - room // 2) / size
        if rng.random() < self.flip:
            image, points = image[:, ::-1], mirror_landmarks(points)
        image = self.light(image, rng)
        if rng.random() < self.sharpness:
            image = preprocessing.sharpen(image, rng.uniform(-1, 1))
        if self.randaugment:
            image = randaugment(image, self.randaugment, rng)
        image = self.hide(image, rng)
        for name in self.further:
            image = CHANGES[name](image, rng)
        return image, points

    def matrix(self, rng: np.random.Generator) -> np.ndarray:
        """A random affine map float64 [2, 3] of the crop onto itself, both of side 1 and centred on 0."""
        angle = np.deg2rad(rng.uniform(-self.rotation, self.rotation))
        scale = self.scale ** rng.uniform(-1, 1)
        stretch = self.stretch ** rng.uniform(-0.5, 0.5)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        linear = scale * turn @ np.diag([stretch, 1 / stretch])
        return np.hstack([linear, rng.uniform(-self.shift, self.shift, (2, 1))])

    def light(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Gamma, contrast round the picture's mean, and brightness, by one table of 256 values; then noise."""
        values = np.linspace(0, 1, 256) ** ((1 + self.gamma) ** rng.uniform(-1, 1))
        mean = image.mean() / 255
        values = (values - mean) * (1 + rng.uniform(-self.contrast, self.contrast)) + mean
        values += rng.uniform(-self.brightness, self.brightness)
        image = (values.clip(0, 1) * 255).round().astype(np.uint8)[image]
        if self.noise:
            # One value for the three channels: grey pictures stay grey.
            spread = 255 * self.noise * rng.random()
            noisy = image + spread * rng.standard_normal((*image.shape[:2], 1), np.float32)
            image = noisy.clip(0, 255).round().astype(np.uint8)
        return image

    def hide(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Overwrite a rectangle, a band, or both."""
        size = image.shape[0]
        if rng.random() < self.erase:
            area, aspect = rng.uniform(0.02, 0.2), np.exp(rng.uniform(-1, 1))
            height, width = (max(int(size * min((area * ratio) ** 0.5, 1)), 1) for ratio in (aspect, 1 / aspect))
            image = overwrite(image, height, width, rng)
        if self.bar and rng.random() < self.bar:
            image = overwrite(image, max(int(size * rng.uniform(0.05, 0.35)), 1), size, rng)
        return image


def randaugment(image: np.ndarray, magnitude: int, rng: np.random.Generator) -> np.ndarray:
    """Two of RandAugment's changes of an image uint8 [H, W, 3]; what they leave empty is grey."""
    import torch
    from torchvision.transforms import v2  # both take seconds, which a wrong recipe and evaluation need not wait for

    change = v2.RandAugment(num_ops=2, magnitude=magnitude, interpolation=v2.InterpolationMode.BILINEAR, fill=128)
    with torch.random.fork_rng(devices=[]):  # torchvision draws from torch's own generator
        torch.default_generator.manual_seed(int(rng.integers(2**62)))  # torch.manual_seed would reach GPUs as well
        changed: torch.Tensor = change(torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))))
    return np.ascontiguousarray(changed.numpy().transpose(1, 2, 0))


def overwrite(image: np.ndarray, height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """A copy of an image uint8 [size, size, 3] with grey or noise in a rectangle somewhere."""
    size = image.shape[0]
    top, left = rng.integers(size - height + 1), rng.integers(size - width + 1)
    fill = rng.integers(256, size=(height, width, 1)) if rng.random() < 0.5 else rng.integers(256)
    image = image.copy()
    image[top : top + height, left : left + width] = fill
    return image
