"""Computed descriptors: against scikit-image, and what each of them must not see."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.feature import hog, local_binary_pattern

from msanet.errors import InputError
from msanet.networks.fixed import GaborPairs, GradientHistogram, Gravity, LocalBinaryPattern, gray_of

pytestmark = pytest.mark.usefixtures("one_thread")


def pictures(number: int = 2, side: int = 32, seed: int = 0) -> np.ndarray:
    """Grey pictures with whole numbers of 0..255, float32 [number, side, side]."""
    return np.random.default_rng(seed).integers(0, 256, (number, side, side)).astype(np.float32)


def tensor(gray: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(gray)[:, None]


@given(st.sampled_from([(16, 4, 9, 2), (32, 8, 9, 2), (64, 8, 9, 2), (48, 8, 9, 3)]), st.integers(0, 99))
@settings(max_examples=12, deadline=None)
def test_hog_is_that_of_scikit_image(form, seed):
    side, cells, bins, block = form
    gray = pictures(2, side, seed)
    layer = GradientHistogram(cells, bins, block)
    expected = [
        hog(
            picture,
            orientations=bins,
            pixels_per_cell=(side // cells, side // cells),
            cells_per_block=(block, block),
            block_norm="L2-Hys",
        )
        for picture in gray
    ]
    actual = layer(tensor(gray)).numpy()
    assert actual.shape == (2, layer.size)
    np.testing.assert_allclose(actual, expected, atol=1e-5)


def test_hog_does_not_see_the_lights_strength_and_is_as_long_at_any_size():
    layer, gray = GradientHistogram(), tensor(pictures())
    torch.testing.assert_close(layer(3 * gray + 40), layer(gray), atol=1e-5, rtol=1e-4)
    assert layer(tensor(pictures(1, 45))).shape == layer(tensor(pictures(1, 16))).shape == (1, 1764)


@pytest.mark.parametrize("wanted", range(8))
def test_a_grating_lights_the_codes_of_its_own_filter(wanted):
    layer = GaborPairs(blocks=1)
    angle = wanted * math.pi / 8
    down, across = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    grating = torch.sin(2 * math.pi * (across * math.cos(angle) + down * math.sin(angle)) / 4)
    codes, counts = layer.codes(grating[None, None])
    inside = slice(12, 52)  # away from the edge, which repeats
    assert counts[0, inside, inside].all()
    assert (codes[0, inside, inside] // 7 == wanted).all()
    share = layer(grating[None, None])[0].square().reshape(8, 7).sum(dim=1)
    assert share.argmax() == wanted
    torch.testing.assert_close(share.sum(), torch.ones(()))


def test_a_flat_picture_has_no_code_and_brighter_light_changes_none():
    layer = GaborPairs(filters=16, scales=2, blocks=4)
    assert layer(torch.full((1, 1, 32, 32), 0.7)).abs().sum() == 0
    gray = tensor(pictures())
    assert layer(gray).shape == (2, 240 * 16)
    codes, counts = layer.codes(gray)
    brighter, _ = layer.codes(2 * gray)
    assert torch.equal(codes[counts], brighter[counts])


def test_lbp_sees_the_order_of_grey_alone_and_is_scikit_images():
    layer, gray = LocalBinaryPattern(), pictures(1) / 255
    codes = layer(tensor(gray))
    assert torch.equal(layer(tensor(gray**0.5)), codes)
    with np.errstate(all="ignore"):
        expected = local_binary_pattern(np.round(gray[0] * 255).astype(np.uint8), 8, 1.0)
    # Its circle interpolates the corners, and it begins on the right: the four direct neighbours are the same.
    ours = (codes[0, 0] * 255).round().int().numpy()[1:-1, 1:-1]
    theirs = expected.astype(int)[1:-1, 1:-1]
    for place, other in ((3, 0), (1, 2), (7, 4), (5, 6)):
        assert np.array_equal(ours >> place & 1, theirs >> other & 1)


def test_no_force_in_a_flat_face_and_none_from_brighter_light():
    layer = Gravity()
    assert layer(torch.full((1, 1, 9, 9), 0.5)).abs().max() < 1e-6
    mass = torch.rand(2, 1, 9, 9, generator=torch.Generator().manual_seed(0)) * 0.4 + 0.1
    torch.testing.assert_close(layer(2 * mass), layer(mass))
    other = Gravity(ratio=False)
    torch.testing.assert_close(other(2 * mass), 4 * other(mass))
    row = torch.tensor([0.1, 0.2, 0.3]).expand(1, 1, 3, 3)
    torch.testing.assert_close(other(row)[0, 0, 1, 1], torch.tensor(0.2 * 0.2 * (1 + 2 * 2**-1.5)))


def test_gravity_undoes_the_normalisation():
    picture = torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(0)) * 0.9 + 0.05
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
    normalized = (picture - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    torch.testing.assert_close(Gravity(mean=mean, std=std).masses(normalized), gray_of(picture))


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda: GradientHistogram(block=9), "block <= cells"),
        (lambda: GaborPairs(filters=7, scales=2), "a multiple of scales"),
        (lambda: GaborPairs(response="odd"), "choose one of magnitude, even"),
        (lambda: GaborPairs(wavelength=1), "2 to 64 pixels"),
    ],
)
def test_what_no_descriptor_can_be_made_of_is_refused(made, words):
    with pytest.raises(InputError, match=words):
        made()
