"""A derivation is right, line by line: each term comes to the one before it, the last to what backward gave."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np
import pytest
from latex2mathml.converter import convert
from matplotlib.mathtext import MathTextParser

import engine
from engine.dtypes import SEVERAL_ROUNDINGS
from engine.errors import ArgumentError
from engine.parameter import Parameter
from engine.view import explain
from engine.view.derivation import Line
from engine.view.notation import word
from engine.view.terms import Numbers, Product, Symbol
from engine.view.typeset import simple_lines
from models.bert import BertForSequenceClassification

ACTIVATIONS = [engine.sigmoid, engine.tanh, engine.softplus, engine.gelu, engine.relu, engine.elu, lambda z: z * z]


def network(seed, dtype="float64"):
    """A network of one to three layers, with bias or without, its loss and its weights."""
    rng = np.random.default_rng(seed)
    rows, widths = int(rng.integers(1, 5)), rng.integers(2, 5, int(rng.integers(2, 5)))

    def normal(shape):
        return engine.tensor(rng.standard_normal(shape), dtype=dtype)

    a = normal((rows, widths[0]))
    weights = []
    for k, (d, u) in enumerate(zip(widths, widths[1:], strict=False)):
        w, b = (Parameter(normal(s).data, name=f"{k}.{n}") for s, n in (((d, u), "kernel"), (u, "bias")))
        way = rng.integers(3)
        z = engine.linear(a, w, b) if way == 0 else engine.matmul(a, w) + b if way == 1 else engine.matmul(a, w)
        weights += [w] if way == 2 else [w, b]
        a = z if k == len(widths) - 2 else ACTIVATIONS[rng.integers(len(ACTIVATIONS))](z)
    match rng.integers(4):
        case 0:
            loss = engine.cross_entropy(rng.integers(0, widths[-1], rows), a)
        case 1:
            loss = engine.mse(normal(a.shape), a)
        case 2:
            truth = engine.tensor(rng.uniform(0, 1, a.shape), dtype=dtype)
            loss = engine.binary_cross_entropy(truth, engine.sigmoid(a))
        case _:
            loss = engine.sum(engine.softmax(a) * normal(a.shape))
    return loss, weights


def typesets(latex):
    """By two readers of LaTeX, of which the second is strict."""
    assert_read(convert(latex), latex)
    for line in simple_lines(latex):
        for row in re.split(r"\\\\", line):
            MathTextParser("path").parse(f"${row.replace('&', '').strip() or '.'}$")


def assert_read(math, latex):
    assert "\\" not in math and "merror" not in math, latex


def assert_sound(derivation, backward):
    for line in derivation.lines:
        assert max(line.errors(), default=0.0) < 1e-9, line.latex()
        typesets(line.latex())
    np.testing.assert_allclose(derivation.value, backward, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("seed", range(16))
def test_each_line_comes_to_the_one_before_it_and_the_last_to_what_backward_gave(seed):
    loss, weights = network(seed)
    w = weights[seed % len(weights)]
    d = explain(loss, wrt=w)
    assert len(d.lines) >= 3
    assert_sound(d, engine.grad(loss, w, retain_graph=True).numpy())


def test_a_wrong_line_is_noticed():
    a, b = np.arange(6.0).reshape(2, 3), np.arange(12.0).reshape(3, 4)
    right = Line("", [Numbers(a @ b), Product(Symbol("A", a), Symbol("B", b))])
    wrong = Line("", [Numbers(1.001 * (a @ b)), Product(Symbol("A", a), Symbol("B", b))])
    assert right.errors()[0] < 1e-12 < 1e-4 < wrong.errors()[0]


def test_two_layers_are_written_as_the_documents_write_them():
    rng = np.random.default_rng(0)
    w1, w2 = (Parameter(rng.standard_normal(s), name=n) for s, n in (((3, 5), "0.kernel"), ((5, 2), "1.kernel")))
    b = Parameter(rng.standard_normal(5), name="0.bias")
    h = engine.sigmoid(engine.linear(rng.standard_normal((4, 3)), w1, b))
    loss = engine.mse(rng.standard_normal((4, 2)), engine.matmul(h, w2))
    text = explain(loss, wrt=w1).latex()
    for equation in (
        r"z^{(1)} &= W^{(1)} \, a^{(0)} + b^{(1)}",
        r"a^{(1)} &= \sigma\left(z^{(1)}\right)",
        r"\frac{\partial z^{(2)}}{\partial a^{(1)}} \, \frac{\partial a^{(1)}}{\partial z^{(1)}} \, "
        r"\frac{\partial z^{(1)}}{\partial W^{(1)}}",
        r"\delta^{(1)} &= \frac{\partial J}{\partial z^{(1)}}",
        r"\left(\left(W^{(2)}\right)^{\top} \, \delta^{(2)}\right) \odot \sigma'\left(z^{(1)}\right)",
        r"\frac{\partial J}{\partial W^{(1)}} &= \delta^{(1)} \, \left(a^{(0)}\right)^{\top}",
    ):
        assert equation in text, equation
    assert r"\sum_{i} \delta^{(1)}" in explain(loss, wrt=b).latex()


@pytest.mark.parametrize(
    ("w", "a", "b", "right"),
    [
        ((3, 4), (4, 1), (3, 1), False),  # one sample, in a column, as the documents have it
        ((3, 4), (4, 5), (3, 1), False),  # a batch of columns
        ((3, 4), (4,), (3,), False),
        ((4, 3), (5, 4), (1, 3), True),  # rows
        ((4, 3), (5, 4), (3,), True),
        ((4, 3), (4,), (3,), True),
        ((4, 3), (2, 5, 4), (3,), True),  # of three axes
    ],
)
@pytest.mark.parametrize("first", ["product", "bias"])
def test_a_bias_of_any_shape_makes_z_and_its_activation_a(w, a, b, right, first):
    rng = np.random.default_rng(4)
    w, b = (engine.tensor(rng.standard_normal(s), requires_grad=True) for s in (w, b))
    a = engine.tensor(rng.standard_normal(a))
    product = engine.matmul(a, w) if right else engine.matmul(w, a)
    loss = engine.mean(engine.sigmoid(product + b if first == "product" else b + product) ** 3)
    for leaf, letter in ((w, "W"), (b, "b")):
        derivation = explain(loss, wrt=leaf)
        assert derivation.check()
        np.testing.assert_allclose(derivation.value, engine.grad(loss, leaf, retain_graph=True).numpy(), rtol=1e-9)
        text = derivation.latex()
        assert r"a^{(1)} &= \sigma\left(z^{(1)}\right)" in text
        assert r"\delta^{(1)} &= \frac{\partial J}{\partial z^{(1)}}" in text
        assert re.search(r"z\^{\(1\)} &= (.* \+ b\^{\(1\)}|b\^{\(1\)} \+ .*)", text)
        assert rf"\frac{{\partial J}}{{\partial {letter}^{{(1)}}}} &=" in text


def test_what_is_multiplied_too_is_no_bias_and_a_column_is_no_weight():
    rng = np.random.default_rng(5)
    x, w = (engine.tensor(rng.standard_normal(s), requires_grad=True) for s in ((5, 3), (3, 3)))
    text = explain(engine.sum(engine.tanh(engine.matmul(x, w) + x)), wrt=w).latex()
    assert "b^{(1)}" not in text and r"z^{(1)} + a^{(0)}" in text
    column = engine.tensor(rng.standard_normal((3, 1)), requires_grad=True)
    text = explain(engine.sum(engine.tanh(engine.matmul(w, column))), wrt=column).latex()
    assert r"z^{(1)} &= W^{(1)} \, a^{(0)}" in text and r"\frac{\partial J}{\partial a^{(0)}}" in text


def test_a_weight_used_twice_gets_the_sum_of_both_uses():
    rng = np.random.default_rng(1)
    w = Parameter(rng.standard_normal((3, 3)), name="w")
    x = engine.tensor(rng.standard_normal((2, 3)))
    loss = engine.sum(engine.tanh(engine.matmul(engine.tanh(engine.matmul(x, w)), w)))
    d = explain(loss, wrt=w)
    assert_sound(d, engine.grad(loss, w, retain_graph=True).numpy())
    assert " + " in d.lines[-1].latex()


def test_a_convolution_and_one_neuron_too():
    rng = np.random.default_rng(2)
    w = Parameter(rng.standard_normal((2, 2, 1, 2)), name="conv.kernel")
    images = engine.tensor(rng.standard_normal((2, 4, 4, 1)))
    loss = engine.mean(engine.relu(engine.conv2d(images, w)))
    assert_sound(explain(loss, wrt=w), engine.grad(loss, w, retain_graph=True).numpy())
    v, x, y = engine.tensor(0.3, dtype="float64").requires_grad_(), engine.tensor(1.7, dtype="float64"), 0.25
    loss = engine.square(engine.sigmoid(v * x) - y)
    d = explain(loss, wrt=v, names={"w": v})
    assert_sound(d, engine.grad(loss, v, retain_graph=True).numpy())
    assert r"\frac{\partial J}{\partial w}" in d.latex()


def test_one_number_taken_out_of_many():
    r = engine.tensor([[0.3], [0.1]], dtype="float64", requires_grad=True)
    x = engine.tensor([[1.0, 2.0]], dtype="float64")
    assert np.array_equal(explain((x @ r)[0, 0], wrt=r).value, [[1.0], [2.0]])


@pytest.mark.parametrize(
    "f",
    [
        lambda w: engine.mean(w + 1),
        lambda w: engine.sum(engine.tanh(w) + 1),
        lambda w: engine.mean(engine.relu(1 - w)),
        lambda w: engine.sum(engine.sqrt(w * w + 1)),
        lambda w: engine.mean(engine.layer_norm(w, engine.ones(3), engine.zeros(3))),
        lambda w: engine.sum((w * 2)[0] ** 2),
    ],
)
def test_what_the_tape_does_not_keep_is_named_without_its_value(f):
    w = engine.tensor([[0.3, -0.1, 0.8], [0.5, 0.2, -0.4]], dtype="float64", requires_grad=True)
    derivation = explain(f(w), wrt=w)
    expected = engine.grad(f(w), w).numpy()
    np.testing.assert_allclose(derivation.value, expected, rtol=1e-12, atol=1e-12)
    assert derivation.check() and derivation.latex()


def test_a_float32_graph_agrees_as_nearly_as_it_can():
    w = engine.tensor([[0.3, 0.1]], dtype="float32", requires_grad=True)
    derivation = explain(engine.mean(engine.sigmoid(w * 3.0) ** 2), wrt=w)
    assert derivation.check() and not derivation.check(1e-12)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("seed", range(5))
def test_a_graph_is_checked_as_nearly_as_its_dtype_can_say(dtype, seed):
    loss, weights = network(seed, dtype)
    derivation = explain(loss, wrt=weights[0])
    tolerance = SEVERAL_ROUNDINGS[dtype]
    assert derivation.dtype == dtype and derivation.check()
    line = next(line for line in derivation.lines[::-1] if np.abs(line.terms[0].evaluate()).max() > 1e-3)
    scale = max(np.max(t.scale()) for t in line.terms)
    line.terms.append(Numbers(line.terms[-1].evaluate() + 3 * tolerance * scale))
    assert not derivation.check()


def test_the_coarsest_dtype_of_a_graph_counts():
    w = engine.tensor([[0.31, 0.17]], dtype="float32", requires_grad=True)
    derivation = explain(engine.sum(engine.exp(engine.sigmoid(w).astype("float16")).astype("float32")), wrt=w)
    assert derivation.dtype == "float16" and derivation.check()


def test_small_gradients_in_float16_have_fewer_digits():
    x = engine.tensor([[3e-7, 1.7e-7], [9e-7, 5.5e-7]], dtype="float16")
    w = engine.tensor([[0.31, 0.17]], dtype="float16", requires_grad=True)
    assert explain(engine.sum(engine.tanh(w * x) * 0.333), wrt=w).check()


def test_what_is_left_of_a_sum_that_cancels_is_compared_with_the_sum():
    """A bias before a normalisation changes nothing: its gradient is the roundings of a sum that is zero."""
    rng = np.random.default_rng(6)
    x, w = (engine.tensor(rng.standard_normal(s), dtype="float32", requires_grad=True) for s in ((3, 5, 4), (4, 8)))
    b = engine.tensor(rng.standard_normal(8), dtype="float32", requires_grad=True)
    gamma = engine.tensor(rng.standard_normal(8), dtype="float32")
    y = engine.layer_norm(engine.linear(x, w, b), gamma, engine.zeros(8))
    loss = engine.sum(engine.tanh(y) * engine.tensor(rng.standard_normal((3, 5, 8)), dtype="float32"))
    for leaf in (x, w, b):
        assert explain(loss, wrt=leaf).check()
    a = np.array([[1.0, 2.0, -3.0 + 1e-9]], np.float32).astype(np.float64)
    line = Line("", [Numbers(a.sum(keepdims=True)), Product(Numbers(a), Numbers(np.ones((3, 1))))])
    line.terms.append(Numbers(np.full((1, 1), 1e-3)))
    assert 1e-4 < max(line.errors()) < 1e-3  # of 6, not of nothing: and far more than a rounding


def test_each_line_of_a_small_bert_is_right():
    model = BertForSequenceClassification(
        {"vocab_size": 30, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64,
         "max_position_embeddings": 16, "type_vocab_size": 2}
    )  # fmt: skip
    ids = np.random.default_rng(0).integers(0, 30, (2, 8))
    loss = model(input_ids=ids, labels=np.array([0, 1])).loss
    weights = {p.path: p for p in model.parameters()}
    for path in ("embeddings.word.embeddings", "encoder.0.attention.key.bias", "encoder.1.attention.value.kernel"):
        derivation = explain(loss, wrt=weights[path])
        assert derivation.check(), path
        line = derivation.lines[-1]
        scale = max(np.max(t.scale()) for t in line.terms)
        assert scale < 100 * np.abs(derivation.value).max() or path.endswith("key.bias")  # whose gradient is zero
        line.terms.append(Numbers(line.terms[-1].evaluate() + 1e-3 * scale))
        assert not derivation.check(), path


@pytest.mark.parametrize("size", [1e-12, 1e-30])
def test_small_gradients_must_be_right_too(size):
    w = engine.tensor([[0.3, 0.1]], dtype="float64", requires_grad=True)
    derivation = explain(engine.sum(engine.tanh(w) * size), wrt=w)
    assert derivation.check()
    derivation.lines[-1].terms.append(Numbers(1.01 * derivation.lines[-1].terms[-1].evaluate()))
    assert not derivation.check()


def test_a_masked_score_is_infinite_on_both_sides():
    w = engine.tensor([[0.3, -0.1, 0.8]], dtype="float64", requires_grad=True)
    scores = engine.where(np.array([[True, False, True]]), w, -np.inf)
    assert explain(engine.sum(engine.softmax(scores) * np.array([1.0, 2.0, -1.0])), wrt=w).check()


def test_data_has_the_name_that_it_is_given():
    a, w = engine.tensor([[1.0, 2.0]]), engine.tensor([[0.3, 0.1]], requires_grad=True)
    text = explain((a * w).sum(), wrt=w, names={"a": a, "w": w}).latex()
    assert r"a \odot w" in text and r"y \odot w" not in text


HOSTILE = [
    "x_{1", "x_1}", "x__", "_", "", " ", "x^2^3", "a&b", r"a\\b", r"\input{/etc/passwd}<script>", "$x$", "50 %",
    "#1", "~", "it's", '"quoted"', "`", "{", "}", "\\", "x\n\ty", "x\x00\x1b\ufffe", "\u0301", "\u202e",
    "\ue000", "\ud800", "层", "x_12", "w.kernel",
]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.filterwarnings("ignore::UserWarning")  # of glyphs that a font lacks
def test_any_name_is_typeset(name):
    v = engine.tensor([[0.3, 0.4]], dtype="float64").requires_grad_()
    x = engine.tensor([[1.5], [-0.5]], dtype="float64")
    d = explain(engine.sum(engine.sigmoid(v @ x) * (v @ x)), wrt=v, names={name: v, name + name + "0": x})
    assert d.check() and "<script" not in d._repr_html_() and r"\input" not in d.latex()
    ElementTree.fromstring(f"<p>{d._repr_html_()}</p>")
    for line in d.lines:
        assert_read(convert(line.latex()), line)
        assert_read(convert(rf"\begin{{split}} {line.rows()} \end{{split}}"), line)
    for formula in ("%s", "{%s}_{2}", r"\frac{\partial J}{\partial %s}", r"\left(%s\right)^{\top}"):
        typesets(formula % word(name))
    latex = re.sub(r"\\[{}]", "", d.latex())
    assert latex.count("{") == latex.count("}")


@pytest.mark.parametrize(("name", "latex"), [
    ("x", "x"), ("W_1", "W_1"), ("W_{12}", "W_{12}"), ("W_hidden", r"\mathrm{W\_hidden}"),
    ("x_{1", r"\mathrm{x\_{\{}1}"), ("my name", r"\mathrm{my{\ }name}"), ("", r"\mathrm{?}"),
    ("x__", r"\mathrm{x\_\_}"),
])  # fmt: skip
def test_a_letter_stays_and_a_word_is_upright(name, latex):
    assert word(name) == latex


def test_what_cannot_be_explained_says_so():
    v = engine.tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises(engine.ArgumentError, match=r"the loss has shape \(2,\); a derivation starts from one number"):
        explain(v * v, wrt=v)
    with pytest.raises(engine.ArgumentError, match="^explain: a tensor of .* is not in this graph"):
        explain(engine.sum(v * v), wrt=engine.tensor([1.0], requires_grad=True))
    with pytest.raises(engine.ArgumentError, match="explain: the loss is a tensor with its graph, not a float"):
        explain(3.0, wrt=v)
    with pytest.raises(engine.ArgumentError, match="explain: names leads from a name .* not from Tensor to str"):
        explain(engine.sum(v * v), wrt=v, names={v: "v"})
    loss = engine.sum(v * v)
    loss.backward()
    with pytest.raises(engine.GradientError, match="^explain: the graph of '.*' was freed by backward"):
        explain(loss, wrt=v)


def test_the_loss_itself_needs_no_explanation():
    x = engine.tensor(2.0, requires_grad=True)
    y = x * x
    for loss, wrt in ((x, x), (y, y)):
        with pytest.raises(ArgumentError, match="explain: there is no step between the loss and wrt"):
            explain(loss, wrt=wrt)


def test_a_name_with_an_index_gets_another():
    """v_{1} of three axes, in a sum: {v_{1}}_{n,t,d}."""
    rng = np.random.default_rng(0)
    x, w, b = (engine.tensor(rng.standard_normal(s), requires_grad=True) for s in ((2, 3, 4), (4, 5), (5,)))
    derivation = explain(engine.mean(engine.linear(x * x * x, w, b) ** 2), wrt=w, names={"w": w})
    assert "{v_{2}}_{" in str(derivation) and derivation.check() and derivation.title == "d loss / d w"
    assert repr(derivation).startswith("<derivation of d loss / d w, ")
    for line in derivation.lines:
        typesets(line.latex())


def test_the_weight_is_a_tensor():
    x = engine.tensor([1.0], requires_grad=True)
    with pytest.raises(ArgumentError, match="explain: wrt is a tensor that the loss depends on, not a str"):
        explain(engine.sum(x * x), wrt="x")


def test_numbers_stand_in_the_equations():
    w = engine.tensor(np.array([1.0, 2.0, 4.0]), requires_grad=True)
    text = str(explain(((3 - (w + 1) / 2) ** 2).sum(), w))
    for part in (r"\theta_{1} + 1", r"\frac{v_{1}}{2}", "3 - v_{2}", r"2 \, v_{3}", r"\, \frac{1}{2}"):
        assert part in text, part
    assert r"\cdot" not in text and r"2 \odot" not in text
