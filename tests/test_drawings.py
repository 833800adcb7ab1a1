"""Every op, layer, loss and optimiser has its drawing."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import drawn
import numpy as np
import pytest

import engine
import layers
import optim
from engine import OPS
from engine.gradcheck import sample
from engine.op import ElementwiseOp
from engine.samples import Draw
from engine.view import view
from engine.view.typeset import mathml, outline
from layers import losses

ROOT = Path(engine.__file__).parent.parent
OUR_OPS = [n for n, o in OPS.items() if o.file.startswith(str(ROOT / "engine"))]


@pytest.mark.parametrize("name", OUR_OPS)
def test_every_op_has_its_drawing(name):
    """Its equation and those of its derivative are typeset by both printers; its graph is drawn with numbers."""
    op = OPS[name]
    formulas = [op.latex]
    if isinstance(op, ElementwiseOp):
        formulas += [op.derivative_latex(i) for i in range(len(op.inputs)) if op.differentiable]
    for formula in formulas:
        math = mathml(formula)
        assert math.startswith("<math") and "\\" not in math and "<mi>&</mi>" not in math, formula
        assert outline(formula) is not None, formula
    if not op.differentiable:
        return
    inputs, params = sample(op, Draw.seeded(1))
    floats = [engine.tensor(x, requires_grad=True) if getattr(x, "dtype", None) == np.float64 else x for x in inputs]
    y = op(floats, **params) if getattr(op, "variadic", False) else op(*floats, **params)
    y = y if isinstance(y, engine.Tensor) else next(t for t in y if t.requires_grad)
    if y.requires_grad:
        drawing = view(y, gradient=np.ones(y.shape))
        assert ElementTree.fromstring(drawing.svg()).tag.endswith("svg")
        made_of = {v.title for v in drawing.graph.vertices if v.kind == "op"}
        page = drawing.html()
        assert made_of and all(f"<b>{title}</b>" in page for title in made_of)


def test_no_layer_or_loss_is_without_a_drawing():
    assert set(drawn.LAYERS) == drawn.classes(layers, layers.Layer)
    assert set(drawn.LOSSES) == drawn.classes(losses, losses.Loss)


@pytest.mark.parametrize("name", [*drawn.LAYERS, *drawn.LOSSES])
def test_every_layer_and_loss_has_its_drawing(name):
    """The graph of its result, with all that it learns."""
    layer, inputs = {**drawn.LAYERS, **drawn.LOSSES}[name]()
    y = layer(*inputs)
    if not y.requires_grad or y.node is None:
        return
    drawing = view(y, gradient=np.ones(y.shape))
    assert ElementTree.fromstring(drawing.svg()).tag.endswith("svg")
    found = {v.title for v in drawing.graph.vertices if v.kind == "parameter"}
    assert found == {p.path for p in getattr(layer, "trainable_weights", [])}


@pytest.mark.parametrize("name", sorted(drawn.classes(optim, optim.Optimizer)))
def test_every_optimiser_shows_its_update(name):
    text = getattr(optim, name).__doc__
    equations = re.findall(r"\.\. math::(.*?)(?:\n\n|\Z)", text, re.DOTALL) + re.findall(r":math:`(.*?)`", text)
    assert equations, "no equation in the docstring"
    for equation in equations:
        math = mathml(" ".join(equation.split()))
        assert math.startswith("<math") and "\\" not in math and "<mi>&</mi>" not in math
