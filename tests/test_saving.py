"""Laws of saved models: a run goes on bit for bit, files are whole or not there, nothing in them runs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import optim
from engine import ops
from engine.errors import ArgumentError, CheckpointError, NotBuiltError
from engine.io import safetensors
from layers import BatchNormalization, Concatenate, Dense, Dropout, Input, Layer, losses
from models import Model, Sequential, load_model, metrics
from models.callbacks import AveragedWeights, Callback, EarlyStopping, ModelCheckpoint, ReduceLROnPlateau

ROOT = Path(__file__).parents[1]
RNG = np.random.default_rng(5)
X = RNG.normal(size=(40, 4)).astype("float32")
Y = RNG.integers(0, 3, 40)

# What both the test and the new process run: a bit of everything that is random or remembered.
RUN = """
import numpy as np
from layers import BatchNormalization, Dense, Dropout
from models import Sequential, load_model
from models.callbacks import AveragedWeights, EarlyStopping, ModelCheckpoint, ReduceLROnPlateau
import optim

rng = np.random.default_rng(5)
X, Y = rng.normal(size=(40, 4)).astype("float32"), rng.integers(0, 3, 40)
FIT = dict(batch_size=8, verbose=0, validation_split=0.2)
FIT["transform"] = lambda x, rng: x + 0.01 * rng.random(x.shape, "float32")


def made():
    first, last = Dense(8, activation="relu", input_shape=(4,)), Dense(3, activation="softmax")
    model = Sequential([first, Dropout(0.3), BatchNormalization(), last], seed=9)
    rate = optim.schedules.CosineDecay(0.01, 100)
    model.compile(optim.AdamW(rate, clipnorm=1.0), "sparse_categorical_crossentropy", metrics=["accuracy", "auc"])
    return model
"""
exec(RUN, namespace := {})
made, FIT = namespace["made"], namespace["FIT"]


def in_a_new_process(code):
    done = subprocess.run(
        [sys.executable, "-c", RUN + code], cwd=ROOT, capture_output=True, text=True, timeout=120, env=environment()
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def environment():
    return os.environ | {"PYTHONPATH": str(ROOT)}


def assert_same(a, b):
    """Weights, optimiser, random state, place: all bits."""
    one, other = a.state_dict(), b.state_dict()
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)
    one, other = a.optimizer.state_dict(), b.optimizer.state_dict()
    assert one["iterations"] == other["iterations"] and one["learning_rate"] == other["learning_rate"]
    for name in one["state"]:
        np.testing.assert_array_equal(one["state"][name], other["state"][name], err_msg=name)
    assert a.random_state() == b.random_state() and (a.epoch, a.step) == (b.epoch, b.step)


# --- a run goes on bit for bit ---------------------------------------------------------------------------------------


def test_two_epochs_and_two_in_a_new_process_are_four(tmp_path):
    whole = made()
    history = whole.fit(X, Y, epochs=4, **FIT).history
    half = made()
    half.fit(X, Y, epochs=2, **FIT)
    half.save(tmp_path / "half.safetensors")
    out = in_a_new_process(f"""
model = load_model({str(tmp_path / "half.safetensors")!r})
history = model.fit(X, Y, epochs=4, initial_epoch=model.epoch, **FIT)
model.save({str(tmp_path / "four.safetensors")!r})
import json; print(json.dumps(history.history))
""")
    assert_same(load_model(tmp_path / "four.safetensors"), whole)
    assert json.loads(out) == {name: values[2:] for name, values in history.items()}


def callbacks(folder):
    return [
        AveragedWeights(decay=0.9),
        EarlyStopping("loss", patience=3, restore_best_weights=True),
        ModelCheckpoint(folder / "step-{epoch}.safetensors", save_freq=3),
        ModelCheckpoint(folder / "epoch-{epoch}.safetensors"),
    ]


@pytest.mark.parametrize(("file", "place"), [("step-2", (1, 3)), ("epoch-2", (2, 0))])
def test_a_run_that_was_killed_goes_on_from_its_checkpoint(tmp_path, file, place):
    """In the middle of an epoch too: its running metrics, the averages and what early stopping remembers included."""
    whole = made()
    history = whole.fit(X, Y, epochs=4, callbacks=callbacks(tmp_path), **FIT).history
    model = load_model(tmp_path / f"{file}.safetensors")
    assert (model.epoch, model.step) == place
    rest = model.fit(X, Y, epochs=4, initial_epoch=model.epoch, callbacks=callbacks(tmp_path / "again"), **FIT).history
    assert_same(model, whole)
    assert rest == {name: values[place[0] :] for name, values in history.items()}


def test_what_callbacks_remember_goes_on(tmp_path):
    class Script(Callback):
        def on_epoch_end(self, epoch, logs=None):
            logs["watched"] = [5, 4, 4, 4, 4, 4][epoch]

    def watch(file):
        plateau = ReduceLROnPlateau("watched", factor=0.5, patience=2)
        return [Script(), plateau, EarlyStopping("watched", patience=4), ModelCheckpoint(tmp_path / file)]

    def small():
        model = Sequential([Dense(3, activation="softmax", input_shape=(4,))], seed=1)
        model.compile("sgd", "sparse_categorical_crossentropy")
        return model

    whole = small()
    history = whole.fit(X, Y, epochs=6, callbacks=watch("{epoch}.safetensors"), verbose=0)
    model = load_model(tmp_path / "3.safetensors")
    again = watch("again-{epoch}.safetensors")
    rest = model.fit(X, Y, epochs=6, initial_epoch=model.epoch, callbacks=again, verbose=0)
    assert rest.epoch == history.epoch[3:] and rest.history["learning_rate"] == history.history["learning_rate"][3:]
    assert_same(model, whole)


def test_a_run_that_stands_within_an_epoch_needs_the_same_data(tmp_path):
    made().fit(X, Y, epochs=1, callbacks=ModelCheckpoint(tmp_path / "m.safetensors", save_freq=3), **FIT)
    model = load_model(tmp_path / "m.safetensors")
    with pytest.raises(ArgumentError, match="stands at step 3 of 4 in an epoch, but this data makes 2 steps"):
        model.fit(X, Y, epochs=1, **FIT | {"batch_size": 16})


def test_a_fit_that_broke_off_begins_its_next_epoch():
    class Break(Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 1:
                raise KeyboardInterrupt

    model = made()
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y, callbacks=Break(), **FIT)
    assert (model.epoch, model.step) == (0, 2)
    model.fit(X, Y, **FIT)
    assert (model.epoch, model.step) == (2, 0)


# --- what is in a file -----------------------------------------------------------------------------------------------


def test_a_file_is_plain_numbers_and_json(tmp_path):
    model, path = made(), tmp_path / "m.safetensors"
    model.fit(X, Y, epochs=1, **FIT)
    model.save(path)
    arrays, state = safetensors.load_checkpoint(path)
    assert set(model.state_dict()) == {name for name in arrays if "/" not in name}
    assert {"optimizer/state/0.m", "optimizer/state/0.v"} <= arrays.keys()
    assert state["model"]["class_name"] == "Sequential" and state["epoch"] == 1
    assert state["compiled"]["loss"] == "sparse_categorical_crossentropy"
    assert state["optimizer"]["class"]["config"]["learning_rate"]["class_name"] == "CosineDecay"


def functional():
    a, b = Input((4,), name="left"), Input((4,), name="right")
    shared = Dense(5, activation="gelu", kernel_regularizer="l2")
    h = Concatenate()([shared(a), shared(b)])
    outputs = {"kind": Dense(3, activation="softmax")(h), "size": Dense(1)(2.0 * h - 1.0)}
    model = Model([a, b], outputs, seed=4)
    model.compile(
        optim.SGD(0.1, momentum=0.9),
        {"kind": losses.SparseCategoricalCrossentropy(), "size": losses.MeanSquaredError(reduction="sum")},
        loss_weights={"size": 0.5},
        metrics={"kind": ["accuracy", metrics.F1Score("weighted")], "size": "mae"},
    )
    return model, [X, X[::-1]], {"kind": Y, "size": X[:, 0]}


class Scaled(Layer):
    """A layer of the user's own."""

    def __init__(self, factor=2.0, **options):
        super().__init__(**options)
        self.factor = factor

    def call(self, x):
        return self.factor * x


class Net(Model):
    def __init__(self, units=6, **options):
        super().__init__(**options)
        self.units = units
        self.inner = Sequential([Dense(units, activation="relu"), BatchNormalization()])
        self.out = Dense(3, activation="softmax")

    def call(self, x):
        return self.out(self.inner(x))


def subclassed():
    model = Net(seed=2)
    model.compile("rmsprop", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model, X, Y


def with_own_layer():
    model = Sequential([Scaled(3.0, input_shape=(4,)), Dense(3, activation="softmax")], seed=2)
    model.layers[1].bias.trainable = False
    model.compile("adam", "sparse_categorical_crossentropy")
    return model, X, Y


def nested():
    inner = Sequential([Dense(4, activation="tanh", input_shape=(4,)), Dropout(0.2)])
    x = Input((4,))
    model = Model(x, Dense(3, activation="softmax")(inner(x) + x), seed=2)
    model.compile("lion", "sparse_categorical_crossentropy")
    return model, X, Y


@pytest.mark.parametrize("make", [functional, subclassed, with_own_layer, nested])
def test_every_kind_of_model_comes_back_and_goes_on(make, tmp_path):
    model, x, y = make()
    model.fit(x, y, epochs=1, batch_size=8, verbose=0)
    model.save(tmp_path / "m.safetensors")
    again = load_model(tmp_path / "m.safetensors")
    assert type(again) is type(model) and [p.trainable for p in again.weights] == [p.trainable for p in model.weights]
    assert again.evaluate(x, y, verbose=0, return_dict=True) == model.evaluate(x, y, verbose=0, return_dict=True)
    for m in (model, again):
        m.fit(x, y, epochs=2, initial_epoch=1, batch_size=8, verbose=0)
    assert_same(again, model)


def test_groups_of_an_optimiser_come_back(tmp_path):
    model = Sequential([Dense(4, input_shape=(4,)), Dense(3, activation="softmax")], seed=1)
    head, body = model.layers[1].parameters(), model.layers[0].parameters()
    groups = [{"params": head}, {"params": body, "learning_rate": optim.schedules.ExponentialDecay(0.1, 10, 0.5)}]
    model.compile(optim.Adam(groups), "sparse_categorical_crossentropy")
    model.fit(X, Y, verbose=0)
    model.save(tmp_path / "m.safetensors")
    again = load_model(tmp_path / "m.safetensors")
    for m in (model, again):
        m.fit(X, Y, verbose=0)
    assert_same(again, model)


def test_functions_come_back_through_custom_objects(tmp_path):
    def gap(y_true, y_pred):
        return ops.square(y_pred - y_true)

    model = Sequential([Dense(1, input_shape=(4,))], seed=1)
    model.compile("sgd", gap, metrics=[gap])
    model.save(tmp_path / "m.safetensors")
    with pytest.raises(CheckpointError, match=r"with a function 'gap': pass custom_objects=\{'gap': ...\}, or"):
        load_model(tmp_path / "m.safetensors")
    assert load_model(tmp_path / "m.safetensors", compile=False).objective is None
    again = load_model(tmp_path / "m.safetensors", {"gap": gap})
    assert again.objective.asked["loss"] is gap


def test_a_class_may_be_given_in_another_ones_place(tmp_path):
    class Quiet(Scaled):
        pass

    model, _, _ = with_own_layer()
    model.save(tmp_path / "m.safetensors")
    before = dict(Layer.table)
    again = load_model(tmp_path / "m.safetensors", custom_objects={"Scaled": Quiet})
    assert type(again.layers[0]) is Quiet and Layer.table == before


def test_weights_alone(tmp_path):
    a, b, path = made(), made(), tmp_path / "w.safetensors"
    a.fit(X, Y, epochs=1, **FIT)
    a.save_weights(path)
    assert b.load_weights(path) == ([], [])
    np.testing.assert_array_equal(a.predict(X), b.predict(X))
    a.save(tmp_path / "m.safetensors")
    made().load_weights(tmp_path / "m.safetensors")  # a whole model holds weights, too
    other = Sequential([Dense(8, input_shape=(4,)), Dense(2)], seed=0)
    with pytest.raises(CheckpointError, match=r"w.safetensors: it does not fit this model .*of another shape|missing"):
        other.load_weights(path)
    lonely = Sequential([Dense(8, activation="relu", input_shape=(4,))], seed=0)
    assert "2.gamma" in lonely.load_weights(path, strict=False).unexpected


# --- bad files -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    path = tmp_path_factory.mktemp("good") / "m.safetensors"
    model = made()
    model.fit(X, Y, epochs=1, **FIT)
    model.save(path)
    return path


def changed(path, where, **entries):
    """The file with other entries in its state: a foreign, newer or forged one."""
    arrays, state = safetensors.load_checkpoint(path)
    safetensors.save_checkpoint(where, arrays, state | entries)
    return where


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda good, at: at, "there is no such file: check the path"),
        (lambda good, at: at.parent, "this is a folder: name a file in it"),
        (lambda good, at: (at.write_bytes(good.read_bytes()[:-100]), at)[1], "cut short or damaged"),
        (lambda good, at: (at.write_bytes(b""), at)[1], "cut short or damaged"),
        (lambda good, at: (at.write_bytes(b"PK\3\4" + bytes(500)), at)[1], "it is no safetensors file"),
        (lambda good, at: (at.write_bytes(flipped(good.read_bytes())), at)[1], "it is damaged"),
        (lambda good, at: (safetensors.save(at, {"w": np.zeros(3)}), at)[1], "holds arrays but no state"),
        (lambda good, at: changed(good, at, format=99), r"format is 99 .* reads up to 1: .*upgrade with"),
        (lambda good, at: changed(good, at, format="x"), "its format is x"),
        (lambda good, at: changed(good, at, model={"class_name": "Popen", "config": {}}), "there is no layer 'Popen'"),
        (lambda good, at: changed(good, at, model={"class_name": "Dense", "config": {"run": 1}}), "no model"),
        (lambda good, at: changed(good, at, model=None), "no model that can be built here"),
        (lambda good, at: changed(good, at, random={}), "differ in the generators"),
        (lambda good, at: changed(good, at, optimizer={}), "KeyError"),
    ],
)  # fmt: skip
def test_bad_files_are_errors_that_name_the_remedy(good, tmp_path, make, text):
    with pytest.raises(CheckpointError, match=text):
        load_model(make(good, tmp_path / "bad.safetensors"))


def flipped(raw):
    """One bit of the last array is another."""
    return raw[:-5] + bytes([raw[-5] ^ 1]) + raw[-4:]


def test_what_cannot_be_saved_leaves_no_file(tmp_path):
    path = tmp_path / "m.safetensors"
    with pytest.raises(NotBuiltError, match="call build"):
        Sequential([Dense(3)]).save(path)
    with pytest.raises(ArgumentError, match="use a name that Chain Rule knows"):
        Sequential([Dense(3, activation=lambda x: x * 2, input_shape=(2,))]).save(path)
    assert list(tmp_path.iterdir()) == []


# --- a crash ---------------------------------------------------------------------------------------------------------


def test_a_training_that_is_killed_leaves_a_checkpoint_that_loads(tmp_path):
    """kill -9 at any moment: the path holds a complete file, of one moment."""
    path = tmp_path / "m.safetensors"
    code = RUN + f"""
from models.callbacks import ModelCheckpoint
made().fit(X, Y, epochs=10**6, callbacks=ModelCheckpoint({str(path)!r}, save_freq=1), **FIT)
"""
    steps = []
    for kill in range(6):
        run = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env=environment(), stderr=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + 60
            seen = path.stat().st_mtime_ns if path.exists() else 0
            for _ in range(kill + 1):  # so many saves, whatever the machine's speed, and a moment more
                while not path.exists() or path.stat().st_mtime_ns == seen:
                    assert run.poll() is None and time.monotonic() < deadline
                    time.sleep(0.002)
                seen = path.stat().st_mtime_ns
            time.sleep(0.004 * kill)
        finally:
            run.send_signal(signal.SIGKILL)
            run.wait()
        model = load_model(path)
        assert model.optimizer.iterations == 4 * model.epoch + model.step  # weights and place are of one moment
        steps.append(model.optimizer.iterations)
    assert len(set(steps)) > 1, steps
    model.fit(X, Y, epochs=model.epoch + 1, initial_epoch=model.epoch, **FIT)
