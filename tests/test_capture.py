"""A captured step makes the numbers of the step itself, call by call; what can't be repeated is refused.

The device is the strict stand-in, whose graph is a list of work on fixed memory: numbers that the host passed by value
stay what they were when it was recorded, as on a GPU.
"""

from __future__ import annotations

import threading
from typing import NamedTuple

import numpy as np
import pytest

import engine
import layers
import models
import optim
from engine import changes, ops
from engine.parameter import training_mode
from tests.capturing import IMAGES, RATE, captured, device as device, drawn, image_network, stand_in as stand_in

# ------------------------------------------------------------------------------------------------ the numbers


def words(*parts):
    return lambda: models.Sequential([layers.Embedding(20, 8), *(part() for part in parts), layers.Dense(3)], seed=0)


TEXTS = [(np.random.default_rng(i).integers(1, 20, (4, 5)), y) for i, (_, y) in enumerate(IMAGES)]
NETWORKS = {
    "convolutional": (image_network, IMAGES),
    "embedding": (words(layers.Flatten), TEXTS),
    "lstm": (words(lambda: layers.LSTM(5, dropout=0.2, recurrent_dropout=0.2)), TEXTS),
    "gru": (words(lambda: layers.Bidirectional(layers.GRU(4))), TEXTS),
    "attention": (words(lambda: layers.TransformerEncoder(16, 2, dropout=0.2), layers.Flatten), TEXTS),
}  # fmt: skip
OPTIMIZERS = {
    "SGD": lambda p: optim.SGD(p, RATE), "momentum": lambda p: optim.SGD(p, RATE, momentum=0.9, nesterov=True),
    "Adam": lambda p: optim.Adam(p, RATE), "AdamW": lambda p: optim.AdamW(p, RATE, weight_decay=0.1),
    "RMSprop": optim.RMSprop, "Adagrad": optim.Adagrad, "Adadelta": optim.Adadelta,
    "Lion": lambda p: optim.Lion(p, RATE),
    "clipped": lambda p: optim.Adam(p, RATE, global_clipnorm=0.1),
}  # fmt: skip


def trained(make, optimizer, batches, wrap, average=None):
    """The losses of all steps, the parameters after them, and where the optimiser and the generators stand."""
    model = make()
    model.build((None, *batches[0][0].shape[1:]))
    opt, loss = optimizer(model.parameters()), layers.losses.SparseCategoricalCrossentropy(from_logits=True)
    averages = average(model.parameters()) if average else None

    def step(x, y):
        opt.zero_grad()
        with training_mode(True):
            value = loss(y, model(x))
        value.backward()
        opt.step()
        if averages:
            averages.update()
        return value

    run = wrap(step)
    losses = [run(x, y).item() for x, y in batches]
    after = averages.state_dict()["averages"] if averages else {}
    return losses, model.state_dict() | after, (opt.iterations, model.random_state())


def plain(step):
    return lambda x, y: step(engine.tensor(x), engine.tensor(y))


def same(*how, **more):
    want, got = trained(*how, plain, **more), trained(*how, engine.capture, **more)
    assert got[0] == want[0]
    assert got[2] == want[2]
    for path, values in want[1].items():
        np.testing.assert_array_equal(got[1][path], values, err_msg=path)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_captured_step_trains_as_the_plain_one(name):
    make, batches = NETWORKS[name]
    same(make, OPTIMIZERS["Adam"], batches)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_number_of_the_step_and_the_learning_rate_go_on(name):
    same(NETWORKS["embedding"][0], OPTIMIZERS[name], TEXTS)


@pytest.mark.parametrize("average", [optim.EMA, optim.SWA])
def test_averages_go_on(average):
    same(NETWORKS["embedding"][0], OPTIMIZERS["SGD"], TEXTS, average=average)


def test_on_the_cpu_the_step_just_runs():
    with engine.device("cpu"):
        same(*NETWORKS["convolutional"][:1], OPTIMIZERS["Adam"], IMAGES)


# ------------------------------------------------------------------------------------------------ what a call is


def test_arrays_arrive_as_tensors_and_results_stay_where_they_are():
    seen = []

    def step(x, scale, *, shift):
        seen.append((type(x), x.device))
        return {"y": x * scale + shift, "rest": (x.sum(), None)}

    run = captured(step, drawn(3), 2.0, shift=drawn(3, seed=1))
    first = run(drawn(3, seed=2), 2.0, shift=drawn(3, seed=3))
    np.testing.assert_allclose(first["y"].numpy(), 2 * drawn(3, seed=2) + drawn(3, seed=3), rtol=1e-6)
    again = run(drawn(3, seed=4), 2.0, shift=drawn(3, seed=5))
    assert again is first
    np.testing.assert_allclose(first["rest"][0].item(), drawn(3, seed=4).sum(), rtol=1e-5)
    assert first["rest"][1] is None
    assert not first["y"].requires_grad
    assert len(seen) == 2  # its Python ran for the plain call and the recorded one
    assert {kind for kind, _ in seen} == {engine.Tensor}


@pytest.mark.parametrize(
    "nan", [float("nan"), np.float64("nan"), np.float32("nan")], ids=lambda nan: type(nan).__name__
)
def test_a_constant_may_be_nan(nan):
    run = captured(lambda x, fill: ops.where(x > 0, x, fill), drawn(3), nan)
    x = drawn(3, seed=1)
    np.testing.assert_array_equal(run(x, type(nan)("nan")).numpy(), np.where(x > 0, x, np.nan))
    if type(nan) is float:
        with pytest.raises(engine.ArgumentError, match="was recorded as the constant nan, and is 0.0 now"):
            run(x, 0.0)


class Found(NamedTuple):
    loss: engine.Tensor
    rest: list[engine.Tensor]


def test_a_step_may_return_a_named_tuple():
    run = captured(lambda x: Found(x.sum(), [x, 2 * x]), drawn(3))
    found = run(drawn(3, seed=1))
    assert type(found) is Found
    np.testing.assert_allclose(found.loss.item(), drawn(3, seed=1).sum(), rtol=1e-5)
    np.testing.assert_array_equal(found.rest[1].numpy(), 2 * drawn(3, seed=1))


def test_a_decorator_keeps_the_name():
    @engine.capture(warmup=3)
    def double(x):
        """Twice."""
        return 2 * x

    assert (double.__name__, double.__doc__) == ("double", "Twice.")
    for i in range(6):
        np.testing.assert_array_equal(double(drawn(2, seed=i)).numpy(), 2 * drawn(2, seed=i))


def test_the_learning_rate_may_be_set_between_replays():
    w = engine.tensor([1.0], requires_grad=True)
    optimizer = optim.SGD([w], 0.5)

    def step():
        optimizer.zero_grad()
        w.sum().backward()
        optimizer.step()

    run = captured(step)
    optimizer.learning_rate = 0.25
    run()
    assert w.item() == 1 - 0.5 - 0.5 - 0.25


def test_a_graph_that_saved_parameters_notices_that_a_replay_changed_them():
    w = engine.tensor([1.0, 2.0], requires_grad=True)
    optimizer = optim.SGD([w], 0.5)

    def step(x):
        optimizer.zero_grad()
        (w * x).sum().backward()
        optimizer.step()

    run = captured(step, drawn(2))
    y = (w * w).sum()
    run(drawn(2))
    with pytest.raises(engine.GradientError, match="changed in place"):
        y.backward()


def test_a_wrong_index_in_a_replay_is_raised_by_the_next_read():
    table = engine.tensor(drawn(5, 2))
    run = captured(lambda ids: ops.embedding(ids, table), np.array([1, 2]))
    y = run(np.array([0, 9]))
    with pytest.raises(engine.IndexRangeError, match=r"ids\[1\] is 9, but the table has 5 rows"):
        y.numpy()
    np.testing.assert_array_equal(run(np.array([3, 0])).numpy(), table.numpy()[[3, 0]])


def test_results_may_be_the_next_calls_arguments():
    def step(a, b):
        return a + b, a

    run, found = engine.capture(step, warmup=1), []
    a, b = engine.ones(1), engine.ones(1)
    for _ in range(6):
        a, b = run(a, b)
        found.append(a.item())
    assert found == [2, 3, 5, 8, 13, 21]


def test_arrays_go_where_the_step_was_recorded_whatever_device_is_current():
    run = captured(lambda x: 2 * x, drawn(3))
    with engine.device("cpu"):
        np.testing.assert_array_equal(run(drawn(3, seed=1)).numpy(), 2 * drawn(3, seed=1))


def test_gradients_may_be_cleared_and_used_outside_of_the_step():
    w = engine.tensor([1.0, 2.0], requires_grad=True)

    def step(x):
        (w * x).sum().backward()

    run = engine.capture(step, warmup=1)
    for i in range(4):
        w.grad = None
        run(drawn(2, seed=i))
        np.testing.assert_array_equal(w.grad.numpy(), drawn(2, seed=i))
    with pytest.raises(engine.GradientError, match=r"capture: there is a gradient \(shape \(2,\)\).*zero_grad"):
        run(drawn(2))


def test_a_layer_may_clear_the_gradients_in_the_step():
    layer = layers.Dense(1, use_bias=False)
    layer.build((None, 3))

    def step(x):
        layer.zero_grad()
        layer(x).sum().backward()

    run = captured(step, drawn(1, 3))
    for i in range(3):
        run(drawn(1, 3, seed=i))
        np.testing.assert_allclose(layer.kernel.grad.numpy()[:, 0], drawn(1, 3, seed=i)[0], rtol=1e-6)


def test_what_another_thread_changes_is_no_part_of_the_step():
    other = engine.zeros(2)
    thread = threading.Thread(target=other.mark_changed)
    with changes.noted(notes := []):
        thread.start()
        thread.join()
    assert notes == []
