"""Laws of Sequential, functional and subclassed models."""

from __future__ import annotations

import copy
import functools
import pickle

import numpy as np
import pytest

import engine
from engine import Tensor, no_grad, ops, tensor
from engine.errors import ArgumentError, NotBuiltError, ShapeError
from engine.parameter import Parameter, training_mode
from engine.random import manual_seed
from layers import (
    LSTM,
    Activation,
    Add,
    BatchNormalization,
    Bidirectional,
    Concatenate,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GlobalAveragePooling2D,
    Input,
    MaxPooling2D,
    Permute,
    ReLU,
    Softmax,
    TransformerEncoder,
)
from models import Model, Sequential, zoo
from models.sequential import along

RNG = np.random.default_rng(7)


def rows(*shape):
    return RNG.normal(size=shape).astype("float32")


def mlp(seed=3):
    return Sequential([Dense(5, activation="relu", input_shape=(4,)), Dense(3, activation="softmax")], seed=seed)


# --- Sequential ------------------------------------------------------------------------------------------------------


def test_a_sequence_is_its_layers_one_after_the_other():
    model, x = mlp(), rows(6, 4)
    y = tensor(x)
    for layer in model.layers:
        y = layer(y)
    np.testing.assert_array_equal(model(x).numpy(), y.numpy())
    np.testing.assert_array_equal(model.predict(x), y.numpy())
    assert list(model.state_dict()) == ["0.kernel", "0.bias", "1.kernel", "1.bias"]
    assert (model.input_shape, model.output_shape) == ((None, 4), (None, 3))


@pytest.mark.parametrize(
    ("layer", "shape", "message"),
    [
        (lambda: Dense(2), (), r"Dense '1': .* \(N,\.\.\.,D\) needs at least 2"),
        (lambda: Conv2D(3, 3), (2, 5), r"Conv2D '1': the input has 2 dimensions \(\w+, 5\), but \(N,H,W,C\) needs 4"),
        (lambda: MaxPooling2D(), (2, 8, 8), r"MaxPooling2D '1': .* 3 dimensions .*8, 8\), but \(N,H,W,C\) needs 4"),
        (lambda: GlobalAveragePooling2D(), (2, 8), r"GlobalAveragePooling2D '1': .* but \(N,H,W,C\) needs 4"),
        (lambda: LSTM(4), (2, 5), r"LSTM '1': .* 2 dimensions \(\w+, 5\), but \(N,T,D\) needs 3; reshape it"),
        (lambda: Bidirectional(LSTM(4)), (2, 5), r"Bidirectional '1': .* but \(N,T,D\) needs 3"),
        (lambda: Permute((2, 1)), (2, 5), r"Permute '1': .* but \(N,\.\.\.\) needs 3"),
        (lambda: TransformerEncoder(8, 2), (5,), r"TransformerEncoder '1': .* but \(N,T,D\) needs 3"),
        (lambda: BatchNormalization(), (5,), r"BatchNormalization '1': .* needs at least 2"),
    ],
)  # fmt: skip
def test_a_shape_that_does_not_fit_is_named_before_anything_is_built_on_it(layer, shape, message):
    """Called alone a layer looks at its input; in a model its shape is computed first, and must be looked at there."""
    with pytest.raises(ShapeError, match=message):
        Sequential([Activation("tanh"), layer()])(np.zeros(shape, "float32"))
    with pytest.raises(ShapeError, match=message):
        Sequential([Activation("tanh"), layer()]).build(shape)


def test_a_built_layer_is_looked_at_too_and_an_unknown_length_fits():
    shared = Dense(3)
    Sequential([shared]).build((None, 4))
    with pytest.raises(ShapeError, match=r"5 on axis -1, but the layer was built for 4 there"):
        Sequential([shared, Dense(2)]).build((None, 5))
    Sequential([shared, Dense(2)]).build((None, None))


def test_initial_values_follow_from_seed_and_place():
    a, b, c = mlp(3), mlp(3), mlp(4)
    lazy = Sequential([Dense(5, activation="relu"), Dense(3, activation="softmax")], seed=3)
    assert not lazy.built
    lazy(rows(2, 4))
    one_by_one = Sequential(seed=3)
    one_by_one.add(Input((4,)))
    one_by_one.add(Dense(5, activation="relu"))
    one_by_one.add(Dense(3, activation="softmax"))
    for other in (b, lazy, one_by_one):
        for (name, v), w in zip(a.state_dict().items(), other.state_dict().values(), strict=True):
            np.testing.assert_array_equal(v, w, err_msg=name)
    assert not np.array_equal(a.state_dict()["0.kernel"], c.state_dict()["0.kernel"])


def test_without_a_seed_the_process_generator_decides():
    manual_seed(5)
    a = mlp(None).state_dict()
    manual_seed(5)
    b = mlp(None).state_dict()
    assert all(np.array_equal(a[k], b[k]) for k in a)


def test_add_builds_on_what_is_there_and_pop_takes_it_off():
    model = mlp()
    kept = model.state_dict()
    model.add(Dense(2))
    assert model.output_shape == (None, 2)
    assert all(np.array_equal(v, model.state_dict()[k]) for k, v in kept.items())
    assert isinstance(model.pop(), Dense)
    assert model.output_shape == (None, 3) and len(model.layers) == 2
    assert model.predict(rows(2, 4)).shape == (2, 3)


@pytest.mark.parametrize("activation", [Activation("relu"), ReLU(), Activation("tanh"), Softmax(), ReLU(max_value=1.0)])
@pytest.mark.parametrize("first", [lambda: Dense(6, input_shape=(4,)), lambda: Conv2D(3, 2, input_shape=(4, 4, 2))])
def test_the_plan_computes_what_the_layers_do(activation, first):
    """Dense and Conv2D take the activation behind them along: the same numbers, gradients and parameters."""
    model = Sequential([first(), copy.deepcopy(activation)], seed=1)
    fused = type(activation) is Activation or (type(activation) is ReLU and activation.max_value is None)
    assert [len(group) for group in model._plan] == ([2] if fused else [1, 1])
    x = rows(5, *model.input_shape[1:])
    w = rows(*model(x).shape)
    gradients = []
    for y in (model(x), model.layers[1](model.layers[0](x))):
        model.zero_grad()
        (y * w).sum().backward()
        gradients.append([y.numpy(), *(p.grad.numpy() for p in model.parameters())])
    for a, b in zip(*gradients, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    model.add(Flatten())
    assert model.predict(x).shape[0] == 5


POOLED = {  # layers, and how many of those behind the first go along with it
    "inside": ([Conv2D(5, 3, activation="relu"), MaxPooling2D()], 1),
    "behind": ([Conv2D(5, 3, padding="same"), Activation("relu"), MaxPooling2D((2, 3), strides=(2, 1))], 2),
    "a layer": ([Conv2D(5, 2, strides=2), ReLU(), MaxPooling2D(3, strides=2, padding="same")], 2),
    "groups": ([Conv2D(6, 3, groups=2, activation="relu"), MaxPooling2D(2, strides=3)], 1),
    "no bias": ([Conv2D(5, 3, activation="relu", use_bias=False), MaxPooling2D()], 0),
    "no relu": ([Conv2D(5, 3), MaxPooling2D()], 0),
    "tanh inside": ([Conv2D(5, 3, activation="tanh"), MaxPooling2D()], 0),
    "tanh behind": ([Conv2D(5, 3), Activation("tanh"), MaxPooling2D()], 1),
    "relu upon tanh": ([Conv2D(5, 3, activation="tanh"), ReLU(), MaxPooling2D()], 0),
}


@pytest.mark.parametrize("name", POOLED)
def test_a_convolution_takes_pooling_along_where_one_kernel_does_both(name):
    """The same numbers and gradients as from the layers one by one, those by x included."""
    layers, taken = POOLED[name]
    model = Sequential([copy.deepcopy(layer) for layer in layers], seed=1)
    model.build((None, 9, 11, 4))
    ((first, *behind),) = model._plan
    assert along(first, behind)[0] == taken
    image = rows(3, 9, 11, 4)
    w, results = rows(*model(image).shape), []
    for run in (model, lambda x: functools.reduce(lambda x, layer: layer(x), model.layers, x)):
        model.zero_grad()
        x = Tensor(image, requires_grad=True)
        y = run(x)
        (y * w).sum().backward()
        results.append([y.numpy(), x.grad.numpy(), *(p.grad.numpy() for p in model.parameters())])
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_a_layer_whose_call_is_watched_is_called():
    model = Sequential([Conv2D(3, 2, input_shape=(6, 6, 1)), ReLU(), MaxPooling2D()], seed=1)
    x, seen = rows(2, 6, 6, 1), []
    plain = model(x).numpy()
    for layer in model.layers:
        layer.call = lambda x, call=layer.call: seen.append(call(x)) or seen[-1]
    np.testing.assert_allclose(model(x).numpy(), plain, rtol=1e-6)
    assert [y.shape for y in seen] == [(2, 5, 5, 3), (2, 5, 5, 3), (2, 2, 2, 3)]


def test_what_goes_along_is_decided_at_each_call():
    model = Sequential([Conv2D(3, 2, activation="relu", input_shape=(6, 6, 1)), MaxPooling2D()], seed=1)
    x = np.random.default_rng(0).standard_normal((2, 6, 6, 1), np.float32)  # of which some windows' maxima are negative
    assert model(x).shape == (2, 2, 2, 3)
    model.layers[0].activation = ops.tanh
    model.layers[1].strides = (1, 1)
    y = model.layers[1](model.layers[0](x))
    np.testing.assert_array_equal(model(x).numpy(), y.numpy())
    assert y.shape == (2, 4, 4, 3) and y.numpy().min() < 0


def test_a_layer_that_is_there_twice_is_one_layer():
    shared = Dense(4, activation="tanh", input_shape=(4,))
    model = Sequential([shared, shared, Dense(2)], seed=2)
    assert list(model.state_dict()) == ["0.kernel", "0.bias", "2.kernel", "2.bias"]
    again = Sequential.from_config(model.get_config())
    assert again.layers[0] is again.layers[1]
    again.load_state_dict(model.state_dict())
    x = rows(3, 4)
    np.testing.assert_array_equal(again.predict(x), model.predict(x))


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: Sequential([np.tanh]), ArgumentError, r"takes a layer, .*Activation\(function\)"),
        (lambda: Sequential([Dense(2), Input((3,))]), ArgumentError, "Input can only be the first"),
        (lambda: Sequential().pop(), ArgumentError, "there is no layer"),
        (lambda: Sequential().build((None, 3)), ArgumentError, "no layer yet"),
        (lambda: Sequential([Dense(2)]).state_dict(), NotBuiltError, "call build"),
        (lambda: mlp().get_layer("conv"), ArgumentError, "no layer 'conv'; there are dense"),
        (lambda: mlp().predict(rows(2, 5)), ShapeError, r"the model takes \(4,\)"),
        (lambda: Model([], []), ArgumentError, r"begin with layers.Input"),
        (lambda: Sequential([Dense(2)]).warmup(), NotBuiltError, r"compile\(\) comes first"),
    ],
)
def test_errors_name_the_remedy(call, error, text):
    with pytest.raises(error, match=text):
        call()


# --- functional ------------------------------------------------------------------------------------------------------


def two_in_two_out(seed=2):
    left, right = Input((4,), name="left"), Input((4,), name="right")
    twin = Dense(6, activation="tanh")
    both = Concatenate()([twin(left), twin(right)])
    return Model([left, right], [Dense(3, name="a")(both), Dense(1, name="b")(both + both)], seed=seed)


def test_a_graph_computes_what_its_calls_say():
    model, l, r = two_in_two_out(), rows(5, 4), rows(5, 4)
    twin, join, a, _, b = model.layers
    both = join([twin(l), twin(r)])
    want = [a(both).numpy(), b(both + both).numpy()]
    for got in (model([l, r]), model({"right": r, "left": l})):
        for g, w in zip(got, want, strict=True):
            np.testing.assert_array_equal(g.numpy(), w)
    for g, w in zip(model.predict([l, r]), want, strict=True):
        np.testing.assert_array_equal(g, w)
    assert (model.input_names, model.output_names) == (("left", "right"), ("a", "b"))


def test_a_shared_layer_sums_the_gradients_of_its_uses():
    model, l, r = two_in_two_out(), rows(5, 4), rows(5, 4)
    w = rows(5, 3)
    kernel = model.layers[0].kernel
    (model([l, r])[0] * w).sum().backward()
    together, kernel.grad = kernel.grad.numpy(), None
    twin, join, a = model.layers[:3]
    with no_grad():
        hl, hr = twin(l), twin(r)
    parts = []
    for pair in ((twin(l), hr), (hl, twin(r))):
        kernel.grad = None
        (a(join(list(pair))) * w).sum().backward()
        parts.append(kernel.grad.numpy())
    np.testing.assert_allclose(together, parts[0] + parts[1], rtol=1e-5, atol=1e-6)


def test_seeds_of_a_graph_hold_but_never_touch_what_was_trained():
    a, b, c = two_in_two_out(2), two_in_two_out(2), two_in_two_out(3)
    sa, sb, sc = a.state_dict(), b.state_dict(), c.state_dict()
    assert all(np.array_equal(sa[k], sb[k]) for k in sa)
    assert not np.array_equal(sa["0.kernel"], sc["0.kernel"])
    a.load_state_dict({k: v + 1 for k, v in sa.items()})
    x = Input((4,))
    head = Model(x, Dense(2)(a.layers[0](x)), seed=9)
    np.testing.assert_array_equal(head.layers[0].kernel.numpy(), sa["0.kernel"] + 1)


def test_outputs_come_as_they_were_given():
    x = Input((3,))
    h = Dense(2)(x)
    assert isinstance(Model(x, h)(rows(2, 3)), Tensor)
    assert isinstance(Model(x, [h])(rows(2, 3)), list)
    named = Model(x, {"h": h, "x": x})
    assert named.output_names == ("h", "x")
    y = named.predict(rows(2, 3))
    assert {k: v.shape for k, v in y.items()} == {"h": (2, 2), "x": (2, 3)}


def test_an_input_that_is_missing_is_named():
    a, b = Input((3,), name="left"), Input((3,), name="right")
    with pytest.raises(ArgumentError, match="needs the input 'right'"):
        Model(a, Add()([a, b]))
    with pytest.raises(ArgumentError, match=r"takes 2 inputs \(left, right\), got 1"):
        Model([a, b], Add()([a, b]))([rows(2, 3)])


def test_equal_names_become_distinct():
    x = Input((3,))
    model = Model(x, [Dense(1)(x), Dense(1)(x), Dense(1)(x)])
    assert model.output_names == ("dense", "dense_1", "dense_2")


def test_a_deep_graph_needs_no_recursion():
    x = y = Input((2,))
    tanh = Activation("tanh")
    for _ in range(2000):
        y = tanh(y)
    model = Model(x, y)
    v = rows(1, 2)
    want = v
    for _ in range(2000):
        want = np.tanh(want)
    np.testing.assert_allclose(model.predict(v), want, rtol=1e-3)
    assert len(model.layers) == 1


def test_models_are_layers():
    inner = Sequential([Dense(4, activation="relu"), BatchNormalization()])
    x = Input((3,))
    model = Model(x, Dense(2)(inner(x)), seed=1)
    assert {"0.0.kernel", "0.1.gamma", "1.kernel"} <= set(model.state_dict())
    outer = Sequential([model, Softmax()], seed=1)
    assert outer.predict(rows(5, 3)).sum(1) == pytest.approx(1)


def test_a_graph_from_its_description_is_the_same_graph():
    model = two_in_two_out()
    again = type(model).from_config(model.get_config())
    again.load_state_dict(model.state_dict())
    data = [rows(4, 4), rows(4, 4)]
    for g, w in zip(again.predict(data), model.predict(data), strict=True):
        np.testing.assert_array_equal(g, w)
    assert again.get_config() == model.get_config()


# --- subclasses ------------------------------------------------------------------------------------------------------


class Residual(Model):
    def __init__(self, units=4, **options):
        super().__init__(**options)
        self.units = units
        self.first, self.second, self.drop = Dense(units, activation="tanh"), Dense(units), Dropout(0.5)

    def call(self, x):
        return x + self.second(self.drop(self.first(x)))


def test_a_subclass_is_a_model():
    model, x = Residual(seed=3), rows(6, 4)
    model.build((None, 4))
    want = x + model.second(model.first(x)).numpy()
    np.testing.assert_allclose(model.predict(x), want, rtol=1e-6)
    assert list(model.state_dict()) == ["first.kernel", "first.bias", "second.kernel", "second.bias"]
    again = Residual(seed=3)
    again(x)
    assert all(np.array_equal(v, again.state_dict()[k]) for k, v in model.state_dict().items())
    with training_mode(True):
        assert not np.array_equal(model(x).numpy(), want)


# --- all kinds -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [mlp, two_in_two_out, lambda: Residual(seed=1)], ids=["row", "graph", "subclass"])
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))], ids=["copy", "pickle"])
def test_copies_compute_the_same_and_share_nothing(make, copied):
    model = make()
    x = [rows(3, 4), rows(3, 4)] if len(model.input_names or [0]) == 2 else rows(3, 4)
    want = model.predict(x)
    twin = copied(model)
    for p in model.parameters():
        p.assign(p.numpy() + 1)
    got = twin.predict(x)
    for g, w in zip(got, want, strict=True):  # outputs, or rows of the one output
        np.testing.assert_array_equal(g, w)


def test_predictions_do_not_depend_on_the_batches():
    model, x = mlp(), rows(10, 4)
    for size in (1, 3, 10, 64):
        np.testing.assert_allclose(model.predict(x, batch_size=size), model.predict(x), rtol=1e-6)
    np.testing.assert_array_equal(model.predict_on_batch(x), model.predict(x))


def test_warmup_changes_nothing():
    model = Sequential([Dense(4, input_shape=(3,)), BatchNormalization(), Dropout(0.5), Dense(2)], seed=1)
    model.compile("adam", "mse")
    before, random = model.state_dict(), model.random_state()
    model.warmup(4)
    assert all(np.array_equal(v, model.state_dict()[k]) for k, v in before.items())
    assert model.random_state() == random and model.optimizer.iterations == 0
    assert all(p.grad is None for p in model.parameters())


def test_warmup_of_models_that_take_word_numbers():
    models, cross_entropy = [zoo.imdb_rnn(1), zoo.TextTransformer(20, 8, 8, seed=1)], "binary_crossentropy"
    for model in models:
        model.build((None, None))
        model.compile("adam", cross_entropy)
        model.warmup(2, verbose=0)
        assert model.optimizer.iterations == 0


def test_summary_counts_every_parameter_once(capsys):
    model = zoo.mnist_cnn(1)
    model.summary()
    text = capsys.readouterr().out
    assert "(None, 26, 26, 32)" in text and "36,928" in text and "93,322 parameters (364.5 KiB)" in text
    Residual().summary()
    assert "?" in capsys.readouterr().out


@pytest.mark.parametrize(("name", "parameters", "shape"), [
    ("mnist-cnn", 93_322, (28, 28, 1)), ("mnist-cnn-small", 693_962, (28, 28, 1)), ("mnist-mlp", 669_706, (784,)),
])  # fmt: skip
def test_the_zoo_has_the_documents_networks(name, parameters, shape):
    model = zoo.ZOO[name](0)
    assert model.count_params() == parameters
    probabilities = model.predict(rows(2, *shape))
    assert probabilities.shape == (2, 10) and probabilities.sum(1) == pytest.approx(1)


def test_a_layer_changed_after_the_build_is_the_layer_that_computes():
    """The plan holds the layers themselves: a new kernel, or an activation given later, is seen at the next call."""
    model = Sequential([Dense(3, input_shape=(4,)), Activation("relu")])
    x = rows(2, 4)
    model.layers[0].kernel = Parameter(np.zeros((4, 3), np.float32))
    np.testing.assert_array_equal(model(x).numpy(), 0)
    model.layers[0].bias.assign(np.full(3, -1, np.float32))
    model.layers[0].activation = engine.abs
    np.testing.assert_array_equal(model(x).numpy(), 1)


def test_a_parameter_given_between_two_batches_is_not_silently_left_out():
    model = Sequential([Dense(3, input_shape=(4,))], seed=1)
    model.compile("sgd", "mse")
    x, y = rows(8, 4), rows(8, 3)
    model.train_on_batch(x, y)
    model.layers[0].kernel = Parameter(np.zeros((4, 3), np.float32))
    with pytest.raises(ArgumentError, match="SGD: it has other parameters already; make a new optimiser for these"):
        model.train_on_batch(x, y)
    model.compile("sgd", "mse")
    model.train_on_batch(x, y)
    assert np.any(model.layers[0].kernel.numpy())
