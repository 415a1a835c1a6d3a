"""Reading pictures from anywhere, refusing what is none, writing them whole or not at all."""

from __future__ import annotations

import os
import struct
import sys
import zlib
from contextlib import suppress
from importlib.machinery import ModuleSpec
from io import BytesIO
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps, features

from msanet.errors import InputError
from msanet.files import replacing
from msanet.images import picture_suffixes, read, write

# red, green above blue, white: every turn of it looks different
QUADRANTS = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [255, 255, 255]]], np.uint8)
PICTURE = QUADRANTS.repeat(16, axis=0).repeat(24, axis=1)


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png_header(width: int, height: int) -> bytes:
    """The start of a PNG that claims a size and has no pixels."""
    chunks = b"\x89PNG\r\n\x1a\n"
    for name, data in ((b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IDAT", b"\x00" * 8)):
        chunks += struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    return chunks


def test_path_bytes_pillow_and_array_give_the_same(tmp_path):
    path = tmp_path / "picture.png"
    data = encoded(Image.fromarray(PICTURE))
    path.write_bytes(data)
    for source in (path, str(path), data, Image.fromarray(PICTURE), PICTURE):
        assert np.array_equal(read(source), PICTURE)


def test_an_rgb_array_is_not_copied():
    assert read(PICTURE) is PICTURE
    assert read(PICTURE[:, ::-1]).flags.c_contiguous


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation):
    # what a camera stores so that this orientation shows PICTURE
    stored = {
        1: PICTURE,
        2: PICTURE[:, ::-1],
        3: PICTURE[::-1, ::-1],
        4: PICTURE[::-1],
        5: PICTURE.transpose(1, 0, 2),
        6: np.rot90(PICTURE, 1),
        7: PICTURE[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(PICTURE, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(Image.fromarray(np.ascontiguousarray(stored)), "PNG", exif=exif)
    assert np.array_equal(read(data), PICTURE)


def test_broken_exif_is_no_obstacle():
    assert read(encoded(Image.fromarray(PICTURE), "JPEG", exif=b"Exif\x00\x00nonsense")).shape == PICTURE.shape


def test_a_pillow_image_stays_as_it_was():
    image = Image.fromarray(PICTURE)
    image.getexif()[0x0112] = 6
    assert read(image).shape == (48, 32, 3)
    assert image.size == (48, 32)


GREY = np.arange(256, dtype=np.uint8).reshape(16, 16)


@pytest.mark.parametrize(
    "image",
    [
        Image.fromarray(GREY),
        Image.fromarray(GREY.astype(np.uint16) * 257),
        Image.fromarray(GREY.astype(np.int32) * 257),
        Image.fromarray(np.dstack([GREY, np.full_like(GREY, 255)])),
    ],
    ids=["8 bits", "16 bits", "16 bits in 32", "grey and alpha"],
)
@pytest.mark.parametrize("kind", ["PNG", "TIFF", None])
def test_grey_of_any_depth_becomes_the_same_rgb(image, kind):
    source = encoded(image, kind) if kind and (image.mode, kind) != ("I", "PNG") else image
    assert np.array_equal(read(source), np.dstack([GREY] * 3))


def test_cmyk_palette_and_one_bit():
    colours = Image.fromarray(PICTURE)
    assert np.abs(read(encoded(colours.convert("CMYK"), "JPEG", quality=98)).astype(int) - PICTURE).mean() < 12
    assert np.array_equal(read(encoded(colours.quantize(4))), PICTURE)
    one_bit = colours.convert("1")
    assert set(np.unique(read(encoded(one_bit)))) == {0, 255}


def test_what_is_transparent_lies_on_white():
    rgba = np.dstack([PICTURE, np.zeros(PICTURE.shape[:2], np.uint8)])
    rgba[:16, :24, 3] = 255
    for source in (rgba, Image.fromarray(rgba), encoded(Image.fromarray(rgba))):
        result = read(source)
        assert np.array_equal(result[:16, :24], PICTURE[:16, :24])
        assert (result[16:] == 255).all()
    palette = Image.fromarray(PICTURE).quantize(4)
    clear = palette.getpixel((0, 0))
    assert (read(encoded(palette, transparency=clear))[:16, :24] == 255).all()


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_every_bad_file_is_one_sentence_with_its_name(tmp_path):
    jpeg = encoded(Image.fromarray(PICTURE.repeat(8, axis=0)), "JPEG")
    bad = {
        "text.jpg": (b"I am no picture", "convert it"),
        "truncated.jpg": (jpeg[: len(jpeg) // 2], "incomplete"),
        "empty.png": (b"", "empty"),
        "huge.png": (png_header(60_000, 60_000), "pixels"),
        "large.png": (png_header(15_000, 14_000), "15000 x 14000 pixels"),
        "headless.png": (png_header(100, 100), "incomplete"),
        "floats.tif": (encoded(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF"), "floating point"),
    }
    for name, (data, words) in bad.items():
        path = tmp_path / name
        path.write_bytes(data)
        with pytest.raises(InputError, match=words) as caught:
            read(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
    for path, words in ((tmp_path / "missing.jpg", "does not exist"), (tmp_path, "is a folder")):
        with pytest.raises(InputError, match=words) as caught:
            read(path)
        assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    "source",
    [
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 4, 2), np.uint8),
        np.zeros((3, 4, 4, 3), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        42,
        None,
    ],
)
def test_other_arrays_and_types_are_refused(source):
    with pytest.raises(InputError, match="give"):
        read(source)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["JPEG", "PNG", "GIF", "TIFF", "WEBP", "BMP", "PPM"]), st.data())
def test_damage_ends_in_a_picture_or_in_one_sentence(kind, data):
    broken = bytearray(encoded(Image.fromarray(PICTURE), kind))
    for _ in range(data.draw(st.integers(1, 4))):
        broken[data.draw(st.integers(0, len(broken) - 1))] = data.draw(st.integers(0, 255))
    broken = broken[: data.draw(st.integers(0, len(broken)))]
    with suppress(InputError):
        assert read(bytes(broken)).dtype == np.uint8


def test_a_folder_s_pictures_are_known_by_what_is_installed(monkeypatch):
    assert {".jpg", ".jfif", ".png"} <= picture_suffixes()
    assert (".avif" in picture_suffixes()) == features.check("avif")
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    assert ".heic" not in picture_suffixes()
    module = ModuleType("pillow_heif")
    module.__spec__ = ModuleSpec("pillow_heif", None)
    monkeypatch.setitem(sys.modules, "pillow_heif", module)
    assert ".heic" in picture_suffixes()


def test_large_pictures_keep_every_pixel():
    picture = np.random.default_rng(0).integers(0, 256, (131, 7, 3), np.uint8)  # more than two strips
    assert np.array_equal(read(Image.fromarray(picture)), picture)
    assert np.array_equal(read(encoded(Image.fromarray(picture))), picture)
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        turned = encoded(Image.fromarray(picture), exif=exif)
        with Image.open(BytesIO(turned)) as image:
            assert np.array_equal(read(turned), np.asarray(ImageOps.exif_transpose(image)))


def test_write_keeps_pixels_and_permissions(tmp_path):
    path = tmp_path / "out.png"
    write(path, PICTURE)
    assert np.array_equal(read(path), PICTURE)
    (tmp_path / "plain").touch()
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode
    write(tmp_path / "out.jpg", PICTURE)
    assert read(tmp_path / "out.jpg").shape == PICTURE.shape


def test_write_refuses_what_it_cannot(tmp_path):
    with pytest.raises(InputError, match="ending"):
        write(tmp_path / "out.xyz", PICTURE)
    with pytest.raises(InputError, match="cannot be written"):
        write(tmp_path / "missing" / "out.png", PICTURE)
    assert os.listdir(tmp_path) == []


def test_an_error_leaves_the_old_file(tmp_path):
    path = tmp_path / "results.json"
    path.write_text("old")
    with suppress(RuntimeError), replacing(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["results.json"]
