"""What several test files need: tiny networks, and faces to look at."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings

from msanet.faces.detector import FaceDetector
from msanet.labels import EXPRESSIONS
from msanet.model import Metadata
from msanet.preprocessing import Framing, Preprocessing

# How long an example takes says more about the machine than about the code.
settings.register_profile("msanet", deadline=None)
settings.load_profile("msanet")

# A recipe that trains on a few pictures in seconds; tests say for how many epochs.
SMALL: dict[str, dict[str, Any]] = {
    "res2net": {"width": 4},
    "cbam_resnet18": {"stem_width": 16},
    "se_resnet18": {"stem_width": 16},
    "manet": {"stem_width": 16},
    "ran": {"stem_width": 16},
    "dlp_cnn": {"size": 32, "width": 8, "hidden": 32},
    "oadn": {"stem_width": 16, "hidden": 32},
    "pacnn": {"width": 4, "hidden": 32},
    "gacnn": {"size": 32, "width": 4, "hidden": 32},
    "psr": {"size": 64, "width": 4, "blocks": 1},
    "fmpn": {"width": 4, "stem_width": 16},
    "hog": {"fourier": 256},
    "histnet": {"stem_width": 16},
    "gravity": {"width": 8},
    "lbp_attention": {"mask_width": 8, "blocks": 1, "stem_width": 16},
    "rlps": {"cells": 4},
    "sift_words": {"words": 64},
}
"""Arguments with which a large network is a narrow one, for tests that every network goes through."""

TINY_RECIPE: dict[str, Any] = {
    "network": {"channels": [16, 32], "strides": [1, 2]},
    "preprocessing": {"size": 32, "gray": True},
    "batch_size": 8,
    "workers": 0,
}


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cache folder of the tests' own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


def build_model(
    path: Path,
    *,
    preprocessing: Preprocessing,
    metadata: dict[str, object] | None = None,
    outputs: tuple[str, ...] = ("logits", "embedding", "evidence", "attention"),
) -> Path:
    """Write a network that keeps the contract of `msanet export`: a convolution, pooling, a linear layer; seeded.

    Args:
        path: the ONNX file.
        preprocessing: what the metadata says.
        metadata: written instead of the usual; {} leaves it out.
        outputs: those that the network has.
    """
    onnx = pytest.importorskip("onnx")
    helper, numpy_helper = onnx.helper, onnx.numpy_helper
    random = np.random.default_rng(0)
    features, classes, size = 8, len(EXPRESSIONS), preprocessing.size
    constants = {
        "convolution": random.normal(0, 0.3, (features, 3, 4, 4)),
        "linear": random.normal(0, 2.0, (classes, features, 1, 1)),
        "bias": random.normal(0, 0.5, classes),
        "minus_one": np.array([0, -1], np.int64),
        "branches": random.normal(0, 1.0, (3, features, 1, 1)),
    }
    nodes = [
        helper.make_node("Conv", ["images", "convolution"], ["map"], strides=[4, 4]),
        helper.make_node("Relu", ["map"], ["relu"]),
        helper.make_node("Conv", ["relu", "linear", "bias"], ["evidence"]),
        helper.make_node("GlobalAveragePool", ["evidence"], ["pooled_evidence"]),
        helper.make_node("Reshape", ["pooled_evidence", "minus_one"], ["logits"]),
        helper.make_node("GlobalAveragePool", ["relu"], ["pooled"]),
        helper.make_node("Reshape", ["pooled", "minus_one"], ["embedding"]),
        helper.make_node("Conv", ["relu", "branches"], ["branch_maps"]),
        helper.make_node("Sigmoid", ["branch_maps"], ["attention"]),
    ]
    real = onnx.TensorProto.FLOAT
    maps = [size // 4, size // 4]
    shapes = {
        "logits": ["N", classes],
        "embedding": ["N", features],
        "evidence": ["N", classes, *maps],
        "attention": ["N", 3, *maps],
    }
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("images", real, ["N", 3, size, size])],
        [helper.make_tensor_value_info(name, real, shapes[name]) for name in outputs],
        [
            numpy_helper.from_array(value if value.dtype == np.int64 else value.astype(np.float32), name)
            for name, value in constants.items()
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    if metadata is None:
        metadata = {
            "name": "tiny",
            "network": "msanet",
            "arguments": {},
            "expressions": list(EXPRESSIONS),
            "preprocessing": preprocessing.to_dict(),
            "temperature": 1.5,
            "scores": {},
            "description": "random numbers",
        }
    if metadata:
        helper.set_model_props(model, {"msanet": json.dumps(metadata)})
    onnx.save(model, path)
    return path


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ONNX file of eight expressions, inputs 32 x 32, mirrored views averaged."""
    path = tmp_path_factory.mktemp("model") / "tiny.onnx"
    return build_model(path, preprocessing=Preprocessing(size=32, resize=36, mirror=True, framing=Framing(1.05)))


@pytest.fixture
def make_model(tmp_path: Path) -> Callable[..., Path]:
    """Writes further models; see `build_model`."""
    return lambda name="other.onnx", **arguments: build_model(tmp_path / name, **arguments)


def build_weights(path: Path, network: str = "msanet", expressions: tuple[str, ...] = EXPRESSIONS) -> Path:
    """Write the weights of an untrained network, seeded, for inputs of 32 x 32, mirrored views averaged."""
    torch = pytest.importorskip("torch")
    from msanet import weights
    from msanet.networks import create_network

    torch.manual_seed(0)
    arguments = {"channels": [16, 32]} if network != "resnet18" else {}
    state = create_network(network, len(expressions), **arguments).state_dict()
    preprocessing = Preprocessing(size=32, mirror=True)
    weights.save(path, state, Metadata("tiny", network, arguments, expressions, preprocessing))
    return path


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """See `build_weights`; the name is one that a page has to escape."""
    return build_weights(tmp_path_factory.mktemp("model") / "tiny <b>.safetensors")


@pytest.fixture(scope="session")
def portrait() -> np.ndarray:
    """A real photograph of one face, RGB uint8 [600, 512, 3]: Grace Hopper, out of matplotlib."""
    matplotlib = pytest.importorskip("matplotlib")
    from msanet.images import read

    return read(Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg")


@pytest.fixture(scope="session")
def detector() -> FaceDetector:
    return FaceDetector(threads=1)


# -- the lab: tiny data sets in the official layouts ------------------------------------------------------------------

FERPLUS_COLUMNS = (
    "neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt", "unknown", "NF",
)  # fmt: skip

# (usage, number in the file name or None, votes). The number counts the pictures, so it is not the row. Rows without a
# name are in the official file too, and so are these two names stand twice: the picture belongs to the last row.
FERPLUS_ROWS: tuple[tuple[str, int | None, dict[str, int]], ...] = (
    ("Training", None, {"NF": 10}),
    ("Training", 0, {"neutral": 10}),
    ("Training", 1, {"happiness": 9, "surprise": 1}),
    ("Training", None, {"NF": 10}),
    ("Training", 2, {"surprise": 7, "fear": 3}),
    ("Training", 3, {"sadness": 6, "neutral": 4}),
    ("Training", 4, {"anger": 8, "disgust": 2}),
    ("Training", 5, {"disgust": 6, "anger": 3, "contempt": 1}),
    ("Training", 6, {"fear": 6, "surprise": 4}),
    ("Training", 7, {"contempt": 7, "neutral": 3}),
    ("Training", 8, {"neutral": 4, "unknown": 6}),  # left out: the top is unknown
    ("Training", 9, {"happiness": 3, "NF": 7}),  # left out: the top is no face
    ("Training", 10, {"neutral": 5, "sadness": 5}),  # no majority
    ("Training", 11, {"sadness": 4, "neutral": 3, "anger": 3}),  # no majority
    ("Training", 12, {"anger": 5, "neutral": 1, "surprise": 1, "sadness": 1, "disgust": 1, "fear": 1}),  # 5 of 5
    ("Training", 13, {"happiness": 10}),  # its pixels are test picture 41's
    ("Training", 14, {"fear": 10}),  # its pixels are validation picture 30's
    ("Training", 6953, {"happiness": 10}),  # its last row says NF
    ("Training", 8403, {"sadness": 10}),  # its last row says anger
    ("Training", 17, dict.fromkeys(FERPLUS_COLUMNS, 1)),  # left out: nothing but single votes
    ("Training", 18, {"neutral": 6, "contempt": 2, "sadness": 2}),
    ("Training", 19, {"happiness": 6, "unknown": 4}),
    ("Training", 6953, {"NF": 10}),
    ("Training", 8403, {"anger": 10}),
    ("PublicTest", 30, {"neutral": 10}),
    ("PublicTest", 31, {"happiness": 10}),
    ("PublicTest", None, {"NF": 10}),
    ("PublicTest", 32, {"anger": 4, "disgust": 4, "fear": 2}),  # no majority
    ("PrivateTest", 40, {"neutral": 10}),
    ("PrivateTest", 41, {"happiness": 10}),
    ("PrivateTest", 42, {"surprise": 10}),
    ("PrivateTest", 43, {"sadness": 10}),
    ("PrivateTest", 44, {"anger": 10}),
    ("PrivateTest", 45, {"disgust": 10}),
    ("PrivateTest", 46, {"fear": 10}),
    ("PrivateTest", 47, {"contempt": 10}),
    ("PrivateTest", 48, {"fear": 4, "surprise": 3, "sadness": 3}),  # no majority
)
FERPLUS_DUPLICATES = {13: 41, 14: 30}
# As published, down to the line ends; the class codes are the csv's columns. 44's label in pose30 is not the votes'.
FERPLUS_LISTS = {
    "pose_30_ferplus_list.txt": "0/fer0000040.jpg\n3/fer0000043.jpg\n0/fer0000044.jpg\n2/fer0000048.jpg\n",
    "pose_45_ferplus_list.txt": "3/fer0000043.jpg\n",
    "occlusion_ferplus_list.txt": (
        "2_fer0000042.png 8 0\r\n4_fer0000044.png 8 2\r\n6_fer0000046.png 8 3\r\n7_fer0000047.png 8 1\r\n"
    ),
}


def ferplus_name(number: int) -> str:
    return f"fer{number:07}.png"


def build_ferplus(root: Path) -> Path:
    """FERPlus in the official layout with all of its traps, 48 x 48 grey pictures of noise."""
    from PIL import Image

    folders = {"Training": "FER2013Train", "PublicTest": "FER2013Valid", "PrivateTest": "FER2013Test"}
    lines = [",".join(("Usage", "Image name", *FERPLUS_COLUMNS))]
    for usage, number, votes in FERPLUS_ROWS:
        name = "" if number is None else ferplus_name(number)
        lines.append(",".join([usage, name, *(str(votes.get(column, 0)) for column in FERPLUS_COLUMNS)]))
        if number is not None:
            (root / folders[usage]).mkdir(parents=True, exist_ok=True)
            noise = np.random.default_rng(FERPLUS_DUPLICATES.get(number, number)).integers(
                256, size=(48, 48), dtype=np.uint8
            )
            Image.fromarray(noise).save(root / folders[usage] / name)
    (root / "fer2013new.csv").write_text("\n".join(lines) + "\n")
    (root / "subsets").mkdir()
    for name, text in FERPLUS_LISTS.items():
        (root / "subsets" / name).write_bytes(text.encode())
    return root


def build_faces(root: Path, pictures: dict[str, int], noise: float = 25) -> Path:
    """folder:DIR that can be learned: each expression is its own blocky pattern under noise, 48 x 48 grey.

    Args:
        root: the folder.
        pictures: split -> pictures of each expression; "" puts the expressions right below the folder.
        noise: standard deviation in grey levels.
    """
    from PIL import Image

    for split_number, (split, number) in enumerate(pictures.items()):
        for code, expression in enumerate(EXPRESSIONS):
            folder = root / split / expression
            folder.mkdir(parents=True)
            pattern = np.random.default_rng(code).uniform(60, 195, (3, 3)).repeat(16, axis=0).repeat(16, axis=1)
            rng = np.random.default_rng((code, split_number))
            for index in range(number):
                image = pattern + rng.normal(0, noise, pattern.shape)
                Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(folder / f"{index}.png")
    return root


@pytest.fixture(scope="session")
def ferplus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny FERPlus; read only."""
    return build_ferplus(tmp_path_factory.mktemp("ferplus"))


@pytest.fixture
def own_ferplus(tmp_path: Path) -> Path:
    """A tiny FERPlus to break."""
    return build_ferplus(tmp_path / "ferplus")


@pytest.fixture(scope="session")
def evaluation(tiny_weights: Path, ferplus: Path) -> Any:
    """What `tiny_weights` says of the test split of `ferplus`: an `Evaluation`."""
    from msanet.measure.evaluate import examine

    return examine(tiny_weights, f"ferplus:{ferplus}", workers=0)


@pytest.fixture(scope="session")
def faces_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """folder:DIR with 4 training, 2 validation and 2 test pictures of each expression; read only."""
    return build_faces(tmp_path_factory.mktemp("faces"), {"train": 4, "validation": 2, "test": 2})


@pytest.fixture
def make_faces(tmp_path: Path) -> Callable[..., Path]:
    """Writes further folders; see `build_faces`."""
    return lambda pictures, **arguments: build_faces(tmp_path / "faces", pictures, **arguments)


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Torch with one thread: tiny networks are fastest so, and results repeat bit for bit."""
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


# -- videos ------------------------------------------------------------------------------------------------------------

WIDTH, HEIGHT = 640, 360
"""Of the videos, pixels."""


def build_clip(
    path: Path,
    pictures: Iterable[np.ndarray],
    *,
    times: Sequence[int] | None = None,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    sound: str | None = None,
    options: dict[str, str] | None = None,
    aspect: Fraction | None = None,
) -> Path:
    """Write a video by PyAV.

    Args:
        path: its ending chooses the container.
        pictures: RGB uint8 [H, W, 3] of one size.
        times: of the pictures, milliseconds; None: 25 a second.
        codec, pixels: FFmpeg's names.
        sound: codec of a tone as long as the video, or a second where there is no picture; None: none.
        options: of the encoder.
        aspect: width of a pixel divided by its height.
    """
    av = pytest.importorskip("av")
    with av.open(str(path), "w") as container:
        video = container.add_stream(codec, rate=25, options=options or {})
        video.pix_fmt, video.width, video.height = pixels, 64, 64
        video.codec_context.time_base = Fraction(1, 1000)
        if aspect is not None:
            video.codec_context.sample_aspect_ratio = aspect
        tone = None if sound is None else container.add_stream(sound, rate=8000, layout="mono")
        index, end = -1, 1000
        for index, picture in enumerate(pictures):
            if not index:
                video.height, video.width = picture.shape[:2]
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            end = 40 * index if times is None else times[index]
            frame.pts, frame.time_base = end, Fraction(1, 1000)
            container.mux(video.encode(frame))
        if tone is not None:
            samples = (8000 * np.sin(np.arange(8 * (end + 40)) / 5)).astype(np.int16)
            for start in range(0, len(samples) - 1023, 1024):
                frame = av.AudioFrame.from_ndarray(samples[None, start : start + 1024], format="s16", layout="mono")
                frame.sample_rate, frame.pts, frame.time_base = 8000, start, Fraction(1, 8000)
                container.mux(tone.encode(frame))
            container.mux(tone.encode())
        if index >= 0:
            container.mux(video.encode())
    return path


def walking(portrait: np.ndarray, frames: int, size: tuple[int, int] = (WIDTH, HEIGHT)) -> list[np.ndarray]:
    """Three people, all of them Grace Hopper, who walk to and fro before a grey wall; RGB uint8 [H, W, 3] each."""
    import cv2

    head = portrait[20:400, 60:440]
    heads = [cv2.resize(head, (150, 150)), cv2.resize(head[:, ::-1], (170, 170)), cv2.resize(head, (140, 140))]
    pictures = []
    for index in range(frames):
        picture = np.full((size[1], size[0], 3), 120, np.uint8)
        for number, one in enumerate(heads):
            left = round(25 + 210 * number + 20 * np.sin(index / 12 + number))
            top = round(90 + 50 * np.cos(index / 15 + 2 * number))
            picture[top : top + len(one), left : left + len(one)] = one
        pictures.append(picture)
    return pictures


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory, portrait: np.ndarray) -> Path:
    """A video of 30 frames with three people and a tone, H.264 and AAC in MP4; read only."""
    return build_clip(tmp_path_factory.mktemp("video") / "clip.mp4", walking(portrait, 30), sound="aac")


@pytest.fixture
def make_clip(tmp_path: Path) -> Callable[..., Path]:
    """Writes further videos; see `build_clip`."""
    return lambda name, pictures, **arguments: build_clip(tmp_path / name, pictures, **arguments)
