"""The computation graph as text."""

from __future__ import annotations

import engine
from engine.view import graph


def test_a_graph_names_ops_inputs_shapes_and_equations():
    x = engine.tensor([1.0, 2.0, 3.0], requires_grad=True)
    y = engine.sum(engine.sigmoid(x) * 2.0)
    lines = graph(y).splitlines()
    assert lines[0].startswith("%3 = sum(%2, keepdims=False)")
    assert "%2 = multiply(%1, number)" in lines[1]
    assert "%1 = sigmoid(leaf (3,))" in lines[2]
    assert r"y = \frac{1}{1 + e^{-x}}" in lines[2]


def test_a_leaf_and_a_long_graph():
    x = engine.tensor([1.0], requires_grad=True)
    assert graph(x) == "leaf (1,)"
    assert graph(x.detach()) == "data (1,)"
    y = x
    for _ in range(300):
        y = y + x
    assert graph(y, equations=False, limit=10).splitlines()[-1] == "... and 290 more"
