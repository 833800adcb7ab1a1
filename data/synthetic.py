"""Small sets of points in the plane that need no download: points (N,2) float32 and labels (N,) int64.

Class k of K owns the points k, k+K, k+2K, ...: the classes are as equal as N allows, and a slice is a fair sample.
`noise` is the standard deviation of the normal noise added to each coordinate.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import ArgumentError

Points = tuple[NDArray[np.float32], NDArray[np.int64]]


def blobs(n: int = 300, classes: int = 3, noise: float = 0.5, seed: int = 0) -> Points:
    r"""Clouds around the corners of a polygon: \(x = 2 (\cos 2\pi k/K, \sin 2\pi k/K) + \sigma \varepsilon\)."""
    y, _ = _labels_and_place(n, classes)
    return _plane(2.0, 2 * np.pi * y / classes, noise, seed), y


def moons(n: int = 200, noise: float = 0.1, seed: int = 0) -> Points:
    r"""Two half circles, each reaching into the other, \(t\) from 0 to 1:

    \[ (\cos \pi t, \sin \pi t) \quad\text{and}\quad (1 - \cos \pi t, \tfrac12 - \sin \pi t). \]
    """
    y, t = _labels_and_place(n, 2)
    x = _plane(1.0, np.pi * t, 0.0, seed)
    x[y == 1] = [1.0, 0.5] - x[y == 1]
    return x + _noise(n, noise, seed), y


def spirals(n: int = 300, classes: int = 3, turns: float = 0.75, noise: float = 0.02, seed: int = 0) -> Points:
    r"""K arms around each other: radius \(t\), angle \(2\pi (k/K + \mathrm{turns} \cdot t)\), \(t\) from 0 to 1."""
    y, t = _labels_and_place(n, classes)
    return _plane(t, 2 * np.pi * (y / classes + turns * t), noise, seed), y


def _labels_and_place(n: int, classes: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the label of each point, and its place in its class from 0 to 1."""
    if classes < 1 or n < classes:
        raise ArgumentError(f"n={n} points cannot show classes={classes}: both count from 1, and n is the larger.")
    y, rank = np.arange(n) % classes, np.arange(n) // classes
    return y, rank / max(int(rank.max()), 1)


def _plane(radius: float | NDArray[Any], angle: NDArray[Any], noise: float, seed: int) -> NDArray[np.float32]:
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)  # (N,2)
    curve: NDArray[np.float32] = (np.reshape(radius, (-1, 1)) * circle).astype(np.float32)
    return curve + _noise(len(angle), noise, seed)


def _noise(n: int, noise: float, seed: int) -> NDArray[np.float32]:
    if noise < 0:
        raise ArgumentError(f"noise={noise} is a standard deviation: it cannot be negative.")
    drawn: NDArray[np.float32] = np.float32(noise) * np.random.Generator(np.random.Philox(seed)).standard_normal(
        (n, 2), np.float32
    )
    return drawn
