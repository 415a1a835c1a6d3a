"""Face crop -> network input, as data that travels with the weights.

Training, evaluation and recognition all end here, so one face gives the same numbers everywhere.
"""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from types import MappingProxyType
from typing import Any

import numpy as np

from msanet.errors import InputError

FILTERS = ("linear", "cubic")

SIDES = (16, 1024)
"""Least and largest side of a network's input, pixels."""

MEAN_LANDMARKS = np.array([[0.318, 0.368], [0.682, 0.368], [0.5, 0.587], [0.345, 0.755], [0.655, 0.755]], np.float32)
"""Landmarks [5, 2] of the mean face in a crop of `Framing(scale=1.05)` whose sides are 0..1: over 378 faces of LFW,
made symmetric. They stand in for those of a face whose own are not known."""


@dataclass(frozen=True)
class Framing:
    """How a crop is cut from a photograph, so that it looks like the crops the network was trained on.

    Without a template the crop is a square centred on the detector's box, its side `scale` times the geometric mean
    of the box's sides. With a template it is the similarity transform that brings the five landmarks nearest to it.

    Args:
        scale: side of the square relative to the geometric mean of the box's width and height.
        level: turn the square so that the line between the eyes is level.
        template: five (x, y) in 0..1 of the crop: right eye, left eye, nose, right and left mouth corner as seen in
            a frontal picture from left to right; None cuts by the box.

    Raises:
        InputError: a value is of another type or out of its range.
    """

    scale: float = 1.0
    level: bool = True
    template: tuple[tuple[float, float], ...] | None = None

    def __post_init__(self) -> None:
        if not is_number(self.scale, 0.1, 10):
            raise InputError(f"framing scale is {reprlib.repr(self.scale)}: give a number from 0.1 to 10")
        check_switches(self, ("level",))
        if self.template is None:
            return
        if not isinstance(self.template, tuple) or len(self.template) != 5:
            raise InputError("a framing template is five (x, y) pairs")
        if not all(are_numbers(point, 2, -1, 2) for point in self.template):
            raise InputError("a framing template is five (x, y) pairs, each from -1 to 2 sides of the crop")
        if max(max(side) - min(side) for side in zip(*self.template, strict=True)) < 0.05:
            raise InputError("a framing template's five points lie on one: spread them over the crop")


@dataclass(frozen=True)
class Preprocessing:
    """What happens to a face crop on its way into a network.

    Args:
        size: side of the network's input, pixels.
        resize: side to which the crop is resized before the centre `size` x `size` is cut out of it; None: `size`.
        gray: replace the colours by their luma (ITU-R BT.601), repeated in the three channels.
        filter: interpolation when a crop is enlarged, "linear" or "cubic"; shrinking always averages over area.
        mean, std: per channel (RGB), of values in 0..1.
        mirror: average the logits of the crop and of its mirror image.
        framing: how the crop is cut from a photograph.
        align: the crops of data sets are cut anew, by `framing` too (`faces.Aligner`), before anything else.

    Raises:
        InputError: a value is of another type or out of its range: it may come from anybody's file.
    """

    size: int = 64
    resize: int | None = None
    gray: bool = False
    filter: str = "linear"
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.25, 0.25, 0.25)
    mirror: bool = False
    framing: Framing = field(default_factory=Framing)
    align: bool = False

    def __post_init__(self) -> None:
        least, largest = SIDES
        if not is_whole(self.size, least, largest):
            raise InputError(f"size is {reprlib.repr(self.size)}: give a whole number from {least} to {largest}")
        if self.resize is not None:
            if not is_whole(self.resize, least, largest):
                raise InputError(f"resize is {reprlib.repr(self.resize)}: give a whole number up to {largest}")
            if self.resize < self.size:
                raise InputError(f"resize is {self.resize}, less than size {self.size}: give at least {self.size}")
        if self.filter not in FILTERS:
            raise InputError(f"filter is {reprlib.repr(self.filter)}: choose one of {', '.join(FILTERS)}")
        if not are_numbers(self.mean, 3, -100, 100) or not are_numbers(self.std, 3, 0.001, 100):
            raise InputError("mean and std are three numbers each: mean from -100 to 100, std over 0, 0.001 to 100")
        check_switches(self, ("gray", "mirror", "align"))
        if not isinstance(self.framing, Framing):
            raise InputError(f"framing is {reprlib.repr(self.framing)}: give scale, level and template")

    def fit(self, crop: np.ndarray, side: int | None = None) -> np.ndarray:
        """Resize a crop and apply the colour rule, without cutting.

        Args:
            crop: RGB uint8 [H, W, 3].
            side: side of the result; None: `resize`, or `size` without it.

        Returns:
            RGB uint8 [side, side, 3].
        """
        import cv2

        side = side or self.resize or self.size
        height, width = crop.shape[:2]
        if self.gray:
            crop = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
        if (height, width) != (side, side):
            enlarge = {"linear": cv2.INTER_LINEAR, "cubic": cv2.INTER_CUBIC}[self.filter]
            shrinks = height * width > side * side
            crop = cv2.resize(crop, (side, side), interpolation=cv2.INTER_AREA if shrinks else enlarge)
        return cv2.cvtColor(crop, cv2.COLOR_GRAY2RGB) if self.gray else crop

    def warp(self, crop: np.ndarray, matrix: np.ndarray) -> np.ndarray:
        """As `fit`, and moved by an affine map on the way, in one interpolation; edge pixels fill what comes in.

        Args:
            crop: RGB uint8 [H, W, 3].
            matrix: float [2, 3], where the content goes, in units of the side with the origin in the centre.

        Returns:
            RGB uint8 [side, side, 3], side being `resize` or `size`.
        """
        import cv2

        side = self.resize or self.size
        if crop.shape[0] * crop.shape[1] > side * side or self.gray:
            # Shrinking averages over area first, as in `fit`; small crops are warped from their own pixels.
            crop = self.fit(crop, min(side, max(crop.shape[:2])))
        height, width = crop.shape[:2]
        to_unit = np.array([[1 / width, 0, 0.5 / width - 0.5], [0, 1 / height, 0.5 / height - 0.5], [0, 0, 1]])
        from_unit = np.array([[side, 0, 0.5 * side - 0.5], [0, side, 0.5 * side - 0.5], [0, 0, 1]])
        forward = from_unit @ np.vstack([matrix, [0, 0, 1]]) @ to_unit
        interpolation = {"linear": cv2.INTER_LINEAR, "cubic": cv2.INTER_CUBIC}[self.filter]
        return cv2.warpAffine(crop, forward[:2], (side, side), flags=interpolation, borderMode=cv2.BORDER_REPLICATE)

    def sharpen(self, image: np.ndarray, amount: float) -> np.ndarray:
        """Blur (`amount` -1..0) or sharpen (0..1) an image uint8 [H, W, 3] by a Gaussian of up to 1/32 of its side."""
        import cv2

        blurred = blur(image, (abs(amount) if amount < 0 else 0.5) / 32)
        if amount < 0:
            return blurred
        return cv2.addWeighted(image, 1 + 2 * amount, blurred, -2 * amount, 0)

    def center(self, image: np.ndarray) -> np.ndarray:
        """The centre [size, size, 3] of an image at least that large."""
        top, left = ((side - self.size) // 2 for side in image.shape[:2])
        return image[top : top + self.size, left : left + self.size]

    def normalize(self, images: np.ndarray) -> np.ndarray:
        """RGB uint8 [N, size, size, 3] -> float32 [N, 3, size, size], normalised by `mean` and `std`."""
        scale = 1.0 / (255.0 * np.asarray(self.std, np.float32))
        offset: np.ndarray = np.asarray(self.mean, np.float32) / np.asarray(self.std, np.float32)
        values = images.transpose(0, 3, 1, 2).astype(np.float32, order="C")
        values *= scale[:, None, None]  # in place: three to six times as fast as one expression
        values -= offset[:, None, None]
        return values

    def __call__(self, crops: Sequence[np.ndarray]) -> np.ndarray:
        """Crops of any sizes, RGB uint8 [H, W, 3] -> network input, float32 [N, 3, size, size]."""
        images = [self.center(self.fit(crop)) for crop in crops]
        return self.normalize(np.stack(images)) if images else np.empty((0, 3, self.size, self.size), np.float32)

    def to_input(self, points: np.ndarray) -> np.ndarray:
        """Points [..., 2] of a crop whose sides are 0..1 as points of the network's input, whose sides are 0..1."""
        return (points - 0.5) * ((self.resize or self.size) / self.size) + 0.5

    def average_views(
        self,
        network: Callable[[np.ndarray, Mapping[str, np.ndarray]], Sequence[np.ndarray]],
        images: np.ndarray,
        inputs: Mapping[str, np.ndarray] = MappingProxyType({}),
    ) -> list[np.ndarray]:
        """The network's outputs, averaged over the mirrored view as well if `mirror` says so.

        Args:
            network: float32 [N, 3, size, size] and further inputs by name -> its outputs, float32 [N, K] or maps
                [N, K, h, w].
            images: float32 [N, 3, size, size].
            inputs: further inputs: "landmarks" float32 [N, 5, 2].

        Returns:
            The same outputs. Maps of the mirrored view are mirrored back before they are averaged.
        """
        outputs = list(network(images, inputs))
        if self.mirror:
            mirrored = network(
                np.ascontiguousarray(images[..., ::-1]),
                {name: mirror_landmarks(value) for name, value in inputs.items()},
            )
            back = [output[..., ::-1] if output.ndim == 4 else output for output in mirrored]
            outputs = [(one + other) / 2 for one, other in zip(outputs, back, strict=True)]
        return outputs

    def to_dict(self) -> dict[str, Any]:
        """As plain lists, numbers and strings, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Preprocessing:
        """The inverse of `to_dict`, also after a way through JSON.

        Raises:
            InputError: an unknown name or a value out of its range.
        """
        values = named(values, cls, "preprocessing")
        framing = named(values.pop("framing", {}), Framing, "framing")
        if isinstance(framing.get("template"), (list, tuple)):
            framing["template"] = tuple(map(as_tuple, framing["template"]))
        values |= {name: as_tuple(values[name]) for name in ("mean", "std") if name in values}
        return cls(**values, framing=Framing(**framing))


def named(values: Any, model: type, words: str) -> dict[str, Any]:
    """A copy of values by name for the fields of a dataclass; `words` are what to call them in a message.

    Raises:
        InputError: they are no names with values, or a name is none of its fields.
    """
    if not isinstance(values, Mapping):
        raise InputError(f"{words} is {reprlib.repr(values)}: give names with values")
    unknown = set(values) - {item.name for item in fields(model)}
    if unknown:
        raise InputError(f"{words} has unknown fields, such as {reprlib.repr(min(map(str, unknown)))}: update msanet")
    return dict(values)


def as_tuple(value: Any) -> Any:
    """A list, which is what JSON makes of a tuple, as a tuple; anything else as it is, to be refused by its field."""
    return tuple(value) if isinstance(value, list) else value


def is_whole(value: Any, least: int, largest: int) -> bool:
    """Whether a value is a whole number in a range, both ends included; True and False are none."""
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= largest


def is_number(value: Any, least: float, largest: float) -> bool:
    """Whether a value is a number in a range, both ends included; NaN, True and False are none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and least <= value <= largest


def are_numbers(values: Any, count: int, least: float, largest: float) -> bool:
    """Whether values are a tuple of so many numbers in a range, both ends included."""
    return (
        isinstance(values, tuple) and len(values) == count and all(is_number(value, least, largest) for value in values)
    )


def check_switches(settings: Any, names: Sequence[str]) -> None:
    """Raise an InputError where one of these attributes is neither True nor False."""
    for name in names:
        if not isinstance(getattr(settings, name), bool):
            raise InputError(f"{name} is {reprlib.repr(getattr(settings, name))}: give true or false")


def mirror_landmarks(points: np.ndarray) -> np.ndarray:
    """Landmarks [..., 5, 2] of a picture whose sides are 0..1 as its mirror image has them, in `Face`'s order."""
    mirrored = np.stack([1 - points[..., 0], points[..., 1]], axis=-1)
    return mirrored[..., [1, 0, 2, 4, 3], :]


def blur(image: np.ndarray, part: float) -> np.ndarray:
    """An image uint8 [H, W, 3] through a Gaussian whose standard deviation is `part` of its height."""
    import cv2

    return cv2.GaussianBlur(image, (0, 0), max(part, 1e-5) * image.shape[0])


def compress(image: np.ndarray, quality: int) -> np.ndarray:
    """An image uint8 [H, W, 3] as it comes back from JPEG of a quality of 0..100."""
    import cv2

    # OpenCV's channels are BGR: JPEG keeps brightness better than colour, so that their order matters
    _, code = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = np.asarray(cv2.imdecode(code, cv2.IMREAD_COLOR))
    return np.ascontiguousarray(decoded[..., ::-1])


def softmax(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Logits [N, K] -> probabilities float32 [N, K], sharpened or softened by a calibration `temperature`."""
    scaled = logits.astype(np.float64) / temperature
    exponentials = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return (exponentials / exponentials.sum(axis=1, keepdims=True)).astype(np.float32)
