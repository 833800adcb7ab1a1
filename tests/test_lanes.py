"""Formulas in SIMD lanes say what their NumPy lowering says: every op, layout, length, thread count, special value."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, strategies as st

import engine.ops  # noqa: F401
from engine.backends.cpu import CPU, Elementwise, using
from engine.dtypes import SEVERAL_ROUNDINGS
from engine.elementwise import ElementwiseOp
from engine.expr import ATOMS, make, node, var
from engine.formula import Formula
from engine.record import OPS
from engine.samples import Draw
from tests.test_lane_math import SPECIAL

ir, llvm = pytest.importorskip("llvmlite.ir"), pytest.importorskip("llvmlite.binding")
lane_cache = pytest.importorskip("engine.kernels.cpu.lane_cache")
if not lane_cache.enabled():
    pytest.skip("machine code is switched off here", allow_module_level=True)

from engine.kernels.cpu import lane_loop, lane_rows, lane_ufunc, lanes  # noqa: E402

inf = np.inf


def elementwise_formulas():
    """(name, formula, which inputs are truth values, domains) of every elementwise op and of each of its vjps."""
    for op in OPS.values():
        if isinstance(op, ElementwiseOp):
            yield op.name, op, op.forward
            for i, formula in enumerate(op.vjps):
                if formula is not None and "g" in formula.used:  # a flat function's cotangent needs no kernel
                    yield f"{op.name}-vjp{i}", op, formula


HARD = Formula.trace(lambda c, a, b: (make("where", c, make("exp", a) * b, a), a < b), inputs=["c", "a", "b"])
SHARED = lane_ufunc.parallel_from(lanes.words_of(lanes.lower(HARD)))

CASES = {
    name: (op, formula)
    for name, op, formula in elementwise_formulas()
    if lanes.lower(formula) is not None and op.result != "integer"
}


@pytest.fixture(scope="module", autouse=True)
def compiled():
    """The whole registry, compiled at once or read from the cache."""
    assert lane_cache.precompile((f, kinds_of(op, f)) for op, f in CASES.values()) > len(CASES) / 2  # some are equal


def kinds_of(op, formula):
    if op.result == "bool" and op.atom.name.startswith("logical"):
        return ["?"] * len(formula.inputs)
    return ["?" if n == op.condition else "f" for n in formula.inputs]


def inputs_for(op, formula, shapes, rng):
    """float32 (and bool) arrays from the op's domain: g anything, y the op's own result."""
    domains = dict(zip(op.inputs, op.note.domain, strict=True))
    values = {n: domains[n].draw(rng, s) for n, s in zip(op.inputs, shapes, strict=False)}
    values = {n: v if v.dtype == bool else v.astype(np.float32) for n, v in values.items()}
    values |= op.params
    with using("numpy"):
        y = Elementwise(op.forward)(*(values[n] for n in (*op.inputs, *op.params)))
    values["y"] = y
    values["g"] = rng.standard_normal(np.shape(y)).astype(np.float32)
    return [values[n] for n in formula.inputs]


# ------------------------------------------------------------------------------------------------ every op
@pytest.mark.parametrize("name", CASES)
def test_lanes_agree_with_numpy(name):
    op, formula = CASES[name]
    rng = np.random.default_rng(1)
    xs = inputs_for(op, formula, [(2003,)] * 4, rng)
    kernel = Elementwise(formula)
    y = kernel(*xs)
    with using("numpy"):
        float32 = kernel(*xs)
        float64 = kernel(*(x.astype(float) if isinstance(x, np.ndarray) and x.dtype == np.float32 else x for x in xs))
    assert y.dtype == float32.dtype and y.shape == float32.shape
    if y.dtype == bool:
        np.testing.assert_array_equal(y, float32)
        return
    # Where a formula cancels, NumPy's own float32 errs as much: it may cost twice that.
    slack = 2 * np.abs(float32 - float64).max() + SEVERAL_ROUNDINGS["float32"] * np.abs(float64)
    assert (np.abs(y - float64) <= slack).all(), f"{name}: {np.max(np.abs(y - float64) / slack)} times what is allowed"


@pytest.mark.parametrize("name", [n for n, (op, f) in CASES.items() if len(op.inputs) == 1 and f.inputs[0] != "g"])
def test_special_values_survive(name):
    op, formula = CASES[name]
    kernel = Elementwise(formula)
    arguments = [SPECIAL if n == op.inputs[0] else op.params[n] for n in formula.inputs]
    y = kernel(*arguments)
    with using("numpy"), np.errstate(all="ignore"):
        expected = kernel(*arguments)
    np.testing.assert_array_equal(np.isnan(y), np.isnan(expected))
    np.testing.assert_array_equal(np.isinf(y), np.isinf(expected))
    for x, value in op.note.special.items():
        if abs(x) < 1e38 or abs(x) == inf:  # larger numbers are met as inf
            got = kernel(np.array([x], np.bool_ if isinstance(x, bool) else np.float32), *arguments[1:])[0]
            np.testing.assert_allclose(got, np.float32(value), rtol=5e-7, err_msg=f"{op.name}({x})")


# ------------------------------------------------------------------------------------------------ whole numbers
BITS = {name: OPS[name] for name in OPS if name.startswith("bitwise_")}
CUTS = {
    "rows": lambda x: x[: SHARED // 8 * 8 + 5],
    "odd": lambda x: x[:7],
    "strided": lambda x: x[:3003:3],
    "backwards": lambda x: x[1001::-1],
    "matrix": lambda x: x[: 7 * 300].reshape(7, 300)[:, :251],
}


@pytest.mark.parametrize("layout", CUTS)
@pytest.mark.parametrize("dtype", ["?", *np.typecodes["AllInteger"][:10]])
@pytest.mark.parametrize("name", BITS)
def test_bits_of_whole_numbers_are_numpys(name, dtype, layout):
    op, rng = BITS[name], np.random.default_rng(2)
    dtype = np.dtype(dtype)
    if dtype.kind == "b" and name.endswith("shift"):
        return  # numbers there
    bits = rng.integers(0, 2 if dtype.kind == "b" else 256, (2, 2 * SHARED, dtype.itemsize), np.uint8)
    a, b = (CUTS[layout](x) for x in bits.view(dtype)[..., 0])
    if name.endswith("shift"):
        b = np.where(b % 2 == 0, b, b % (8 * dtype.itemsize)).astype(dtype)  # any, and half of them inside
    xs = (a, b)[: len(op.inputs)]
    kernel = Elementwise(op.forward)
    y = kernel(*xs)
    with using("numpy"):
        expected = kernel(*xs)
    assert y.dtype == expected.dtype and y.shape == expected.shape
    np.testing.assert_array_equal(y, expected)
    if len(xs) == 2 and dtype.kind != "b":  # beside truth values a number would be an int64
        np.testing.assert_array_equal(kernel(a, 3), kernel(a, np.full_like(a, 3)))


def test_bits_run_in_lanes_and_share_the_cores():
    a = np.arange(SHARED, dtype=np.int64)
    run = Elementwise(OPS["bitwise_and"].forward).lanes((a, a))
    assert lane_ufunc.lanes_of(run) is not None
    rows, row = a[: SHARED // 300 * 300].reshape(300, -1), a[: SHARED // 300]
    y = Elementwise(Formula.trace(lambda p, q, n: make("bitwise_xor", make("bitwise_and", p, q), n)))(rows, row, 7)
    np.testing.assert_array_equal(y, rows & row ^ 7)
    assert y.dtype == np.int64
    assert Elementwise(OPS["add"].forward).lanes((a, a)) is None
    assert Elementwise(OPS["bitwise_and"].forward).lanes((a, a.astype(">i8"))) is None  # the other order of bytes


# ------------------------------------------------------------------------------------------------ lengths and layouts


def hard(c, a, b):
    run = lane_cache.function(HARD, "?ff")
    lane_ufunc.gather_team()
    return run(c, a, b)


def hard_numpy(c, a, b):
    with np.errstate(all="ignore"):
        return np.where(c, np.exp(a) * b, a), (a < b) & (c | True)


def check_hard(c, a, b):
    (y, z), (u, v) = hard(c, a, b), hard_numpy(c, a, b)
    np.testing.assert_allclose(y, u, rtol=1e-6)
    np.testing.assert_array_equal(z, v)
    assert y.dtype == np.float32 and z.dtype == bool and y.shape == u.shape


CHUNKS = -(-SHARED // lane_ufunc.CHUNK) * lane_ufunc.CHUNK
EDGES = [k + d for k in (lane_ufunc.CHUNK, SHARED, CHUNKS) for d in (-1, 0, 1, 37)]


@pytest.mark.parametrize("n", [*range(70), *EDGES])
def test_any_length(n):
    rng = np.random.default_rng(n)
    check_hard(rng.random(n) < 0.5, rng.standard_normal(n, np.float32), rng.standard_normal(n, np.float32))


@given(st.integers(0, 2**32 - 1))
def test_any_layout(seed):
    draw = Draw.seeded(seed)
    rng = draw.rng
    arrays = []
    for j, shape in enumerate(draw.broadcastable(3, max_rank=4)):
        steps = [draw.choice([1, 1, 2, -1, -3]) for _ in shape]
        whole = rng.standard_normal([n * abs(s) for n, s in zip(shape, steps, strict=True)], np.float32)
        x = whole[tuple(slice(None, None, s) for s in steps)]
        x = x.transpose(rng.permutation(x.ndim)) if draw.integer(0, 3) == 0 and len(set(shape)) < 2 else x
        arrays.append(np.asarray(x > 0 if j == 0 else x))
        arrays[-1].flags.writeable = False
    check_hard(*arrays)


def test_a_large_broadcast_and_a_large_stride():
    rng = np.random.default_rng(0)
    a = rng.standard_normal((300, 2 * 400), np.float32)
    row, column = rng.standard_normal(400, np.float32), rng.standard_normal((300, 1), np.float32)
    check_hard(row > 0, a[:, ::2], column)
    check_hard(column > 0, a[:, :400], row)
    check_hard(np.array(True), a[:, :400].T, column[:, 0])


LAYOUTS = {
    "row": lambda x: (x, x[0]),
    "column": lambda x: (x, x[:, :1]),
    "outer": lambda x: (x[:, :1], x[0]),
    "slice": lambda x: (x[:, 3:-5], x[1:, 4:-4][:1]),
    "transposed": lambda x: (x.T, x[:, 0]),
    "strided": lambda x: (x[::2, ::3], 2.5),
    "image": lambda x: (x[:399].reshape(19, 3, 7, -1), x[0, :600]),
    "channels": lambda x: (x[:399].reshape(19, 3, 7, -1), x[:3, :1, None]),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_rows_are_shared_by_the_cores(layout):
    from engine.kernels.cpu import threads

    x = np.random.default_rng(0).standard_normal((400, 600)).astype(np.float32)
    formula = Formula.trace(lambda a, b: (make("exp", a) * b, a < b))
    kernel = Elementwise(formula)
    a, b = LAYOUTS[layout](x)
    before = threads.get_num_threads()
    try:
        results = []
        for n in range(1, threads.MAX_THREADS + 1):
            threads.set_num_threads(n)
            results.append(kernel(a, b))
    finally:
        threads.set_num_threads(before)
    for y, z in results:
        np.testing.assert_allclose(y, np.exp(a) * np.float32(b), rtol=1e-6)
        np.testing.assert_array_equal(z, a < b)
        np.testing.assert_array_equal(y, results[0][0])


def test_which_layouts_are_rows():
    x = np.zeros((6, 4, 5), np.float32)
    merged = [
        lane_rows.merged(x.shape, [np.broadcast_to(o, x.shape).strides for o in (other, x)])
        for other in (x, x[0], x[0, 0], x[:, :1, :1], x[:, :1])
    ]
    assert [[n for n, _ in m] for m in merged] == [[120], [20, 6], [5, 24], [20, 6], [5, 4, 6]]


def test_in_place():
    """An output may be an input, whole or shifted: NumPy keeps apart what overlaps."""
    x = np.linspace(-3, 3, 1000, dtype=np.float32)
    run = lane_cache.function(Formula.trace(lambda x: make("exp", x)), "f")
    y, expected = x.copy(), run(x)
    run(y, out=y)
    np.testing.assert_array_equal(y, expected)
    y = x.copy()
    run(y[:-1], out=y[1:])
    np.testing.assert_array_equal(y[1:], expected[:-1])


# ------------------------------------------------------------------------------------------------ threads
def test_the_fewer_bytes_an_element_moves_the_later_is_it_shared():
    least = [lane_ufunc.parallel_from(1, moved) for moved in (2, 3, 8, 12)]
    assert least == sorted(least, reverse=True) and least[0] > 2 * least[2] and least[2] == least[3]


@pytest.mark.parametrize("n", [5 * lane_ufunc.CHUNK + 11, 12 * lane_ufunc.CHUNK + 11, 9 * lane_ufunc.LARGE_CHUNK + 11])
def test_the_same_bits_on_any_number_of_threads(n):
    from engine.kernels.cpu import threads

    x = np.random.default_rng(0).standard_normal(n).astype(np.float32)
    kernel = Elementwise(OPS["gelu"].forward)
    before = threads.get_num_threads()
    results = []
    try:
        for n in range(1, threads.MAX_THREADS + 1):
            threads.set_num_threads(n)
            results.append(kernel(x))
            assert lane_ufunc.team_words[2] == n - 1  # they do work together
    finally:
        threads.set_num_threads(before)
    pieces = np.concatenate([kernel(x[i : i + 999]) for i in range(0, x.size, 999)])
    for y in (*results, pieces, kernel(x[::-1])[::-1]):
        np.testing.assert_array_equal(y.view(np.uint32), results[0].view(np.uint32))


def test_each_core_gets_as_many_chunks_as_the_others():
    """Of a length that can be divided, of the same size; of any other, no more than 1024 elements off."""
    module = ir.Module()
    function = ir.Function(module, ir.FunctionType(lane_loop.I64, [lane_loop.I64] * 2), "chunk")
    b = ir.IRBuilder(function.append_basic_block())
    b.ret(lane_loop._chunk(b, *function.args))
    machine = llvm.Target.from_default_triple().create_target_machine()
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(str(module)), machine)
    chunk = ctypes.CFUNCTYPE(*[ctypes.c_int64] * 3)(engine.get_function_address("chunk"))
    least, most, cores = lane_ufunc.CHUNK, lane_ufunc.LARGE_CHUNK, (2, 3, 8, 64)
    assert [chunk(n * least, 2) for n in (2, 4, 8, 16)] == [least] * 4
    for n, threads in [(n, t) for n in (1 << 15, 40_001, 1 << 17, 999_999, 1 << 24) for t in cores]:
        size = chunk(n, threads)
        rounds = -(-n // (size * threads))
        assert size % 1024 == 0 and 0 < size <= most
        assert rounds * size - n / threads <= max(1024 * rounds, size if size == most else 0)


def test_python_threads_may_call_at_once():
    kernel = Elementwise(OPS["sigmoid"].forward)
    rng = np.random.default_rng(0)
    xs = [rng.standard_normal(n).astype(np.float32) for n in (5, 1000, lane_ufunc.PARALLEL_FROM, 200_000)]
    expected = [kernel(x) for x in xs]
    wrong = []

    def work():
        for _ in range(20):
            wrong.extend(x.size for x, y in zip(xs, expected, strict=True) if not np.array_equal(kernel(x), y))

    workers = [threading.Thread(target=work) for _ in range(4)]
    for w in workers:
        w.start()
    for w in workers:
        w.join()
    assert wrong == []


# ------------------------------------------------------------------------------------------------ in the backend
def test_no_warning_and_no_changed_floating_point_mode():
    """NumPy makes warnings of the processor's marks; a formula means its infinities."""
    x = np.array([0.0, -1.0, inf, 1e38, 1e-45], np.float32)
    for name in ("log", "exp", "reciprocal", "square"):
        Elementwise(OPS[name].forward)(x)  # warnings are errors here
    assert np.float32(1e-40) * np.float32(0.5) != 0  # subnormal numbers still count in this thread
    with np.errstate(divide="raise"), pytest.raises(FloatingPointError):
        np.log(np.zeros(3, np.float32))


def test_weak_scalars_keep_float32():
    x = np.ones(5, np.float32)
    for scalar in (2, 2.0, True):
        y = Elementwise(OPS["multiply"].forward)(x, scalar)
        assert y.dtype == np.float32
        np.testing.assert_array_equal(y, x * np.float32(scalar))


def test_what_has_no_lanes_takes_numpy():
    formula = Formula(("x",), (node("bitwise_invert", var("x")) + 1,))  # bits and a sum, of whole numbers
    assert all(lane_cache.function(formula, kind) is None for kind in "f?il")
    x = np.arange(3)
    np.testing.assert_array_equal(Elementwise(formula)(x), -x)


def test_every_op_has_lanes():
    assert not [name for name, _, formula in elementwise_formulas() if lanes.lower(formula) is None]


def test_float64_and_half_take_numpy():
    kernel = Elementwise(OPS["tanh"].forward)
    x = np.linspace(-1, 1, 7)
    np.testing.assert_array_equal(kernel(x), np.tanh(x))
    assert kernel(x.astype(np.float16)).dtype == np.float16


def test_an_unknown_lowering_is_refused():
    with pytest.raises(ValueError, match='using: lowering is \'lane\'; choose "lanes" or "numpy"'), using("lane"):
        pass


def adam(p, g, m, v, *, rate, beta1, beta2, eps):
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * (g * g)
    return p - rate * m / (make("sqrt", v) + eps), m, v


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [7, 100_003])
def test_an_update_writes_several_arrays_over_its_inputs(dtype, n):
    rng = np.random.default_rng(0)
    p, g, m, v = rng.standard_normal((4, n)).astype(dtype)
    v = v**2 + dtype(0.01)
    expected = adam_numpy(*(x.astype(float) for x in (p, g, m, v)))
    CPU().compile_update(Formula.trace(adam))(p, g, m, v, 1e-3, 0.9, 0.999, 1e-8, out=(p, m, v))
    for got, right in zip((p, m, v), expected, strict=True):
        eps = np.finfo(dtype).eps
        np.testing.assert_allclose(got, right, rtol=8 * eps, atol=8 * eps)


def adam_numpy(p, g, m, v):
    m = 0.9 * m + 0.1 * g
    v = 0.999 * v + 0.001 * g * g
    return p - 1e-3 * m / (np.sqrt(v) + 1e-8), m, v


def test_an_update_may_exchange_two_arrays():
    for dtype in (np.float32, np.float64):
        a, b = np.arange(5, dtype=dtype), np.ones(5, dtype)
        CPU().compile_update(Formula.trace(lambda a, b: (b, a)))(a, b, out=(a, b))
        np.testing.assert_array_equal(a, np.ones(5))
        np.testing.assert_array_equal(b, np.arange(5))


def test_an_update_flushes_what_fades_out():
    x = np.full(20, 1e-38, np.float32)
    CPU().compile_update(Formula.trace(lambda x: 0.5 * x))(x, out=(x,))
    np.testing.assert_array_equal(x, np.zeros(20) if lane_ufunc.WIPED else np.full(20, 5e-39, np.float32))


# ------------------------------------------------------------------------------------------------ the cache
def run_python(code, **environment):
    root = Path(__file__).resolve().parent.parent
    env = os.environ | {"PYTHONPATH": str(root)} | environment
    return subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)


CODE = """
import numpy as np, engine
from engine import ops
from engine.kernels.cpu import lane_cache
y = ops.gelu(engine.tensor(np.linspace(-3, 3, 100, dtype="float32"))).data
print(repr(float(y.sum())), lane_cache.enabled())
"""


def test_a_damaged_or_read_only_cache_costs_speed_only(tmp_path):
    good = run_python(CODE, XDG_CACHE_HOME=str(tmp_path))
    assert good.returncode == 0, good.stderr
    files = list((tmp_path / "chainrule" / "lanes").glob("*.o"))
    assert len(files) >= 2  # the loop and the kernel
    for file in files:
        file.write_bytes(file.read_bytes()[:-7])
    again = run_python(CODE, XDG_CACHE_HOME=str(tmp_path))
    assert again.stdout == good.stdout, again.stderr
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where the folder should be")
    assert run_python(CODE, XDG_CACHE_HOME=str(blocked)).stdout == good.stdout


def test_an_edited_op_is_compiled_anew(monkeypatch):
    formula, x = Formula(("x",), (node("relu6", var("x")),)), np.float32([-1.0, 9.0])
    np.testing.assert_array_equal(lane_cache.function(formula, "f")(x), [0, 6])
    edited = replace(ATOMS["relu6"], forward=lambda x: make("minimum", x, 7.0))
    monkeypatch.setitem(ATOMS, "relu6", edited)
    np.testing.assert_array_equal(lane_cache.function(formula, "f")(x), [-1, 7])


def test_without_a_compiler_numpy_computes(tmp_path):
    plain = run_python(CODE, XDG_CACHE_HOME=str(tmp_path), NUMBA_DISABLE_JIT="1")
    assert plain.returncode == 0, plain.stderr
    assert plain.stdout.endswith("False\n") and not (tmp_path / "chainrule").exists()


@pytest.mark.slow
@pytest.mark.skipif(not lane_ufunc.WIPED, reason="names of x86 processors")
@pytest.mark.parametrize("processor", ["x86-64", "x86-64-v2", "haswell"])
def test_older_processors(processor, tmp_path):
    """The same laws on machine code for SSE2, SSE4 and AVX2: this file again, with another processor's name."""
    if processor == "haswell" and "+fma" not in lane_cache.cpu()[1]:
        pytest.skip("no AVX2 here")
    here = [sys.executable, "-m", "pytest", "-q", "-x", __file__, "-k", "mathematics or agree or length"]
    env = os.environ | {"NUMBA_CPU_NAME": processor, "XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run(here, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]


def test_rows_are_shared_without_asking_the_compiler_again(monkeypatch):
    x, row = np.ones((300, 400), np.float32), np.arange(400, dtype=np.float32)

    def both():
        return (engine.tensor(x) * engine.tensor(row)).numpy()

    both()
    monkeypatch.setattr(lane_cache, "_engine", None)
    np.testing.assert_array_equal(both(), x * row)
