"""Initial values have the variance that their docstrings promise, and come from (seed, path) alone."""

from __future__ import annotations

import numpy as np
import pytest

from engine import config
from engine.errors import ArgumentError, ShapeError
from engine.random import Generator
from layers import initializers as init

KERNELS = [(300, 200), (200, 300), (3, 5, 40, 60)]
VARIANCES = {
    "glorot_uniform": lambda n, m: 2 / (n + m),
    "glorot_normal": lambda n, m: 2 / (n + m),
    "he_uniform": lambda n, m: 2 / n,
    "he_normal": lambda n, m: 2 / n,
    "lecun_uniform": lambda n, m: 1 / n,
    "lecun_normal": lambda n, m: 1 / n,
    "random_normal": lambda n, m: 0.05**2,
    "random_uniform": lambda n, m: 0.1**2 / 12,
    "truncated_normal": lambda n, m: 0.05**2 * 0.7737,  # 1 - 4 phi(2) / (2 Phi(2) - 1)
}


@pytest.mark.parametrize("shape", KERNELS, ids=str)
@pytest.mark.parametrize("name", VARIANCES)
def test_has_its_variance_and_mean_zero(name: str, shape: tuple[int, ...]) -> None:
    w = init.get(name)(shape, np.float64, Generator(5).at(name))
    variance = VARIANCES[name](*init.fans(shape))
    # 36,000 or more draws: the deviation of their variance from the law is below 2 % (5 standard errors of a normal)
    assert w.var() == pytest.approx(variance, rel=5 * np.sqrt(2 / w.size))
    assert abs(w.mean()) < 5 * np.sqrt(variance / w.size)


def test_fans_count_the_taps() -> None:
    assert init.fans((3, 5, 7, 11)) == (3 * 5 * 7, 3 * 5 * 11)
    assert init.fans((7, 11)) == (7, 11) and init.fans((4,)) == (4, 4)


@pytest.mark.parametrize("name", ["glorot_uniform", "he_uniform", "lecun_uniform", "random_uniform"])
def test_uniform_ones_fill_their_interval(name: str) -> None:
    w = init.get(name)((200, 200), np.float64, Generator(1))
    limit = np.sqrt(3 * VARIANCES[name](200, 200))
    assert 0.99 * limit < np.abs(w).max() <= limit


@pytest.mark.parametrize("name", ["glorot_normal", "he_normal", "lecun_normal", "truncated_normal"])
def test_normal_ones_have_no_outliers(name: str) -> None:
    w = init.get(name)((200, 200), np.float64, Generator(1))
    assert 2.2 < np.abs(w / w.std()).max() <= 2 / init.TRUNCATED_STDDEV * 1.02


@pytest.mark.parametrize("shape", [(6, 4), (4, 6), (5, 5), (3, 2, 2, 5)], ids=str)
def test_orthogonal_keeps_lengths(shape: tuple[int, ...]) -> None:
    w = init.Orthogonal(gain=1.5)(shape, np.float64, Generator(3)).reshape(-1, shape[-1])
    small = w.T @ w if w.shape[0] >= w.shape[1] else w @ w.T
    np.testing.assert_allclose(small, 1.5**2 * np.eye(len(small)), atol=1e-12)


def test_orthogonal_is_uniform_over_rotations() -> None:
    """Both signs of a determinant, and no preferred sign on the diagonal, which plain QR would have."""
    draws = [init.Orthogonal()((3, 3), np.float64, Generator(i)) for i in range(200)]
    assert 60 < sum(np.linalg.det(q) > 0 for q in draws) < 140
    assert 60 < sum(q[0, 0] > 0 for q in draws) < 140


def test_constants() -> None:
    assert (init.get("zeros")((2, 3)) == 0).all() and (init.get("ones")((2, 3)) == 1).all()
    assert (init.Constant(0.25)((2,)) == 0.25).all() and init.Constant([1, 2])((2,)).tolist() == [1, 2]
    np.testing.assert_array_equal(init.Identity(2.0)((2, 3)), [[2, 0, 0], [0, 2, 0]])


@pytest.mark.parametrize("name", [*VARIANCES, "orthogonal", "zeros"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dtype_and_repeatability(name: str, dtype) -> None:
    one, two, other = (init.get(name)((8, 9), dtype, Generator(2).at(at)) for at in ("a", "a", "b"))
    assert one.dtype == dtype
    np.testing.assert_array_equal(one, two)
    assert name == "zeros" or not np.array_equal(one, other)


def test_a_seed_of_its_own_wins() -> None:
    a, b = (init.HeNormal(seed=4)((5, 5), None, Generator(i)) for i in (1, 2))
    np.testing.assert_array_equal(a, b)


def test_names_classes_and_descriptions_mean_the_same() -> None:
    for what in ("he_normal", "HeNormal", init.HeNormal, init.HeNormal(), config.serialize(init.HeNormal())):
        assert isinstance(init.get(what), init.HeNormal)
    again = init.get(config.serialize(init.VarianceScaling(2.0, "fan_out", "uniform", seed=3)))
    assert (again.scale, again.mode, again.distribution, again.seed) == (2.0, "fan_out", "uniform", 3)


@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        (lambda: init.get("henormal2"), ArgumentError, r"there is no initializer 'henormal2'; .*he_normal"),
        (lambda: init.VarianceScaling(0.0), ArgumentError, r"VarianceScaling: scale is .* more than 0, got 0.0"),
        (lambda: init.VarianceScaling(mode="fan"), ArgumentError, r"mode is fan_in, fan_out, fan_avg .* got 'fan'"),
        (lambda: init.Orthogonal()((3,)), ShapeError, r"Orthogonal: a matrix is needed, .* got shape \(3,\)"),
        (lambda: init.get(3), ArgumentError, r"an initializer is a name, an object or a function, got 3"),
    ],
)
def test_errors(bad, error, message: str) -> None:
    with pytest.raises(error, match=message):
        bad()


def test_a_constant_array_shows_itself() -> None:
    assert repr(init.Constant(np.arange(2.0))) == "Constant(value=array([0., 1.]))"
