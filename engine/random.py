r"""Random numbers that are a function: value = f(seed, stream, element index), and of nothing else.

Philox-4x32-10 [Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011, section 3.3]
is a keyed bijection of 128-bit counters. The seed is its key; the counter holds the block number (low half) and the
stream (high half); each block gives four 32-bit words. So word i can be computed by any thread of any device, in any
order, and a dropout mask need not be kept: its (seed, stream) is enough.

    Generator(7).normal((3, 4))                  # draws in sequence, each continues where the last one ended
    Generator(7).at("0.kernel").normal((3, 4))   # a stream of its own: the same values whatever was drawn before

Bits, uniforms, integers, permutations and masks are exactly equal on every device and thread count; normals, which
need a logarithm and a cosine, agree within 4 units in the last place.
"""

from __future__ import annotations

import hashlib
import math
import operator
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from . import replay
from .backends import get_backend
from .dtypes import canonical, default_dtype, float32, float64
from .errors import ArgumentError, DTypeError, ShapeError
from .forks import lock

__all__ = ["Generator", "bernoulli", "default_generator", "manual_seed", "normal", "philox", "uniform"]

Array = Any
Shape = int | Sequence[int]

# --- the bijection, as the paper writes it -------------------------------------------------------------------------

MULTIPLIERS = 0xD2511F53, 0xCD9E8D57
WEYL = 0x9E3779B9, 0xBB67AE85  # the golden ratio and sqrt(3) - 1: each round's key is the last one's plus these
ROUNDS = 10


def philox(counter: Array, key: Array) -> Array:
    """Philox-4x32-10: counters (..., 4) under keys (..., 2) give words (..., 4), uint32. Kernels are held to this."""
    low, high = np.uint64(0xFFFFFFFF), np.uint64(32)
    c0, c1, c2, c3 = np.moveaxis(np.asarray(counter, np.uint64), -1, 0)
    k0, k1 = np.moveaxis(np.asarray(key, np.uint64), -1, 0)
    for _ in range(ROUNDS):
        p0, p1 = np.uint64(MULTIPLIERS[0]) * c0, np.uint64(MULTIPLIERS[1]) * c2  # 32 x 32 -> 64 bits: never overflows
        c0, c1, c2, c3 = (p1 >> high) ^ c1 ^ k0, p1 & low, (p0 >> high) ^ c3 ^ k1, p0 & low
        k0, k1 = (k0 + np.uint64(WEYL[0])) & low, (k1 + np.uint64(WEYL[1])) & low
    return np.stack(np.broadcast_arrays(c0, c1, c2, c3), axis=-1).astype(np.uint32)


# --- from words to numbers: any device's words in, that device's numbers out -----------------------------------------


def uniform(words: Array, dtype: Any = float32) -> Array:
    """Numbers in [0, 1), exact: float32 takes the top 24 bits of a word, float64 the top 53 of two words."""
    if dtype == float32:
        return (words >> np.uint32(8)).astype(float32) * np.float32(2**-24)  # (n,) -> (n,)
    return (_pairs(words) >> np.uint64(11)).astype(float64) * 2.0**-53  # (2n,) -> (n,)


def bernoulli(words: Array, p: float) -> Array:
    """True with probability p (to 32 bits): word / 2**32 < p."""
    threshold = round(p * 2**32)
    if threshold == 0:
        return words != words
    return words <= np.uint32(threshold - 1)  # "< threshold", but p = 1 fits 32 bits too


def normal(words: Array, dtype: Any = float32) -> Array:
    r"""Standard normal numbers, two from four words [Box and Muller 1958], computed in float64 and rounded once.

    .. math:: z_0 = \sqrt{-2 \ln u_1} \cos 2\pi u_2, \quad z_1 = \sqrt{-2 \ln u_1} \sin 2\pi u_2, \quad u_1 \in (0, 1]
    """
    u = uniform(words, float64).reshape(-1, 2)  # (4m,) -> (m,2)
    radius = np.sqrt(-2.0 * np.log(1.0 - u[:, 0]))  # 1 - u is exact, and never 0: no log(0)
    angle = (2.0 * np.pi) * u[:, 1]
    z = np.empty_like(u)
    z[:, 0], z[:, 1] = radius * np.cos(angle), radius * np.sin(angle)
    return z.reshape(-1).astype(dtype, copy=False)  # (m,2) -> (2m,)


def _pairs(words: Array) -> Array:
    """(2n,) uint32 -> (n,) uint64, the first word in the low half."""
    return words[0::2] | (words[1::2].astype(np.uint64) << np.uint64(32))


# --- the generator -------------------------------------------------------------------------------------------------

ALGORITHM = "philox4x32-10"
CHUNK = 1 << 16  # words made and turned into numbers at a time: they stay in the core's own cache
_reserving = lock()


class Generator:
    """A place (seed, stream, position) in the sequence; draws are NumPy arrays on the host.

    Args:
        seed: 0 <= seed < 2**64. None takes one from the operating system; `key` tells which.
        stream: the stream's number, 0 <= stream < 2**64. `at` and `split` make them; 0 is the seed's own.

    Raises:
        ArgumentError: a seed, stream, probability or range outside of what it can be.
    """

    __slots__ = ("_position", "_seed", "_stream")

    def __init__(self, seed: int | None = None, stream: int = 0) -> None:
        self._seed = int.from_bytes(os.urandom(8)) if seed is None else _word64("seed", seed)
        self._stream = _word64("stream", stream)
        self._position = 0

    def __repr__(self) -> str:
        return f"Generator(seed={self._seed}, stream={self._stream:#x}, position={self._position})"

    # streams

    @property
    def key(self) -> tuple[int, int]:
        """(seed, stream): with an element index, all that a value depends on."""
        return self._seed, self._stream

    def stream(self, name: str | int) -> Generator:
        """The beginning of a named stream below this one: same name, same values, whatever was drawn before."""
        tag = b"s" + name.encode() if isinstance(name, str) else b"i" + _word64("stream", name).to_bytes(8, "little")
        parent = self._stream.to_bytes(8, "little")
        digest = hashlib.blake2b(parent + tag, digest_size=8).digest()  # hash() would change from run to run
        return Generator(self._seed, int.from_bytes(digest, "little"))

    at = stream  # reads better with a parameter's path: Generator(seed).at("0.kernel")

    def split(self) -> Generator:
        """A generator independent of this one; each call gives another."""
        child = Generator(self._seed)
        child._stream = replay.word(lambda: self.stream(f"split {self._reserve(1)}")._stream)
        return child

    # draws, from easy to hard

    def bits(self, n: int) -> Array:
        """The next n words, uint32, uniform over 0 .. 2**32 - 1."""
        return self._words(self._reserve(n), n)

    def uniform(self, shape: Shape = (), dtype: Any = None) -> Array:
        """Uniform in [0, 1), float32 (default) or float64."""
        shape, dtype = _shape("uniform", shape), _dtype("uniform", dtype)
        return self._fill(np.empty(shape, dtype), 1 if dtype == float32 else 2, uniform)

    def bernoulli(self, p: float, shape: Shape = ()) -> Array:
        """True with probability p, else False. A dropout mask keeps with p = 1 - rate."""
        if not 0 <= p <= 1:
            raise ArgumentError(f"bernoulli: p is a probability, 0 <= p <= 1, got {p}")
        return self._fill(np.empty(_shape("bernoulli", shape), np.bool_), 1, lambda words, _: bernoulli(words, p))

    def integers(self, low: int, high: int, shape: Shape = ()) -> Array:
        """Integers low <= k < high, int64, each equally likely to one part in 2**32."""
        low, high = operator.index(low), operator.index(high)
        count = high - low
        if not 0 < count <= 2**32 or low < -(2**63) or high > 2**63:
            raise ArgumentError(f"integers: low < high <= low + 2**32 within int64, got low={low}, high={high}")

        def scale(words: Array, _: Any) -> Array:  # floor(count * v / 2**64), v = high word, low word
            lows, highs = words[0::2].astype(np.uint64), words[1::2].astype(np.uint64)
            scaled = (highs * np.uint64(count) + ((lows * np.uint64(count)) >> np.uint64(32))) >> np.uint64(32)
            return scaled.astype(np.int64) + np.int64(low)

        return self._fill(np.empty(_shape("integers", shape), np.int64), 2, scale)

    def permutation(self, n: int) -> Array:
        """0 .. n-1 in random order, (n,) int64: the order of n random 64-bit keys (stable, should two be equal)."""
        (n,) = _shape("permutation", n)
        return np.argsort(_pairs(self.bits(2 * n)), kind="stable")

    def normal(self, shape: Shape = (), dtype: Any = None) -> Array:
        """Standard normal, float32 (default) or float64: see the function `normal`."""
        shape, dtype = _shape("normal", shape), _dtype("normal", dtype)
        return self._fill(np.empty(shape, dtype), 2, normal)

    def truncated_normal(self, shape: Shape = (), dtype: Any = None, bound: float = 2.0) -> Array:
        r"""Standard normal, given that \|z\| <= bound (its variance is below 1: 0.774 for bound 2).

        .. math:: z = \Phi^{-1}\bigl(\Phi(-b) + u\,(\Phi(b) - \Phi(-b))\bigr), \quad u \in [0, 1)
        """
        from scipy.special import ndtri  # here: models with other initialisers needn't wait for it

        if not 0 < bound < math.inf:
            raise ArgumentError(f"truncated_normal: bound is a positive number of standard deviations, got {bound}")
        shape, dtype = _shape("truncated_normal", shape), _dtype("truncated_normal", dtype)
        below = 0.5 * math.erfc(bound / math.sqrt(2.0))  # Phi(-b)

        def invert(words: Array, _: Any) -> Array:  # the clip undoes the rounding of Phi and of its inverse
            return np.clip(ndtri(below + uniform(words, float64) * (1.0 - 2.0 * below)), -bound, bound)

        return self._fill(np.empty(shape, dtype), 2, invert)

    # state

    def state(self) -> dict[str, Any]:
        """Where this generator stands, ready for JSON."""
        return {"algorithm": ALGORITHM, "seed": self._seed, "stream": self._stream, "position": self._position}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go where `state()` was taken: the next draws are the same."""
        fields = {"seed", "stream", "position"}
        if not isinstance(state, dict) or state.get("algorithm") != ALGORITHM or not fields <= state.keys():
            raise ArgumentError(
                f"Generator.set_state: expected algorithm '{ALGORITHM}' with seed, stream and position, got {state!r}: "
                "pass what Generator.state() returned"
            )
        place = [_word64(name, state[name]) for name in ("seed", "stream", "position")]
        self._seed, self._stream, self._position = place

    def __getstate__(self) -> dict[str, Any]:
        return self.state()

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.set_state(state)

    # the three that do the work

    def _reserve(self, words: int) -> int:
        """Claim so many words, in whole blocks of four, and say where they begin. Two threads never get the same."""
        with _reserving:
            start = self._position
            self._position = end = start + -(-words // 4) * 4
        replay.undo(self._give_back, start, end)
        return start

    def _give_back(self, start: int, end: int) -> None:
        """The words of a step that failed; unless somebody has claimed more since: they must not get the same."""
        with _reserving:
            if self._position == end:
                self._position = start

    def _words(self, start: int, n: int) -> Array:
        replay.refuse("draws random numbers on the host", "draw them before, and give them to the step")
        return get_backend("cpu").random_bits(self._seed, self._stream, start, n)

    def _fill(self, out: Array, each: int, draw: Any) -> Array:
        """out[i] from its `each` words, chunk by chunk (chunks hold whole blocks, so no element notices them)."""
        flat, step = out.reshape(-1), CHUNK // each
        start = self._reserve(each * flat.size)
        for i in range(0, flat.size, step):
            part = flat[i : i + step]
            words = self._words(start + each * i, -(-each * part.size // 4) * 4)
            part[...] = draw(words, out.dtype)[: part.size]
        return out


def _word64(name: str, value: int) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        number = -1
    if not 0 <= number < 2**64:
        raise ArgumentError(f"Generator: {name} is an integer, 0 <= {name} < 2**64, got {value!r}")
    return number


def _shape(draw: str, shape: Shape) -> tuple[int, ...]:
    sides = (shape,) if isinstance(shape, int | np.integer) else tuple(shape)
    if any(side < 0 for side in sides):
        raise ShapeError(f"Generator.{draw}: sides are counts, 0 or more, got shape {sides}")
    return tuple(operator.index(side) for side in sides)


def _dtype(draw: str, dtype: Any) -> np.dtype[Any]:
    wanted: np.dtype[Any] = default_dtype() if dtype is None else canonical(dtype)
    if wanted not in (float32, float64):
        raise DTypeError(f"Generator.{draw}: draws are float32 or float64, got {wanted}: draw float32, then convert")
    return wanted


# --- the process's own generator -------------------------------------------------------------------------------------

_default = Generator()


def default_generator() -> Generator:
    """The generator of whatever is not given one; seeded by the operating system until `manual_seed` is called."""
    return _default


def manual_seed(seed: int) -> Generator:
    """Put the default generator at the beginning of this seed's sequence, and return it."""
    _default.set_state(Generator(seed).state())
    return _default
