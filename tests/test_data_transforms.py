"""Laws of the image transforms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from data import transforms as T
from engine.errors import ArgumentError, DTypeError, ShapeError

RANDOM = [
    T.RandomFlip(),
    T.RandomFlip("vertical", 0.3),
    T.RandomShift(2, fill=0.5),
    T.RandomRotation(30),
    T.RandomScale(0.7, 1.4),
    T.RandomCrop(5, 6, padding=2),
    T.RandomAffine(15, 2.0, (0.8, 1.2), 10, fill=-1.0),
    T.Compose(T.RandomFlip(), T.RandomAffine(10), T.CentreCrop(5, 5)),
]
GEOMETRY = ["flip", "shift", "crop", "pad"]


def images(rng, n=5, h=9, w=8, c=2, dtype=np.float32):
    batch = rng.standard_normal((n, h, w, c)).astype(dtype)
    batch.flags.writeable = False
    return batch


def generator(seed=0):
    return np.random.Generator(np.random.Philox(seed))


def bilinear(image, row, column, fill):
    """The definition, one pixel at a time: the sum over the four neighbours, each with the product of its distances."""
    h, w, _ = image.shape
    total = np.zeros(image.shape[-1])
    for i in (int(np.floor(row)), int(np.floor(row)) + 1):
        for j in (int(np.floor(column)), int(np.floor(column)) + 1):
            inside = 0 <= i < h and 0 <= j < w
            total += (1 - abs(row - i)) * (1 - abs(column - j)) * (image[i, j] if inside else fill)
    return total


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    size=st.tuples(st.integers(1, 3), st.integers(1, 6), st.integers(1, 6), st.integers(1, 3)),
    fill=st.sampled_from([0.0, -0.7]),
)
def test_affine_is_its_equation(seed, size, fill):
    rng = generator(seed)
    batch = images(rng, *size, dtype=np.float64)
    n, h, w, c = size
    degrees, shear, down, right = rng.uniform(-60, 60, n), rng.uniform(-40, 40, n), *rng.uniform(-3, 3, (2, n))
    factor = rng.uniform(0.4, 2, n)
    met = T.affine(batch, degrees, factor, shear, down, right, fill)
    expected = np.empty_like(batch)
    centre = np.array([(h - 1) / 2, (w - 1) / 2])
    for k in range(n):
        t, p = np.radians([degrees[k], shear[k]])
        rotation = np.array([[np.cos(t), -np.sin(t)], [np.sin(t), np.cos(t)]])
        m = factor[k] * rotation @ np.array([[1, 0], [np.tan(p), 1]])
        for q in np.ndindex(h, w):
            source = centre + np.linalg.solve(m, np.array(q) - centre - [down[k], right[k]])
            expected[k][q] = bilinear(batch[k], *source, fill)
    np.testing.assert_allclose(met, expected, atol=1e-9)


@pytest.mark.parametrize("size", [(9, 8), (28, 28), (1, 1), (1, 7)])
def test_identity_parameters_are_the_identity(size):
    batch = images(generator(), 4, *size)
    identities = [
        T.flip(batch, False),
        T.flip(T.flip(batch)),
        T.flip(T.flip(batch, axis="vertical"), axis="vertical"),
        T.shift(batch),
        T.pad(batch, 0),
        T.crop(batch, 0, 0, *size),
        T.crop(T.pad(batch, 3, 9.0), 3, 3, *size),
        T.rotate(batch, 0),
        T.rotate(batch, 360),
        T.scale(batch, 1),
        T.affine(batch),
        T.warp(batch, np.tile(np.eye(2), (4, 1, 1)), np.zeros((4, 2))),
        T.Normalize(0, 1)(batch),
        T.RandomFlip(probability=0)(batch, generator()),
        T.RandomShift(0)(batch, generator()),
        T.RandomRotation(0)(batch, generator()),
        T.RandomScale(1, 1)(batch, generator()),
        T.RandomCrop(*size)(batch, generator()),
        T.RandomAffine()(batch, generator()),
        T.CentreCrop(*size)(batch),
        T.Compose()(batch, generator()),
    ]
    for k, same in enumerate(identities):
        np.testing.assert_array_equal(same, batch, err_msg=f"case {k}")


@settings(max_examples=50, deadline=None)
@given(down=st.integers(-12, 12), right=st.integers(-12, 12), fill=st.sampled_from([0.0, 0.25]))
def test_shift_is_roll_with_fill(down, right, fill):
    batch = images(generator(3), 3, 7, 6, 2)
    expected = np.roll(batch, (down, right), (1, 2)).copy()
    rows, columns = np.indices((7, 6))
    come_round = ~((rows - down >= 0) & (rows - down < 7) & (columns - right >= 0) & (columns - right < 6))
    expected[:, come_round] = fill
    np.testing.assert_array_equal(T.shift(batch, down, right, fill), expected)
    np.testing.assert_array_equal(T.affine(batch, down=down, right=right, fill=fill), expected)


def test_each_image_has_its_own_shift():
    batch = images(generator(), 3)
    met = T.shift(batch, [0, 1, -2], [1, 0, 3])
    for k, (down, right) in enumerate([(0, 1), (1, 0), (-2, 3)]):
        np.testing.assert_array_equal(met[k], T.shift(batch[k : k + 1], down, right)[0])


@pytest.mark.parametrize("size", [7, 28])
@pytest.mark.parametrize("quarters", [-3, -2, -1, 0, 1, 2, 3, 4, 5])
def test_quarter_turns_are_rot90(quarters, size):
    batch = images(generator(), 3, size, size)
    np.testing.assert_array_equal(T.rotate(batch, 90 * quarters), np.rot90(batch, quarters, (1, 2)))


def test_flips_are_reversals_of_the_marked_images():
    batch = images(generator(), 3)
    met = T.flip(batch, [True, False, True])
    np.testing.assert_array_equal(met[::2], batch[::2, :, ::-1])
    np.testing.assert_array_equal(met[1], batch[1])
    np.testing.assert_array_equal(T.flip(batch, axis="vertical"), batch[:, ::-1])


def test_scale_by_two_reads_every_second_place():
    batch = images(generator(), 2, 9, 9)
    np.testing.assert_allclose(T.scale(batch, 2)[:, ::2, ::2], batch[:, 2:7, 2:7], atol=1e-6)
    np.testing.assert_allclose(T.scale(batch, 0.5)[:, 2:7, 2:7], batch[:, ::2, ::2], atol=1e-6)
    assert np.all(T.scale(batch, 0.1, fill=7)[:, 0] == 7)  # outside of a shrunken image there is nothing but fill


def test_rotation_there_and_back_blurs_but_does_not_move():
    i, j = np.indices((31, 31))
    blob = np.exp(-((i - 12.0) ** 2 + (j - 19.0) ** 2) / 18)[None, ..., None]
    blur = 4 / 72  # a curvature of 1/9, by 1/8, on two axes, twice
    np.testing.assert_allclose(T.rotate(T.rotate(blob, 33), -33), blob, atol=blur)
    turned = T.rotate(blob, 33)[0, ..., 0]
    angle = np.radians(33)
    row = 15 + np.cos(angle) * (12 - 15) - np.sin(angle) * (19 - 15)
    column = 15 + np.sin(angle) * (12 - 15) + np.cos(angle) * (19 - 15)
    assert (turned * i).sum() / turned.sum() == pytest.approx(row, abs=0.02)
    assert (turned * j).sum() / turned.sum() == pytest.approx(column, abs=0.02)


@pytest.mark.parametrize("transform", RANDOM, ids=repr)
def test_the_same_generator_gives_the_same_bits(transform):
    batch = images(generator(1), 40)
    first, again, other = (transform(batch, generator(seed)) for seed in (5, 5, 6))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert not np.array_equal(T.crop(batch, 0, 0, *first.shape[1:3]), first), "nothing was transformed"


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("transform", RANDOM, ids=repr)
def test_dtype_shape_and_memory(transform, dtype):
    batch = images(generator(1), dtype=dtype)  # read-only: a write raises
    out = transform(batch, generator(2))
    assert out.dtype == dtype and out.shape[::3] == batch.shape[::3]
    assert out.flags.c_contiguous and out.flags.writeable and not np.shares_memory(out, batch)
    strided = np.asfortranarray(batch)[:, ::-1][:, ::-1]
    np.testing.assert_array_equal(transform(strided, generator(2)), out)
    assert transform(batch[:0], generator(2)).shape == (0, *out.shape[1:])


@pytest.mark.parametrize("c", [1, 3])
def test_channels_and_images_do_not_mix(c):
    batch = images(generator(), 4, c=c)
    whole = T.affine(batch, [5, -10, 20, 0], [1, 0.8, 1.1, 1.2], 3, [1.5, 0, 0, 2], 0.5)
    one = T.affine(batch[1:2, ..., c - 1 :], -10, 0.8, 3, 0, 0.5)
    np.testing.assert_array_equal(whole[1:2, ..., c - 1 :], one)


def test_draws_fill_their_range():
    batch = np.zeros((4000, 5, 5, 1), np.float32)
    batch[:, 2, 2] = 1
    moved = np.argwhere(T.RandomShift(2)(batch, generator())[..., 0])
    counts = np.zeros((5, 5), int)
    np.add.at(counts, tuple(moved[:, 1:].T), 1)
    assert counts.sum() == 4000 and counts.min() > 110 and counts.max() < 210  # 160 each, four standard deviations
    batch = np.broadcast_to(np.arange(5, dtype=np.float32)[:, None, None], (4000, 5, 5, 1))
    tops = T.RandomCrop(3, 5)(batch, generator())[:, 0, 0, 0]
    assert set(tops) == {0, 1, 2} and 1200 < np.sum(tops == 1) < 1470
    flipped = T.RandomFlip("vertical", 0.25)(batch, generator())[:, 0, 0, 0] == 4
    assert 0.22 < flipped.mean() < 0.28


def test_random_crop_is_a_window_of_the_padded_image():
    batch = images(generator(), 20, 6, 6, 1)
    padded = T.pad(batch, 2, fill=0.5)
    assert padded.shape == (20, 10, 10, 1) and np.all(padded[:, :2] == 0.5)
    for image, window in zip(padded, T.RandomCrop(6, 5, 2, 0.5)(batch, generator(7)), strict=True):
        windows = np.lib.stride_tricks.sliding_window_view(image[..., 0], (6, 5))
        assert np.any(np.all(windows == window[..., 0], axis=(2, 3)))


def test_centre_crop_keeps_the_middle():
    batch = images(generator(), 1, 9, 8)
    np.testing.assert_array_equal(T.CentreCrop(5, 4)(batch), batch[:, 2:7, 2:6])
    np.testing.assert_array_equal(T.CentreCrop(4, 3)(batch), batch[:, 2:6, 2:5])


def test_normalize():
    pixels = generator().integers(0, 256, (50, 7, 6, 3), np.uint8)
    unit = T.Normalize()(pixels)
    assert unit.dtype == np.float32
    np.testing.assert_array_equal(unit, pixels.astype(np.float32) / np.float32(255))
    standard = T.Normalize.to(pixels)(pixels).astype(np.float64)
    np.testing.assert_allclose(standard.mean((0, 1, 2)), 0, atol=1e-6)
    np.testing.assert_allclose(standard.std((0, 1, 2)), 1, atol=1e-6)
    assert T.Normalize()(pixels.astype(np.float64)).dtype == np.float64


@pytest.mark.parametrize(
    "call, error, text",
    [
        (
            lambda b: T.flip(b[0]),
            ShapeError,
            "flip: images come as (N,H,W,C), met shape (9, 8, 2). Add the",
        ),
        (lambda b: T.flip(b, axis="up"), ArgumentError, 'flip: axis=\'up\' must be "horizontal" or "vertical"'),
        (
            lambda b: T.shift(b, 0.5),
            ArgumentError,
            "down takes whole pixels, met 0.5. For parts of a pixel use affine",
        ),
        (
            lambda b: T.shift(b, [1, 2]),
            ShapeError,
            "down has shape (2,); it takes one number, or one an image, shape",
        ),
        (lambda b: T.rotate(b, np.nan), ArgumentError, "degrees holds NaN or infinity"),
        (lambda b: T.scale(b, 0), ArgumentError, "factor=0 shrinks an image to a point"),
        (
            lambda b: T.crop(b, 5, 0, 6, 4),
            ShapeError,
            "window of (6, 4) at top=5, left=0 does not fit images of (9, 8)",
        ),
        (lambda b: T.RandomCrop(12, 3)(b, generator()), ShapeError, "does not fit images of (9, 8)"),
        (lambda b: T.CentreCrop(3, 9)(b), ShapeError, "does not fit images of (9, 8)"),
        (lambda b: T.pad(b, -1), ArgumentError, "pad: pixels=-1 cannot be negative"),
        (
            lambda b: T.rotate(b.astype(np.uint8), 5),
            DTypeError,
            "pixels of dtype uint8 cannot be blended. Put Norm",
        ),
        (lambda b: T.flip(b.tolist()), ShapeError, "flip: images come as an array (N,H,W,C), met a list. Use np.stack"),
        (lambda b: T.RandomFlip("up"), ArgumentError, "RandomFlip: axis='up' must be"),
        (lambda b: T.RandomFlip(probability=3), ArgumentError, "RandomFlip: probability=3 must lie in 0..1"),
        (lambda b: T.RandomShift(-1), ArgumentError, "RandomShift: pixels=-1 must be a whole number of at least 0"),
        (lambda b: T.RandomScale(2, 1), ArgumentError, "RandomScale: factors run from low to high, 0 < low <= high"),
        (lambda b: T.RandomAffine(scale=(0, 1)), ArgumentError, "RandomAffine: factors run from low to high"),
        (lambda b: T.Normalize(0, 0), ArgumentError, "Normalize: std=0 must be above 0"),
    ],
)
def test_errors(call, error, text):
    with pytest.raises(error) as caught:
        call(np.zeros((5, 9, 8, 2), np.float32))
    assert text in str(caught.value)


@pytest.mark.parametrize("name", GEOMETRY)
def test_what_does_not_blend_takes_any_dtype(name):
    pixels = generator().integers(0, 256, (3, 6, 6, 1), np.uint8)
    arguments = {"flip": (), "shift": (1, -2), "crop": (1, 1, 3, 3), "pad": (2,)}[name]
    out = getattr(T, name)(pixels, *arguments)
    assert out.dtype == np.uint8
    np.testing.assert_array_equal(out, getattr(T, name)(pixels.astype(np.float64), *arguments))
