"""Laws of training: fit is its steps and no more, data is looked at once, callbacks do what they say."""

from __future__ import annotations

import csv
import gc
import time

import numpy as np
import pytest

import optim
from data import Batches
from engine import ops
from engine.errors import ArgumentError, DataError, DTypeError, IndexRangeError, NotBuiltError, ShapeError
from engine.parameter import training_mode
from layers import BatchNormalization, Dense, Dropout, Input, losses
from models import Model, Sequential, load_model, metrics
from models.callbacks import (
    AveragedWeights,
    Callback,
    CSVLogger,
    EarlyStopping,
    LearningRateScheduler,
    ModelCheckpoint,
    ReduceLROnPlateau,
    TerminateOnNaN,
)
from models.progress import duration, line

RNG = np.random.default_rng(11)
X = RNG.normal(size=(50, 4)).astype("float32")
LABELS = (X[:, 0] + X[:, 1] > 0).astype(int) + (X[:, 2] > 0.5)
ONE_HOT = np.eye(3, dtype="float32")[LABELS]


def classifier(seed=3, loss="sparse_categorical_crossentropy", optimizer="adam", **options):
    model = Sequential([Dense(8, activation="relu", input_shape=(4,)), Dense(3, activation="softmax")], seed=seed)
    model.compile(optimizer, loss, **{"metrics": ["accuracy"], **options})
    return model


def same_weights(a, b):
    return all(np.array_equal(v, b.state_dict()[k]) for k, v in a.state_dict().items())


# --- fit is its steps ------------------------------------------------------------------------------------------------


def test_fit_is_the_loop_that_the_book_writes():
    model, twin = classifier(), classifier()
    history = model.fit(X, LABELS, batch_size=16, epochs=3, verbose=0)
    optimizer, loss_of = optim.Adam(twin.parameters()), losses.SparseCategoricalCrossentropy()
    batches = Batches(X, LABELS, 16, seed=twin._data_seed())
    for epoch in range(3):
        total = hits = 0.0
        for x, y in batches:
            with training_mode(True):
                p = twin(x)
                loss = loss_of(y, p)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(x)
            hits += (p.numpy().argmax(1) == y).sum()
        assert history.history["loss"][epoch] == pytest.approx(total / 50, rel=1e-12)
        assert history.history["accuracy"][epoch] == hits / 50
    assert same_weights(model, twin)
    assert all(type(v) is float for values in history.history.values() for v in values)
    assert history.epoch == [0, 1, 2] and len(history.seconds) == 3


def test_two_fits_are_one_longer_fit():
    once, twice = classifier(), classifier()
    once.fit(X, LABELS, epochs=3, verbose=0)
    twice.fit(X, LABELS, epochs=1, verbose=0)
    twice.fit(X, LABELS, epochs=3, initial_epoch=1, verbose=0)
    assert same_weights(once, twice) and twice.epoch == 3


def test_train_on_batch_is_one_step():
    model, twin = classifier(), classifier()
    logs = model.train_on_batch(X, LABELS, return_dict=True)
    twin.fit(X, LABELS, batch_size=50, shuffle=False, verbose=0)
    assert same_weights(model, twin)
    assert logs == {name: values[0] for name, values in twin.history.history.items()}
    assert model.test_on_batch(X, LABELS) == model.evaluate(X, LABELS, batch_size=50, verbose=0)


def test_learning_happens():
    history = classifier(optimizer=optim.Adam(0.01)).fit(X, LABELS, batch_size=10, epochs=60, verbose=0).history
    assert history["accuracy"][-1] > 0.9 and history["loss"][-1] < history["loss"][0] / 2


def test_evaluate_is_the_mean_over_all_rows_however_they_are_cut():
    model = classifier()
    whole = model.evaluate(X, LABELS, batch_size=50, verbose=0)
    np.testing.assert_allclose(model.evaluate(X, LABELS, batch_size=7, verbose=0), whole, rtol=1e-6)
    p = model.predict(X)
    assert whole[0] == pytest.approx(-np.log(p[np.arange(50), LABELS]).mean(), rel=1e-5)
    assert whole[1] == (p.argmax(1) == LABELS).mean()
    assert model.evaluate(X, LABELS, verbose=0, return_dict=True).keys() == {"loss", "accuracy"}
    assert isinstance(classifier(metrics=None).evaluate(X, LABELS, verbose=0), float)


def test_evaluation_is_not_training():
    model = Sequential([Dense(8, input_shape=(4,)), BatchNormalization(), Dropout(0.5), Dense(3)], seed=1)
    model.compile("adam", losses.SparseCategoricalCrossentropy(from_logits=True))
    before, random = model.state_dict(), model.random_state()
    assert model.evaluate(X, LABELS, verbose=0) == model.evaluate(X, LABELS, verbose=0)
    assert all(np.array_equal(v, model.state_dict()[k]) for k, v in before.items())
    assert model.random_state() == random and all(p.grad is None for p in model.parameters())


def test_equal_seeds_give_equal_runs_and_others_do_not():
    a, b, c = classifier(1), classifier(1), classifier(2)
    for model in (a, b, c):
        model.fit(X, LABELS, epochs=2, verbose=0)
    assert same_weights(a, b) and not same_weights(a, c)


def test_float64_data_is_cast_to_the_models_dtype_once():
    a, b = classifier(loss="categorical_crossentropy"), classifier(loss="categorical_crossentropy")
    a.fit(X.astype("float64"), ONE_HOT.astype("float64"), verbose=0)
    b.fit(X, ONE_HOT, verbose=0)
    assert same_weights(a, b) and a.weights[0].dtype == np.float32


@pytest.mark.parametrize("how", ["lists", "batches", "tensors"])
def test_data_may_come_in_other_clothes(how):
    from engine import tensor

    a, b = classifier(), classifier()
    a.fit(X, LABELS, batch_size=16, verbose=0)
    if how == "lists":
        b.fit(X.tolist(), LABELS.tolist(), batch_size=16, verbose=0)
    elif how == "tensors":
        b.fit(tensor(X), tensor(LABELS), batch_size=16, verbose=0)
    else:
        b.fit(Batches(X, LABELS, 16, seed=b._data_seed()), verbose=0)
    assert same_weights(a, b)


def test_a_transform_sees_every_batch_and_keeps_the_run_reproducible():
    def noise(x, rng):
        return x + rng.normal(size=x.shape).astype("float32")

    a, b, plain = classifier(), classifier(), classifier()
    a.fit(X, LABELS, epochs=2, transform=noise, prefetch=0, verbose=0)
    b.fit(X, LABELS, epochs=2, transform=noise, prefetch=3, verbose=0)
    plain.fit(X, LABELS, epochs=2, verbose=0)
    assert same_weights(a, b) and not same_weights(a, plain)


# --- losses, weights, several outputs --------------------------------------------------------------------------------


def test_regularizers_are_part_of_the_loss():
    model = Sequential([Dense(3, kernel_regularizer="l2", activation="softmax", input_shape=(4,))], seed=1)
    model.compile("sgd", "sparse_categorical_crossentropy")
    penalty = 0.01 * float((model.weights[0].numpy() ** 2).sum())
    data = -np.log(model.predict(X)[np.arange(50), LABELS]).mean()
    assert model.evaluate(X, LABELS, batch_size=50, verbose=0) == pytest.approx(data + penalty, rel=1e-5)


def test_class_weights_are_sample_weights_are_repeated_rows():
    weights = {0: 1.0, 1: 2.0, 2: 0.0}
    rows = np.array([weights[c] for c in LABELS], "float32")
    a, b, c = classifier(), classifier(), classifier(loss="categorical_crossentropy")
    a.fit(X, LABELS, class_weight=weights, verbose=0, epochs=2)
    b.fit(X, LABELS, sample_weight=rows, verbose=0, epochs=2)
    c.fit(X, ONE_HOT, class_weight=weights, verbose=0, epochs=2)
    assert same_weights(a, b)
    for v, w in zip(a.get_weights(), c.get_weights(), strict=True):
        np.testing.assert_allclose(v, w, rtol=1e-4, atol=1e-6)
    kept = np.repeat(np.arange(50), rows.astype(int))  # a weight of 2 is a row that is there twice
    d = classifier(optimizer=optim.SGD(0.1))
    e = classifier(optimizer=optim.SGD(0.1))
    d.train_on_batch(X, LABELS, sample_weight=rows * 50 / len(kept))
    e.train_on_batch(X[kept], LABELS[kept])
    for v, w in zip(d.get_weights(), e.get_weights(), strict=True):
        np.testing.assert_allclose(v, w, rtol=1e-4, atol=1e-6)


def test_metrics_and_weighted_metrics():
    model = classifier(metrics=["accuracy"], weighted_metrics=[metrics.SparseCategoricalAccuracy("weighted")])
    w = np.arange(50.0)
    logs = model.evaluate(X, LABELS, sample_weight=w, verbose=0, return_dict=True)
    hits = model.predict(X).argmax(1) == LABELS
    assert logs["accuracy"] == hits.mean() and logs["weighted"] == pytest.approx(np.average(hits, weights=w))


def test_functions_may_be_losses_and_metrics():
    def loss(y_true, y_pred):
        return ops.square(y_pred - y_true)

    def worst(y_true, y_pred):
        return abs(y_true - y_pred).max(-1)

    a, b = classifier(loss=loss, metrics=[worst]), classifier(loss="mse", metrics=None)
    a.fit(X, ONE_HOT, verbose=0)
    b.fit(X, ONE_HOT, verbose=0)
    assert same_weights(a, b)
    assert a.history.history.keys() == {"loss", "worst"}


def two_outputs(**options):
    left, right = Input((2,), name="left"), Input((2,), name="right")
    h = Dense(8, activation="tanh")
    model = Model([left, right], {"kind": Dense(3, activation="softmax")(h(left)), "size": Dense(1)(h(right))}, seed=1)
    model.compile("sgd", {"kind": "sparse_categorical_crossentropy", "size": "mse"}, **options)
    return model


def test_several_inputs_and_outputs_by_name_and_in_order():
    a = two_outputs(loss_weights={"size": 0.25}, metrics={"kind": "accuracy", "size": ["mae", "mse"]})
    b = two_outputs(loss_weights=[1, 0.25])
    a.fit({"right": X[:, 2:], "left": X[:, :2]}, {"size": X[:, :1], "kind": LABELS}, verbose=0)
    b.fit([X[:, :2], X[:, 2:]], [LABELS, X[:, 0]], verbose=0)
    assert same_weights(a, b)
    logs = a.evaluate([X[:, :2], X[:, 2:]], [LABELS, X[:, 0]], verbose=0, return_dict=True)
    names = ["loss", "kind_loss", "size_loss", "kind_accuracy", "size_mae", "size_mse"]
    assert list(logs) == names
    assert logs["loss"] == pytest.approx(logs["kind_loss"] + 0.25 * logs["size_loss"])
    assert logs["size_loss"] == pytest.approx(logs["size_mse"], rel=1e-5)


def test_only_the_optimisers_own_parameters_move():
    model = Sequential([Dense(8, activation="relu", input_shape=(4,)), Dense(3, activation="softmax")], seed=3)
    model.compile(optim.Adam(model.layers[1].parameters()), "sparse_categorical_crossentropy")
    before = model.state_dict()
    model.fit(X, LABELS, verbose=0)
    after = model.state_dict()
    assert [k for k in before if not np.array_equal(before[k], after[k])] == ["1.kernel", "1.bias"]


# --- validation, history, what it says -------------------------------------------------------------------------------


def test_validation_is_evaluate_after_each_epoch():
    model = classifier()
    history = model.fit(X[:40], LABELS[:40], epochs=2, validation_data=(X[40:], LABELS[40:]), verbose=0).history
    assert list(history) == ["loss", "accuracy", "val_loss", "val_accuracy"]
    assert [history["val_loss"][-1], history["val_accuracy"][-1]] == model.evaluate(X[40:], LABELS[40:], verbose=0)
    twin = classifier()
    twin.fit(X, LABELS, epochs=2, validation_split=0.2, verbose=0)  # the last rows are held back
    assert same_weights(model, twin) and twin.history.history == history


def test_a_line_an_epoch(capsys):
    model = classifier()
    model.fit(X, LABELS, epochs=2, validation_split=0.2, verbose=2)
    model.fit(X, LABELS, epochs=1)  # no terminal here: the same
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 and lines[1].startswith("Epoch 2/2  2/2  ")
    for word in ("ms/step  loss ", "  accuracy ", "  val_loss ", "  val_accuracy "):
        assert word in lines[0].replace("us/step", "ms/step").replace(" s/step", " ms/step")
    model.evaluate(X, LABELS, verbose=1)
    assert capsys.readouterr().out.startswith("2/2  ")
    model.fit(X, LABELS, verbose=0)
    assert capsys.readouterr().out == ""


def test_a_bar_on_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setattr("models.progress.EVERY", 0.0)
    classifier().fit(X, LABELS, epochs=1, batch_size=10)
    assert "Epoch 1/1  5/5" in capsys.readouterr().out


def test_words_for_numbers():
    assert line(["Epoch 3/10", "938/938"], {"loss": 0.03121, "lr": 1e-5, "big": 1234.5, "matrix": [[1]]}) == (
        "Epoch 3/10  938/938  loss 0.0312  lr 1e-05  big 1234"
    )
    seconds = [4e-5, 0.0043, 0.84, 4.14, 80, 7500]
    assert [duration(s) for s in seconds] == ["40 us", "4.3 ms", "840 ms", "4.1 s", "1 min 20 s", "2 h 05 min"]


# --- errors ----------------------------------------------------------------------------------------------------------

NAN = np.where(np.arange(200).reshape(50, 4) == 6, np.nan, X)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda m: Sequential([Dense(2)]).fit(X, LABELS), NotBuiltError, r"fit: compile\(\) comes first"),
        (lambda m: m.fit(X), ArgumentError, "fit: y is missing"),
        (lambda m: m.fit(X[:0], LABELS[:0]), DataError, r"fit: x holds no rows, its shape is \(0, 4\)"),
        (lambda m: m.fit(NAN, LABELS), DataError, r"x of shape \(50, 4\) holds 1 NaN .* x\[1, 2\]"),
        (lambda m: m.fit(X, LABELS[:9]), ShapeError, "fit: x has 50 rows, y has 9 rows"),
        (lambda m: m.fit(X, LABELS, sample_weight=np.ones(3)), ShapeError, "x has 50 rows, sample_weight has 3 rows"),
        (lambda m: m.fit(X, LABELS, sample_weight=-np.ones(50)), DataError, "sample_weight holds negative numbers"),
        (lambda m: m.fit(X, LABELS, sample_weight=np.ones((50, 2))), ShapeError, r"sample_weight has shape \(50, 2\)"),
        (lambda m: m.fit(X[:, :3], LABELS), ShapeError, r"takes \(4,\): bring each sample to this size$"),
        (lambda m: m.fit(X[0], LABELS[:4]), ShapeError, r"one sample is \(\), but the model takes \(4,\)"),
        (lambda m: m.predict(X[0]), ShapeError, r"a single sample needs a batch axis, x\[None\]"),
        (lambda m: m.fit(X.astype(str), LABELS), DTypeError, "fit: x has dtype <U"),
        (lambda m: m.fit(X, LABELS + 1), IndexRangeError, r"y\[\d+\] is label 3, but the output has 3 classes, 0 to 2"),
        (lambda m: m.fit(X, LABELS - 1), IndexRangeError, "is label -1, .* number the classes from 0"),
        (lambda m: m.fit(X, LABELS + 0.5), DTypeError, "y holds fractions"),
        (lambda m: m.fit(X, ONE_HOT), ShapeError, "for one-hot rows use categorical_crossentropy"),
        (lambda m: m.fit(X, LABELS, batch_size=0), ArgumentError, "batch_size=0 must be a whole number of at least 1"),
        (lambda m: m.fit(X, LABELS, epochs=1.5), ArgumentError, "epochs=1.5 must be a whole number"),
        (lambda m: m.fit(X, LABELS, validation_split=1.0), ArgumentError, "validation_split=1.0 is a share"),
        (lambda m: m.fit(X[:1], LABELS[:1], validation_split=0.5), ArgumentError, "leaves 0 to train on and 1"),
        (lambda m: m.fit(X, LABELS, validation_data=(X, LABELS[:3])), ShapeError, "validation_data: x has 50 rows"),
        (lambda m: m.fit(X, LABELS, validation_data=X), ArgumentError, r"validation_data is \(x, y\)"),
        (lambda m: m.fit(X, LABELS, verbose=3), ArgumentError, "verbose is 3; it is"),
        (lambda m: m.fit(X, LABELS, callbacks=[print]), ArgumentError, "no models.callbacks.Callback object"),
        (lambda m: m.fit({"z": X}, LABELS), ArgumentError, "x is a dict with z, but the model's names are x"),
        (lambda m: m.fit(X, [LABELS, LABELS]), ShapeError, "x has 50 rows, y has 2 rows"),
        (lambda m: m.fit(Batches(X), LABELS), ArgumentError, "x is a Batches without y"),
        (lambda m: m.evaluate(X, LABELS + 1), IndexRangeError, "evaluate: y"),
        (lambda m: classifier(metrics=["acuracy"]).fit(X, LABELS), ArgumentError, "'acuracy', which is none of"),
        (lambda m: classifier(loss=None).fit(X, LABELS), ArgumentError, r"compile\(\) named no loss"),
        (lambda m: classifier(loss="crossentropy"), ArgumentError, "no loss 'crossentropy'"),
        (lambda m: classifier(optimizer="adamm"), ArgumentError, "no optimizer 'adamm'"),
        (
            lambda m: classifier(loss="categorical_crossentropy").fit(X, LABELS),
            ShapeError,
            r"y has shape \(50,\), but the model's output is \(N, 3\), .* data.to_categorical\(y, 3\) makes one-hot",
        ),
        (
            lambda m: classifier(loss="categorical_crossentropy").fit(X, 2 * ONE_HOT),
            DataError,
            r"holds values from 0.0 to 2.0, but categorical_crossentropy takes probabilities",
        ),
        (lambda m: two_outputs(loss_weights=[1]).fit([X[:, :2]] * 2, [LABELS, X[:, 0]]), ArgumentError, "1 entries"),
        (lambda m: two_outputs().fit([X[:, :2]], [LABELS, X[:, 0]]), ShapeError, "takes 2: left, right"),
        (
            lambda m: two_outputs(metrics=[metrics.AUC()]).fit([X[:, :2]] * 2, [LABELS, X[:, 0]]),
            ArgumentError,
            "give a dict by name",
        ),
        (
            lambda m: two_outputs(metrics={"sort": "mae"}).fit([X[:, :2]] * 2, [LABELS, X[:, 0]]),
            ArgumentError,
            r"names \['sort'\], but the outputs are kind, size",
        ),
    ],
)  # fmt: skip
def test_errors_name_the_argument_and_the_remedy(call, error, text):
    with pytest.raises(error, match=text):
        call(classifier())


def test_an_error_leaves_the_model_as_it_was():
    model = classifier()
    before = model.state_dict()
    with pytest.raises(IndexRangeError):
        model.fit(X, LABELS + 1, verbose=0)
    assert all(np.array_equal(v, model.state_dict()[k]) for k, v in before.items()) and model.epoch == model.step == 0


def test_images_without_a_channel_axis_are_told_so():
    from layers import Conv2D, Flatten

    model = Sequential([Conv2D(2, 3, input_shape=(6, 6, 1)), Flatten(), Dense(2)])
    model.compile("adam", "mse")
    with pytest.raises(ShapeError, match=r"the model takes \(6, 6, 1\): add the channel axis, x\[\.\.\., None\]"):
        model.fit(np.zeros((4, 6, 6)), np.zeros((4, 2)))


def test_texts_of_another_length_are_told_how_any_length_fits():
    from layers import Embedding, Flatten

    model = Sequential([Embedding(5, 2, input_shape=(3,)), Flatten(), Dense(1)])
    with pytest.raises(ShapeError, match=r"bring each sample to this size, or begin the model with Input\(\(None,\)\)"):
        model.predict(np.ones((2, 4), int))
    with pytest.raises(ShapeError, match=r"the model takes \(3,\): reshape it to \(N, 3\)"):
        model.predict(np.ones((2, 3, 1), int))


# --- callbacks -------------------------------------------------------------------------------------------------------


class Script(Callback):
    """Puts numbers into the logs, one an epoch."""

    def __init__(self, *values, name="val_loss"):
        self.values, self.name = values, name

    def on_epoch_end(self, epoch, logs=None):
        logs[self.name] = self.values[epoch]


def run(*callbacks, epochs=10, model=None):
    model = model or classifier()
    return model, model.fit(X, LABELS, epochs=epochs, callbacks=list(callbacks), verbose=0)


def test_hooks_are_called_in_order():
    calls = []

    class Spy(Callback):
        pass

    for name in ("train_begin", "epoch_begin", "train_batch_begin", "train_batch_end", "test_begin", "test_end",
                 "epoch_end", "train_end"):  # fmt: skip
        setattr(Spy, f"on_{name}", lambda self, *a, name=name: calls.append((name, *a[:-1])))
    model = classifier()
    model.fit(X, LABELS, batch_size=25, epochs=1, validation_split=0.5, callbacks=Spy(), verbose=0)
    assert calls == [
        ("train_begin",), ("epoch_begin", 0), ("train_batch_begin", 0), ("train_batch_end", 0),
        ("test_begin",), ("test_end",), ("epoch_end", 0), ("train_end",),
    ]  # fmt: skip


def test_early_stopping_waits_and_brings_back_the_best():
    weights = []

    class Keep(Callback):
        def on_epoch_end(self, epoch, logs=None):
            weights.append(self.model.state_dict())

    stop = EarlyStopping(patience=2, restore_best_weights=True)
    model, history = run(Script(5, 4, 4, 3, 3.5, 3, 2, 1), Keep(), stop)
    assert len(history.epoch) == 6 and stop.stopped_epoch == 5 and stop.best_epoch == 3
    assert all(np.array_equal(v, model.state_dict()[k]) for k, v in weights[3].items())
    rises = EarlyStopping("val_accuracy", patience=1)
    assert len(run(Script(0.1, 0.2, 0.3, 0.3, 0.9, name="val_accuracy"), rises)[1].epoch) == 4
    assert len(run(Script(5, 4, 3, 2, 1, 1, 1), EarlyStopping(min_delta=2, patience=1), epochs=7)[1].epoch) == 2
    assert len(run(Script(5, 5, 5, 4), EarlyStopping(patience=1, start_from_epoch=2), epochs=4)[1].epoch) == 4


def test_a_used_early_stopping_starts_afresh():
    stop = EarlyStopping(patience=1)
    assert len(run(Script(2, 3), stop)[1].epoch) == 2
    assert len(run(Script(9, 8, 9), stop)[1].epoch) == 3


def test_a_monitor_that_is_not_there_is_named():
    with pytest.raises(ArgumentError, match=r"monitor='val_loss' is not among the logs \(loss, accuracy\); give fit"):
        run(EarlyStopping())
    with pytest.raises(ArgumentError, match=r"monitor='val_los' is not among .*val_loss.*: watch one"):
        classifier().fit(X, LABELS, validation_split=0.2, verbose=0, callbacks=[EarlyStopping("val_los")])
    with pytest.raises(ArgumentError, match='mode=\'least\' must be "auto"'):
        EarlyStopping(mode="least")


def test_learning_rate_scheduler_sets_and_logs_the_rate():
    _, history = run(LearningRateScheduler(lambda epoch, rate: rate / 2 if epoch else 0.5), epochs=3)
    assert history.history["learning_rate"] == [0.5, 0.25, 0.125]
    _, history = run(LearningRateScheduler(lambda epoch: 0.1), epochs=1)
    assert history.history["learning_rate"] == [0.1]
    with pytest.raises(ArgumentError, match="returned None; it returns a number"):
        run(LearningRateScheduler(lambda epoch: None))


def test_reduce_on_plateau():
    model, history = run(Script(5, 4, 4, 4, 4, 3, 3), ReduceLROnPlateau(factor=0.5, patience=2), epochs=7)
    assert history.history["learning_rate"] == [0.001] * 4 + [0.0005] * 3
    model, history = run(Script(*[1] * 6), ReduceLROnPlateau(factor=0.1, patience=1, min_lr=2e-4), epochs=6)
    assert model.optimizer.learning_rate == pytest.approx(2e-4)
    _, history = run(Script(*[1] * 6), ReduceLROnPlateau(factor=0.5, patience=1, cooldown=2), epochs=6)
    np.testing.assert_allclose(history.history["learning_rate"], [1e-3, 1e-3, 5e-4, 5e-4, 2.5e-4, 2.5e-4])
    with pytest.raises(ArgumentError, match="factor=2"):
        ReduceLROnPlateau(factor=2)


def test_terminate_on_nan_ends_at_that_step(capsys):
    model = classifier(loss=lambda t, p: ops.sum(p) * np.float32(np.nan))
    history = model.fit(X, ONE_HOT, epochs=5, batch_size=10, callbacks=TerminateOnNaN(), verbose=0)
    assert len(history.epoch) == 1 and model.optimizer.iterations == 1
    assert "the loss is nan, training ends" in capsys.readouterr().out


def test_csv_logger_writes_each_epoch_at_once(tmp_path):
    path, seen = tmp_path / "deep" / "log.csv", []

    class Look(Callback):
        def on_epoch_end(self, epoch, logs=None):
            seen.append(len(path.read_text().splitlines()))

    model, history = run(CSVLogger(path), Look(), epochs=2)
    run(CSVLogger(path, append=True), epochs=1)
    with open(path, newline="") as file:
        table = list(csv.DictReader(file))
    assert seen == [2, 3] and [row["epoch"] for row in table] == ["0", "1", "0"]
    assert [float(row["loss"]) for row in table[:2]] == history.history["loss"]


def test_checkpoints_hold_the_model_of_their_epoch(tmp_path):
    model, history = run(ModelCheckpoint(tmp_path / "m-{epoch:02d}-{loss:.3f}.safetensors"), epochs=2)
    names = [f"m-{i + 1:02d}-{loss:.3f}.safetensors" for i, loss in enumerate(history.history["loss"])]
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(names)
    assert same_weights(load_model(tmp_path / names[1]), model)
    best = tmp_path / "best.safetensors"
    run(Script(3, 1, 2, 1), ModelCheckpoint(best, save_best_only=True), epochs=4)
    assert load_model(best).epoch == 2
    run(ModelCheckpoint(tmp_path / "w.safetensors", save_weights_only=True), epochs=1)
    classifier().load_weights(tmp_path / "w.safetensors")
    with pytest.raises(ArgumentError, match="filepath names 'val_loss', which is not among the logs"):
        run(ModelCheckpoint(tmp_path / "{val_loss}.safetensors"))
    with pytest.raises(ArgumentError, match="save_freq='step'"):
        ModelCheckpoint("x", save_freq="step")


@pytest.mark.parametrize("kind", ["ema", "swa"])
def test_averaged_weights_are_evaluated_and_kept(kind):
    model, states = classifier(), []
    model.build((None, 4))

    class Keep(Callback):
        def on_train_batch_end(self, batch, logs=None):
            states.append(self.model.get_weights())

        def on_epoch_end(self, epoch, logs=None):
            assert np.array_equal(self.model.weights[0].numpy(), states[-1][0])  # its own weights are back

    history = model.fit(
        X, LABELS, batch_size=25, epochs=3, validation_data=(X, LABELS), verbose=0,
        callbacks=[AveragedWeights(decay=0.5, kind=kind), Keep()],
    ).history  # fmt: skip
    want = states[0] if kind == "ema" else [np.mean(w, 0) for w in zip(*states[1::2], strict=True)]
    if kind == "ema":
        for n, state in enumerate(states, 1):
            decay = min(0.5, (1 + n) / (10 + n))
            want = [decay * a + (1 - decay) * w for a, w in zip(want, state, strict=True)]
    for w, v in zip(want, model.get_weights(), strict=True):
        np.testing.assert_allclose(v, w, rtol=1e-5, atol=1e-6)
    assert history["val_loss"][-1] == model.evaluate(X, LABELS, batch_size=25, verbose=0)[0]
    with pytest.raises(ArgumentError, match='must be "ema" or "swa"'):
        AveragedWeights(kind="mean")


# --- what it costs ---------------------------------------------------------------------------------------------------


def test_an_epoch_costs_little_more_than_its_steps():
    x, y = RNG.normal(size=(6400, 256)).astype("float32"), RNG.integers(0, 10, 6400)
    model = Sequential([Dense(256, activation="relu", input_shape=(256,)), Dense(10, activation="softmax")], seed=1)
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(x, y, batch_size=64, verbose=0)
    batch = x[:64], y[:64]
    ratios = []
    for _ in range(5):  # in turns; the machine may be busy with others
        start = time.perf_counter()
        model.fit(x, y, batch_size=64, verbose=2)
        middle = time.perf_counter()
        for _ in range(100):
            with training_mode(True):
                loss = losses.SparseCategoricalCrossentropy()(batch[1], model(batch[0]))
            model.optimizer.zero_grad()
            loss.backward()
            model.optimizer.step()
        ratios.append((middle - start) / (time.perf_counter() - middle))
    assert min(ratios) < 1.3, ratios


def test_steps_leave_nothing_behind():
    model = Sequential([Dense(8, input_shape=(4,)), BatchNormalization(), Dropout(0.5), Dense(3)], seed=1)
    model.compile("adam", losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy", "f1_score"])
    model.fit(X, LABELS, batch_size=5, epochs=5, verbose=0)
    gc.collect()
    gc.disable()  # reference counts alone have to do it
    try:
        before = len(gc.get_objects())
        model.fit(X, LABELS, batch_size=5, epochs=100, verbose=0)
        grown = len(gc.get_objects()) - before
    finally:
        gc.enable()
    assert grown < 100, f"{grown} objects more after 1,000 steps"
