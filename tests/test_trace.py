"""A trace holds what ran, and leaves nothing behind."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import numpy as np
import pytest

import engine
from engine.cost import flops
from engine.op import OPS
from engine.record import Op
from engine.view import trace


def kinds(cls=Op):
    return [cls, *(k for below in cls.__subclasses__() for k in kinds(below))]


def work():
    x = engine.tensor(np.ones((8, 3), "f4"), requires_grad=True)
    engine.mse(np.zeros((8, 4), "f4"), engine.relu(engine.matmul(x, np.ones((3, 4), "f4")))).backward()


def test_each_op_is_there_once_with_its_time_and_bytes():
    with trace() as t:
        work()
    forward = [e.op for e in t.leaves() if e.phase == "forward"]
    assert forward[:2] == ["matrix_product", "relu"] and forward[-1] == "mean_of(squared_error)"
    assert sorted(e.op for e in t.events if e.phase == "backward") == sorted(forward)
    product = next(e for e in t.events if e.op == "matrix_product")
    assert (product.bytes, product.result, product.shapes) == (8 * 4 * 4, (8, 4), ((8, 3), (3, 4)))
    outer = next(e for e in t.events if e.op == "matmul")
    assert outer.depth == 0 < product.depth and outer.start <= product.start <= product.end <= outer.end
    assert all(0 <= e.start <= e.end for e in t.events)
    assert sum(row[2] for row in t.rows()) == len(t.leaves())


def test_a_trace_is_written_as_json_table_and_drawing(tmp_path):
    with trace() as t:
        work()
    events = json.loads(t.save(tmp_path / "t.json").read_text())["traceEvents"]
    assert {e["ph"] for e in events} == {"X"} and all(e["dur"] >= 0 for e in events)
    svg = ElementTree.fromstring(t.save(tmp_path / "t.svg").read_text())
    assert len(svg.findall("{*}rect")) == len(events) + 1
    assert "matrix_product" in t.save(tmp_path / "t.txt").read_text()
    with pytest.raises(engine.ArgumentError, match="'.png' is none of .json"):
        t.save(tmp_path / "t.png")


def test_ops_are_as_they_were_when_it_is_off_and_after_an_error():
    before = {(k, n): vars(k)[n] for k in kinds() for n in ("__call__", "pull") if n in vars(k)}
    with trace() as outer:
        with pytest.raises(engine.ShapeError), trace() as inner:
            engine.matmul(np.ones((2, 3)), np.ones((2, 3)))
        engine.exp(1.0)
    assert before == {(k, n): vars(k)[n] for k in kinds() for n in ("__call__", "pull") if n in vars(k)}
    engine.exp(1.0)
    assert [e.op for e in outer.events] == ["exp"] and not inner.events


@pytest.mark.parametrize(
    ("op", "shapes", "result", "params", "wanted"),
    [
        ("matrix_product", [(8, 3), (3, 4)], (8, 4), {}, 2 * 8 * 3 * 4),
        ("matrix_product", [(5, 8, 3), (5, 3, 4)], (5, 8, 4), {}, 5 * 2 * 8 * 3 * 4),
        ("linear", [(8, 3), (3, 4), (4,)], (8, 4), {}, 2 * 8 * 3 * 4 + 8 * 4),
        ("add", [(8, 3), (3,)], (8, 3), {}, 8 * 3),
        ("sum", [(8, 3)], (), {"axis": None, "keepdims": False}, 24),
        ("reshape", [(8, 3)], (24,), {"shape": (24,)}, 0),
    ],
)
def test_work_is_counted_in_the_definition(op, shapes, result, params, wanted):
    assert flops(OPS[op], shapes, result, params) == wanted


def test_the_work_of_a_convolution():
    x, w = engine.ones((2, 9, 9, 3)), engine.ones((3, 3, 3, 8))
    with trace() as t:
        y = engine.conv2d(x, w, stride=2)
    (event,) = t.leaves()
    assert event.flops == 2 * y.size * 3 * 3 * 3


@pytest.mark.parametrize("window", [2, 3])
def test_the_work_of_an_average_is_its_sums_and_one_quotient_each(window):
    with trace() as t:
        y = engine.average_pool2d(engine.ones((2, 8, 8, 3)), window)
    assert t.leaves()[-1].flops == y.size * (window * window + 1)


@pytest.mark.parametrize("causal", [False, True])
def test_the_work_of_attention_is_two_products_and_the_weights_between_them(causal):
    N, T, S, h, g, d, e = 2, 32, 48, 4, 2, 16, 24
    q, k, v = engine.ones((N, T, h, d)), engine.ones((N, S, g, d)), engine.ones((N, S, g, e))
    with trace() as t:
        engine.attention(q, k, v, causal=causal)
    weights = N * h * T * S
    assert [e.flops for e in t.leaves()] == [2 * weights * (d + e) + (5 + causal) * weights]
    q = engine.ones((N, T, h, d))
    with trace() as t:
        engine.attention(q, q, q)
    (event,) = t.leaves()
    assert event.flops == (4 * d + 5) * N * h * T * T


def test_a_function_of_the_user_is_traced_like_any_op():
    @engine.fuse
    def gated(x, k):
        return x * engine.sigmoid(k * x)

    x = engine.ones((4, 3), requires_grad=True)
    with trace() as t:
        engine.sum(gated(x, 2.0)).backward()
    forward = next(e for e in t.leaves() if e.op == "gated")
    assert forward.flops > 0 and forward.flops % 12 == 0
    assert "gated" in str(t) and "gated" in t.svg()
    assert [e.phase for e in t.leaves() if e.op == "gated"] == ["forward", "backward"]


def test_parameters_by_position_are_parameters():
    x, w = engine.ones((1, 6, 6, 2)), engine.ones((3, 3, 2, 4))
    with trace() as t:
        engine.max_pool2d(x, 2)
        engine.conv2d(x, w, 2)
    with trace() as u:
        engine.max_pool2d(x, window=2)
        engine.conv2d(x, w, stride=2)
    assert [e.flops for e in t.events] == [e.flops for e in u.events] and all(e.flops for e in t.events)


def test_a_sum_that_all_elements_share_is_counted_once():
    assert flops(OPS["softmax"], [(1, 1000)], (1, 1000), {"axis": -1}) == 4 * 1000  # exp, exp, sum, quotient
