r"""Transforms of image batches (N,H,W,C), `t(batch, rng) -> batch`, with parameters of their own for each image.

Functions that say what to do come first (flip, shift, crop, affine and the three cases rotate, scale, warp); classes
that draw the numbers follow (RandomFlip, ...). A batch given is never written to, a batch returned is new and has the
dtype of the one given.

Coordinates are (row, column), pixel centres are whole numbers, the centre is \(c = ((H-1)/2, (W-1)/2)\).
An affine transform moves what is at p to

\[ q = c + t + M (p - c), \qquad M = s\,R(\theta)\,S(\phi), \qquad
   R = \begin{pmatrix} \cos\theta & -\sin\theta \\ \sin\theta & \cos\theta \end{pmatrix}, \quad
   S = \begin{pmatrix} 1 & 0 \\ \tan\phi & 1 \end{pmatrix} \]

so the new pixel q is read at \(p = c + M^{-1} (q - c - t)\), bilinearly between its four neighbours.
Positive angles turn counter-clockwise as the image is seen (as `np.rot90` does), s > 1 enlarges, positive t moves down
and to the right, positive φ pushes lower rows to the right. Whatever lies outside of the image has the value `fill`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from engine.errors import ArgumentError, DTypeError, ShapeError

Rng = np.random.Generator
Transform = Callable[[NDArray[Any], Rng], NDArray[Any]]

# --- what to do -------------------------------------------------------------------------------------------------------


def flip(batch: NDArray[Any], which: ArrayLike = True, axis: str = "horizontal") -> NDArray[Any]:
    """Mirror the images that `which` (N,) marks: "horizontal" swaps left and right, "vertical" top and bottom."""
    batch = _images("flip", batch)
    _axis("flip", axis)
    chosen = np.broadcast_to(np.asarray(which, bool), len(batch))
    mirrored = batch[chosen, :, ::-1] if axis == "horizontal" else batch[chosen, ::-1]
    out = batch.copy()
    out[chosen] = mirrored
    return out


def shift(batch: NDArray[Any], down: ArrayLike = 0, right: ArrayLike = 0, fill: float = 0.0) -> NDArray[Any]:
    """Move by whole pixels, y[i + down, j + right] = x[i, j]: np.roll, with `fill` where it would come round."""
    batch = _images("shift", batch)
    n, h, w, _ = batch.shape
    out = np.full_like(batch, fill)
    # a slice a row beats one gather of every pixel: whole rows are copied at once
    for image, new, d, r in zip(batch, out, _whole("down", down, n), _whole("right", right, n), strict=True):
        kept = image[max(-d, 0) : max(h - d, 0), max(-r, 0) : max(w - r, 0)]
        new[max(d, 0) : max(h + d, 0), max(r, 0) : max(w + r, 0)] = kept
    return out


def crop(batch: NDArray[Any], top: ArrayLike, left: ArrayLike, height: int, width: int) -> NDArray[Any]:
    """Cut a window of (height, width) out of each image: (N,H,W,C) -> (N,height,width,C)."""
    batch = _images("crop", batch)
    n, h, w, c = batch.shape
    tops, lefts = _whole("top", top, n), _whole("left", left, n)
    if height < 1 or width < 1 or (n and (min(*tops, *lefts) < 0 or max(tops) + height > h or max(lefts) + width > w)):
        raise ShapeError(
            f"crop: a window of ({height}, {width}) at top={top!r}, left={left!r} does not fit images of ({h}, {w}). "
            "Make the window smaller, or pad the images first."
        )
    out = np.empty((n, height, width, c), batch.dtype)
    for image, new, i, j in zip(batch, out, tops, lefts, strict=True):
        new[...] = image[i : i + height, j : j + width]
    return out


def pad(batch: NDArray[Any], pixels: int, fill: float = 0.0) -> NDArray[Any]:
    """Surround each image: (N,H,W,C) -> (N,H+2p,W+2p,C)."""
    batch = _images("pad", batch)
    p = int(pixels)
    if p < 0:
        raise ArgumentError(f"pad: pixels={pixels} cannot be negative. To make images smaller, crop them.")
    n, h, w, c = batch.shape
    out = np.full((n, h + 2 * p, w + 2 * p, c), fill, batch.dtype)
    out[:, p : p + h, p : p + w] = batch
    return out


def rotate(batch: NDArray[Any], degrees: ArrayLike, fill: float = 0.0) -> NDArray[Any]:
    """Turn each image counter-clockwise about its centre; the size stays, so corners may leave it."""
    return affine(batch, degrees=degrees, fill=fill)


def scale(batch: NDArray[Any], factor: ArrayLike, fill: float = 0.0) -> NDArray[Any]:
    """Enlarge (factor > 1) or shrink each image about its centre; the size of the array stays."""
    return affine(batch, factor=factor, fill=fill)


def affine(
    batch: NDArray[Any],
    degrees: ArrayLike = 0.0,
    factor: ArrayLike = 1.0,
    shear: ArrayLike = 0.0,
    down: ArrayLike = 0.0,
    right: ArrayLike = 0.0,
    fill: float = 0.0,
) -> NDArray[Any]:
    """Shear, rotate, scale and shift (equation above); angles in degrees, shifts in pixels, each a number or (N,)."""
    batch = _images("affine", batch)
    n, h, w, _ = batch.shape
    theta, s, phi = _numbers("degrees", degrees, n), _numbers("factor", factor, n), _numbers("shear", shear, n)
    shifts = np.stack([_numbers("down", down, n), _numbers("right", right, n)], axis=1)  # (N,2)
    if np.any(s == 0):
        raise ArgumentError("affine: factor=0 shrinks an image to a point. Use a factor above 0.")
    cos, sin = _cos_sin(theta)
    tan = np.tan(np.radians(phi))
    # M^-1 = S^-1 R^T / s
    inverse = np.moveaxis(np.array([[cos, sin], [-sin - tan * cos, cos - tan * sin]]) / s, -1, 0)  # (N,2,2)
    centre = np.array([(h - 1) / 2, (w - 1) / 2])
    return warp(batch, inverse, centre - np.einsum("nij,nj->ni", inverse, centre + shifts), fill)


def warp(batch: NDArray[Any], matrix: NDArray[Any], offset: NDArray[Any], fill: float = 0.0) -> NDArray[Any]:
    """Read the new pixel q of image n at p = matrix[n] q + offset[n], bilinearly; matrix (N,2,2), offset (N,2)."""
    batch = _images("warp", batch)
    dtype = batch.dtype
    if dtype not in (np.float32, np.float64):
        raise DTypeError(f"warp: pixels of dtype {dtype} cannot be blended. Put Normalize() before it.")
    n, h, w, c = batch.shape
    a = matrix.astype(dtype)[:, :, :, None, None]  # (N,2,2,1,1)
    b = offset.astype(dtype)[:, :, None, None]  # (N,2,1,1)
    i, j = np.arange(h, dtype=dtype)[:, None], np.arange(w, dtype=dtype)
    row = a[:, 0, 0] * i + (a[:, 0, 1] * j + b[:, 0])  # (N,H,1) + (N,1,W) -> (N,H,W)
    column = a[:, 1, 0] * i + (a[:, 1, 1] * j + b[:, 1])

    # a frame of `fill`, one pixel before and two behind, answers for all that lies outside: no test per pixel
    np.clip(row, -1, h, out=row)
    np.clip(column, -1, w, out=column)
    planes = np.full((c, n, h + 3, w + 3), fill, dtype)
    planes[:, :, 1 : h + 1, 1 : w + 1] = np.moveaxis(batch, 3, 0)

    whole_row, whole_column = np.floor(row), np.floor(column)
    row -= whole_row  # what is left is the weight of the lower and of the right neighbour
    column -= whole_column
    at = whole_row.astype(np.intp)  # place of the upper left neighbour in the flat plane
    at *= w + 3
    at += whole_column.astype(np.intp)
    at += ((h + 3) * (w + 3) * np.arange(n) + (w + 3) + 1)[:, None, None]
    out = np.empty_like(batch, order="C")
    for k, plane in enumerate(planes):
        flat = plane.reshape(-1)
        upper = _between(flat.take(at), flat[1:].take(at), column)
        lower = _between(flat[w + 3 :].take(at), flat[w + 4 :].take(at), column)
        out[..., k] = _between(upper, lower, row)
    return out


def _between(a: NDArray[Any], b: NDArray[Any], weight: NDArray[Any]) -> NDArray[Any]:
    """Return a + weight (b - a), in the memory of b; exactly a where the weight is 0."""
    b -= a
    b *= weight
    b += a
    return b


def _cos_sin(degrees: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return cosine and sine, exact at quarter turns: in floating point cos(pi/2) is not 0, and would blur."""
    quarters = np.rint(degrees / 90)
    rest = np.radians(degrees - 90 * quarters)
    cos, sin = np.cos(rest), np.sin(rest)
    turn = quarters.astype(np.int64) % 4
    return np.choose(turn, [cos, -sin, -cos, sin]), np.choose(turn, [sin, cos, -sin, -cos])


# --- what to draw -----------------------------------------------------------------------------------------------------


class Compose:
    """Apply transforms one after another, with one generator."""

    def __init__(self, *transforms: Transform) -> None:
        self.transforms = transforms

    def __call__(self, batch: NDArray[Any], rng: Rng) -> NDArray[Any]:
        for transform in self.transforms:
            batch = transform(batch, rng)
        return batch

    def __repr__(self) -> str:
        return f"Compose({', '.join(map(repr, self.transforms))})"


@dataclass(frozen=True)
class Normalize:
    r"""\(y = (x - \mathrm{mean}) / \mathrm{std}\), with numbers, or with one a channel (C,).

    Integers become float32, floats keep their dtype. `Normalize()` brings uint8 pixels to 0..1; `Normalize.to(x)`
    brings each channel of x to mean 0 and standard deviation 1.
    """

    mean: float | tuple[float, ...] = 0.0
    std: float | tuple[float, ...] = 255.0

    def __post_init__(self) -> None:
        if not np.all(np.asarray(self.std) > 0):
            raise ArgumentError(f"Normalize: std={self.std} must be above 0. A channel that never varies: drop it.")

    @classmethod
    def to(cls, x: NDArray[Any]) -> Normalize:
        """Return the transform that standardises each channel of x (...,C)."""
        rows = x.reshape(-1, x.shape[-1])  # (...,C) -> (M,C)
        mean = rows.mean(0, dtype=np.float64)
        blocks = range(0, len(rows), 1 << 16)  # a float64 copy of all of x would be eight times a set of uint8
        variance = sum(np.square(rows[b : b + (1 << 16)] - mean).sum(0) for b in blocks) / len(rows)
        return cls(tuple(mean.tolist()), tuple(np.sqrt(variance).tolist()))

    def __call__(self, batch: NDArray[Any], rng: Rng | None = None) -> NDArray[Any]:
        dtype = batch.dtype if batch.dtype.kind == "f" else np.dtype(np.float32)
        return (batch.astype(dtype) - np.asarray(self.mean, dtype)) / np.asarray(self.std, dtype)


@dataclass(frozen=True)
class RandomFlip:
    """Mirror each image with a probability."""

    axis: str = "horizontal"
    probability: float = 0.5

    def __post_init__(self) -> None:
        _axis("RandomFlip", self.axis)
        if not 0 <= self.probability <= 1:
            raise ArgumentError(f"RandomFlip: probability={self.probability} must lie in 0..1.")

    def __call__(self, batch: NDArray[Any], rng: Rng) -> NDArray[Any]:
        return flip(batch, rng.random(len(batch)) < self.probability, self.axis)


@dataclass(frozen=True)
class RandomShift:
    """Move each image by whole pixels, each direction uniform in -pixels..pixels: no blur."""

    pixels: int
    fill: float = 0.0

    def __post_init__(self) -> None:
        if not isinstance(self.pixels, (int, np.integer)) or self.pixels < 0:
            raise ArgumentError(
                f"RandomShift: pixels={self.pixels!r} must be a whole number of at least 0. For parts of a pixel use "
                "RandomAffine(shift=...)."
            )

    def __call__(self, batch: NDArray[Any], rng: Rng) -> NDArray[Any]:
        down, right = rng.integers(-self.pixels, self.pixels, (2, len(batch)), endpoint=True)
        return shift(batch, down, right, self.fill)


@dataclass(frozen=True)
class RandomRotation:
    """Turn each image by an angle uniform in ±degrees."""

    degrees: float
    fill: float = 0.0

    def __call__(self, batch: NDArray[Any], rng: Rng) -> NDArray[Any]:
        return rotate(batch, rng.uniform(-self.degrees, self.degrees, len(batch)), self.fill)


@dataclass(frozen=True)
class RandomScale:
    """Enlarge or shrink each image by a factor uniform in low..high."""

    low: float
    high: float
    fill: float = 0.0

    def __post_init__(self) -> None:
        _factors("RandomScale", self.low, self.high)

    def __call__(self, batch: NDArray[Any], rng: Rng) -> NDArray[Any]:
        return scale(batch, rng.uniform(self.low, self.high, len(batch)), self.fill)


@dataclass(frozen=True)
class CentreCrop:
    """Cut the window of (height, width) out of the middle; of an odd margin, the smaller half is above and left."""

    height: int
    width: int

    def __call__(self, batch: NDArray[Any], rng: Rng | None = None) -> NDArray[Any]:
        _, h, w, _ = _images("CentreCrop", batch).shape
        return crop(batch, (h - self.height) // 2, (w - self.width) // 2, self.height, self.width)


@dataclass(frozen=True)
class RandomCrop:
    """Cut a window of (height, width) out of each image, anywhere, after padding by `padding` pixels."""

    height: int
    width: int
    padding: int = 0
    fill: float = 0.0

    def __call__(self, batch: NDArray[Any], rng: Rng) -> NDArray[Any]:
        batch = pad(batch, self.padding, self.fill)
        n, h, w, _ = batch.shape
        if self.height > h or self.width > w:
            crop(batch, 0, 0, self.height, self.width)  # words the error
        top, left = rng.integers(0, [[h - self.height], [w - self.width]], (2, n), endpoint=True)
        return crop(batch, top, left, self.height, self.width)


@dataclass(frozen=True)
class RandomAffine:
    """Shear, rotate, scale and shift each image at once: one interpolation, so one blur.

    Uniform draws: angle in ±degrees, shear in ±shear (degrees), factor in scale = (low, high), shifts in ±shift
    (pixels).
    """

    degrees: float = 0.0
    shift: float = 0.0
    scale: tuple[float, float] = (1.0, 1.0)
    shear: float = 0.0
    fill: float = 0.0

    def __post_init__(self) -> None:
        _factors("RandomAffine", *self.scale)

    def __call__(self, batch: NDArray[Any], rng: Rng) -> NDArray[Any]:
        degrees, shear, down, right = rng.uniform(-1, 1, (4, len(batch)))
        return affine(
            batch,
            degrees=self.degrees * degrees,
            factor=rng.uniform(*self.scale, len(batch)),
            shear=self.shear * shear,
            down=self.shift * down,
            right=self.shift * right,
            fill=self.fill,
        )


# --- checks -----------------------------------------------------------------------------------------------------------


def _images(name: str, batch: NDArray[Any]) -> NDArray[Any]:
    if not isinstance(batch, np.ndarray):
        raise ShapeError(f"{name}: images come as an array (N,H,W,C), met a {type(batch).__name__}. Use np.stack.")
    if batch.ndim != 4:
        hint = " Add the channel axis: batch[..., None]." if batch.ndim == 3 else ""
        raise ShapeError(f"{name}: images come as (N,H,W,C), met shape {batch.shape}.{hint}")
    return batch


def _axis(name: str, axis: str) -> None:
    if axis not in ("horizontal", "vertical"):
        raise ArgumentError(f'{name}: axis={axis!r} must be "horizontal" or "vertical".')


def _factors(name: str, low: float, high: float) -> None:
    if not 0 < low <= high < np.inf:
        raise ArgumentError(f"{name}: factors run from low to high, 0 < low <= high, met {low} and {high}.")


def _numbers(name: str, value: ArrayLike, n: int) -> NDArray[np.float64]:
    numbers = np.asarray(value, np.float64)
    if numbers.shape not in ((), (n,)):
        raise ShapeError(f"{name} has shape {numbers.shape}; it takes one number, or one an image, shape ({n},).")
    if not np.isfinite(numbers).all():
        raise ArgumentError(f"{name} holds NaN or infinity. It takes finite numbers.")
    return np.broadcast_to(numbers, n)


def _whole(name: str, value: ArrayLike, n: int) -> Sequence[int]:
    numbers = _numbers(name, value, n)
    if np.any(numbers != np.rint(numbers)):
        raise ArgumentError(f"{name} takes whole pixels, met {value!r}. For parts of a pixel use affine().")
    return [int(number) for number in numbers]
