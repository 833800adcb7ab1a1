"""What a captured step refuses, what is left when it fails, and whose memory it works on."""

from __future__ import annotations

import gc
import weakref
from types import SimpleNamespace

import numpy as np
import pytest

import engine
import layers
import models
import optim
from engine import ops
from engine.kernels.cuda.bounds import Bounds
from engine.parameter import training_mode
from layers.cache import KeyValueCache
from tests.capturing import IMAGES, RATE, captured, device as device, drawn, image_network, stand_in as stand_in


# ------------------------------------------------------------------------------------------------ what is refused
@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda run: run(drawn(4), 2), engine.ShapeError, r"0 was recorded with shape \(3,\), now it is \(4,\)"),
        (lambda run: run(drawn(3).astype(np.float64), 2), engine.DTypeError, "recorded as float32, now it is float64"),
        (lambda run: run(drawn(3), 3), engine.ArgumentError, "argument 1 was recorded as the constant 2, and is 3 now"),
        (lambda run: run(drawn(3), k=2), engine.ArgumentError, r"recorded were the arguments \['0', '1'\], these are"),
        (lambda run: run([drawn(3)], 2), engine.ArgumentError, "an argument is a list; pass its tensors one by one"),
        (lambda run: run(engine.ones(3, requires_grad=True), 2), engine.ArgumentError, "requires a gradient"),
        (lambda run: run(engine.ones(3, device="cpu"), 2), engine.DeviceError, r"an argument is on cpu, the step on"),
    ],
    ids=["shape", "dtype", "constant", "names", "list", "gradient", "device"],
)
def test_a_call_that_differs_is_refused(call, error, says, device):
    run = engine.capture(lambda x, k: x * k, warmup=1, device=device)
    for _ in range(2):
        run(drawn(3), 2)
    with pytest.raises(error, match=f"capture: .*{says}"):
        call(run)
    np.testing.assert_array_equal(run(drawn(3), 2).numpy(), 2 * drawn(3))


def accumulating(x):
    (WEIGHT[0] * x).sum().backward()


def drawing(x):
    return x + engine.rand(3)


def carrying():
    lstm = layers.LSTM(2, stateful=True)
    lstm.build((1, 3, 1))
    return lambda x: lstm(x.reshape(1, 3, 1))


def scaling():
    w, scaler = engine.tensor([1.0], requires_grad=True), optim.GradScaler()
    return lambda x: scaler.scale((w * x).sum())


def clipping():
    w = engine.tensor([1.0], requires_grad=True)

    def step(x):
        w.grad = None
        (w * x).sum().backward()
        optim.clip_grad_norm_(w, 1.0)

    return step


def averaging():
    averages = optim.EMA([engine.tensor([1.0])])
    return lambda x: averages.update()


def packing():
    w = engine.tensor(drawn(3), requires_grad=True)

    def step(x):
        (w * x).sum().backward()
        optim.SGD([w]).step()

    return step


WEIGHT = []
GENERATOR = engine.random.Generator(0)


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda: lambda x: x * x.sum().item(), engine.DeviceError, "reads values back from the device.*return"),
        (lambda: lambda x: x if x.sum() > 0 else -x, engine.DeviceError, "reads values back"),
        (lambda: lambda x: x + drawn(3), engine.DeviceError, "makes a tensor of values on the host.*as an argument"),
        (lambda: lambda x: x + engine.tensor([1.0, 2.0, 3.0]), engine.DeviceError, "of values on the host"),
        (lambda: lambda x: x.backend.synchronize(), engine.DeviceError, "waits for the device"),
        (lambda: lambda x: x[x > 0], engine.DeviceError, "can't be recorded .*move what waits"),
        (lambda: lambda x: [GENERATOR.split() for _ in range(4097)], engine.DeviceError, "more than 4096 numbers anew"),
        (packing, engine.DeviceError, "has new or moved parameters .SGD.step packs them.*once before"),
        (lambda: lambda x: KeyValueCache().extend(None, x, x), engine.DeviceError, "lengthens a KeyValueCache"),
        (lambda: lambda x: KeyValueCache().of_another(None, x, drawn), engine.DeviceError, "keeps what it computes"),
        (lambda: drawing, engine.DeviceError, "draws random numbers on the host.*draw them before"),
        (lambda: lambda x: x.__setitem__(..., 2 * x), engine.ArgumentError, "writes to its argument 0.*return the new"),
        (carrying, engine.DeviceError, "carries states from batch to batch .*initial_state"),
        (scaling, engine.DeviceError, "uses GradScaler.*bfloat16"),
        (clipping, engine.DeviceError, "reads the gradients' norm back .*global_clipnorm="),
        (averaging, engine.DeviceError, "begins an average .EMA.*once before"),
        (lambda: lambda x: float(x.shape[0]), engine.ArgumentError, "the step returns a float"),
        (lambda: accumulating, engine.GradientError, r"a gradient \(shape \(3,\)\) that is there.*zero_grad"),
        (lambda: engine.capture(lambda x: x), engine.DeviceError, "a captured step is called in another"),
    ],
)  # fmt: skip
def test_what_a_replay_can_not_repeat_is_refused_when_it_is_recorded(make, error, says):
    WEIGHT[:] = [engine.tensor(drawn(3), requires_grad=True)]
    inner = make()
    run = engine.capture(lambda x: inner(x) if recording else None, warmup=1)
    recording = False
    run(drawn(3))
    accumulating(engine.ones(3))
    recording = True
    with pytest.raises(error, match=f"capture: .*{says}"):
        run(drawn(3))
    assert engine.replay.current() is None


# ------------------------------------------------------------------------------------------------ what fails
class Training:
    """A step with all that the host counts in one: the optimiser's steps, the average's, a dropout's masks, gradients.

    `problem` is called at its end, when it is a function.
    """

    def __init__(self):
        self.model = image_network()
        self.model.build((None, 8, 8, 1))
        self.optimizer = optim.Adam(self.model.parameters(), RATE, global_clipnorm=0.5)
        self.average, self.problem = optim.EMA(self.model.parameters()), None

    def step(self, x, y):
        loss = layers.losses.SparseCategoricalCrossentropy(from_logits=True)
        self.optimizer.zero_grad()
        with training_mode(True):
            value = loss(y, self.model(x))
        value.backward()
        optim.clip_grad_value_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.average.update()
        if self.problem:
            self.problem(value)
        return value

    def host(self):
        gradients = [p.grad for p in self.model.parameters()]
        return self.optimizer.iterations, self.average.updates, self.model.random_state(), list(map(id, gradients))

    def losses(self, run, batches):
        return [run(engine.tensor(x), engine.tensor(y)).item() for x, y in batches]


def interrupted(loss):
    raise KeyboardInterrupt


PROBLEMS = {
    "refusal": (lambda loss: loss.item(), engine.DeviceError),
    "shape": (lambda loss: engine.ones(3) + engine.ones(4), engine.ShapeError),
    "interrupt": (interrupted, KeyboardInterrupt),
    "draw": (lambda loss: engine.random.default_generator().normal(3), engine.DeviceError),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_after_a_recording_that_failed_it_is_as_if_nobody_had_tried(name):
    problem, error = PROBLEMS[name]
    untried, training = Training(), Training()
    want = untried.losses(untried.step, IMAGES)
    run = engine.capture(training.step, warmup=2)
    got = training.losses(run, IMAGES[:2])
    held = [p.grad for p in training.model.parameters()]
    before, drawn_before = training.host(), engine.random.default_generator().state()
    training.problem = problem
    for _ in range(2):
        with pytest.raises(error):
            training.losses(run, IMAGES[2:3])
        assert training.host() == before
        assert engine.random.default_generator().state() == drawn_before
    assert all(p.grad is g for p, g in zip(training.model.parameters(), held, strict=True))
    training.problem = None
    got += training.losses(training.step, IMAGES[2:4]) + training.losses(run, IMAGES[4:])
    assert got == want
    assert training.host()[:3] == untried.host()[:3]


def test_after_a_replay_that_failed_it_is_as_if_nobody_had_tried(monkeypatch):
    untried, training = Training(), Training()
    want = untried.losses(untried.step, IMAGES)
    run = engine.capture(training.step, warmup=1)
    got = training.losses(run, IMAGES[:3])
    before = training.host()

    def rate(step):
        raise KeyboardInterrupt

    training.optimizer.learning_rate = rate  # by then the masks are drawn
    with pytest.raises(KeyboardInterrupt):
        training.losses(run, IMAGES[3:4])
    training.optimizer.learning_rate = RATE
    assert training.host() == before

    with monkeypatch.context() as patch:
        patch.setattr(type(run._graph), "launch", lambda graph: interrupted(None))
        with pytest.raises(KeyboardInterrupt):
            training.losses(run, IMAGES[3:4])
    assert training.host() == before
    assert got + training.losses(run, IMAGES[3:]) == want


def test_a_first_call_that_failed_compiled_nothing():
    calls = []

    def step(x):
        calls.append(engine.replay.current() is not None)
        if len(calls) == 1:
            interrupted(x)
        return 2 * x

    run = engine.capture(step, warmup=1)
    with pytest.raises(KeyboardInterrupt):
        run(drawn(3))
    for _ in range(3):
        run(drawn(3))
    assert calls == [False, False, True]


def test_what_a_failed_recording_would_have_changed_is_not_changed():
    w = engine.tensor([1.0, 2.0], requires_grad=True)
    optimizer = optim.SGD([w], 0.5)

    def step():
        optimizer.zero_grad()
        w.sum().backward()
        optimizer.step()
        if recording:
            w.numpy()

    run, recording = engine.capture(step, warmup=1), False
    run()
    y, recording = (w * w).sum(), True
    with pytest.raises(engine.DeviceError, match="reads values back"):
        run()
    y.backward()  # not refused: the values are those that it saved
    np.testing.assert_array_equal(w.grad.numpy(), 1 + 2 * w.numpy())  # added to that of the plain step


def test_words_that_somebody_else_has_drawn_since_are_not_given_back():
    generator = engine.random.Generator(0)
    start = generator._reserve(4)
    generator._reserve(4)
    generator._give_back(start, start + 4)
    assert generator.state()["position"] == 8


def test_parameters_that_moved_ask_for_a_new_capture():
    model = models.Sequential([layers.Dense(2)], seed=0)
    model.build((None, 3))
    optimizer = optim.SGD(model.parameters())

    def step(x):
        optimizer.zero_grad()
        model(x).sum().backward()
        optimizer.step()

    run = captured(step, drawn(2, 3))
    model.to("cpu")
    with pytest.raises(engine.DeviceError, match=r"parameter '0.kernel' of shape \(3, 2\) lies elsewhere.*anew"):
        run(drawn(2, 3))


# ------------------------------------------------------------------------------------------------ where memory lies
def test_memory_that_a_step_reads_stays_its_own_when_its_tensor_is_gone():
    w = [engine.tensor(drawn(1000))]
    run = captured(lambda x: x + w[0].detach()[:3], drawn(3))
    w.clear()
    others = [engine.tensor(np.full(1000, np.nan, np.float32)) for _ in range(3)]
    np.testing.assert_array_equal(run(drawn(3, seed=1)).numpy(), drawn(3, seed=1) + drawn(1000)[:3])
    assert len(others) == 3


def test_tensors_of_the_host_are_no_matter_of_the_recording():
    w = engine.zeros(3, device="cpu")

    def step(x):
        w.mark_changed()
        w.detach()
        return 2 * x

    np.testing.assert_array_equal(captured(step, drawn(3))(drawn(3, seed=1)).numpy(), 2 * drawn(3, seed=1))


class Younger:
    """A graph, all of whose memory has been made before."""

    made = staticmethod(lambda array: False)


@pytest.mark.parametrize(
    "use",
    [
        lambda w: w + 1.0,
        lambda w: w.mark_changed(),
        lambda w: w.detach(),
        lambda w: engine.ones(3)[w],
        lambda w: ops.matmul(w, w),
    ],
    ids=["op", "write", "detach", "index", "product"],
)
def test_a_recording_holds_what_it_reads_and_lets_go_of_it(use, device):
    w = engine.tensor([1, 2, 0])
    array = weakref.ref(w.data)
    recording = engine.replay.Recording(w.backend, Younger())
    with recording.whole(), recording.active():
        use(w)
    del w
    gc.collect()
    assert array() is not None
    del recording
    gc.collect()
    assert array() is None


class Words(np.ndarray):
    """Three words on a device."""

    get = np.ndarray.copy


class Launches:
    """As much of CuPy as checking indices asks for. What is launched waits until `run`, as in a graph."""

    ascontiguousarray = staticmethod(np.asarray)

    def __init__(self):
        self.given = []

    def zeros(self, n, dtype):
        return np.zeros(n, dtype).view(Words)

    def RawModule(self, **text):
        return SimpleNamespace(get_function=lambda name: lambda grid, block, args: self.given.append(args))

    def run(self):
        for n, indices, low, high, number, found in self.given:
            wrong = [i for i in range(n) if not low <= indices.flat[i] < high]
            if wrong and not found[0]:
                found[:] = number, wrong[0], indices.flat[wrong[0]]


def test_the_checks_of_a_recording_go_with_it():
    launches = Launches()
    bounds = Bounds(SimpleNamespace(xp=launches))

    def recorded():
        recording = engine.replay.Recording(engine.backends.get_backend("cpu"), Younger())
        with recording.whole(), recording.active():
            bounds.check(np.array([[1, 2], [9, 0]]), 0, 5, lambda at, i: engine.IndexRangeError(f"{at} is {i}"))
        return recording

    gone, kept = recorded(), recorded()
    del gone, launches.given[0]
    gc.collect()
    assert len(bounds._recorded) == 1
    for _ in range(2):
        launches.run()
        with pytest.raises(engine.IndexRangeError, match=r"\(1, 0\) is 9"):
            bounds.raise_found()
    launches.run()
    del kept
    gc.collect()
    assert not bounds._recorded
    with pytest.raises(engine.IndexRangeError, match="index 9, at place 2 .* a captured step that is gone now; read"):
        bounds.raise_found()
    bounds._found = None  # nobody looks there any more
    bounds.raise_found()


def test_a_graph_knows_its_own_memory():
    graph, older, seen = engine.backends.get_backend(engine.current_device()).graph(), engine.tensor(drawn(3)), []
    with graph.record():
        made = older + 1.0
        seen += [graph.made(t.data) for t in (older, made, older[1:], made[1:])]
    assert seen == [False, True, False, True]
    assert not graph.made(engine.ones(3).data)


def moved_parameter():
    w = engine.tensor(drawn(3))

    def move():
        w.data = engine.tensor(drawn(3, seed=1)).data

    return lambda x: x * w, move


def packed_anew():
    w = engine.tensor(drawn(3), requires_grad=True)
    optimizer = optim.Adam([w], 0.1)

    def step(x):
        optimizer.zero_grad()
        (w * x).sum().backward()
        optimizer.step()

    def load():
        optimizer.load_state_dict(optimizer.state_dict())
        step(engine.tensor(drawn(3)))  # packs the parameters

    return step, load


def loaded_averages():
    w = engine.tensor(drawn(3))
    averages = optim.EMA([w])
    averages.update()

    def step(x):
        averages.update()

    return step, lambda: averages.load_state_dict(averages.state_dict())


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (moved_parameter, r"a tensor of shape \(3,\) lies elsewhere"),
        (packed_anew, r"what Adam remembers lies elsewhere|of shape \(3,\) lies elsewhere"),
        (loaded_averages, "what EMA remembers lies elsewhere"),
    ],
)
def test_memory_that_was_replaced_asks_for_a_new_capture(make, says):
    step, replace = make()
    run = captured(step, drawn(3))
    run(drawn(3))
    replace()
    with pytest.raises(engine.DeviceError, match=f"capture: {says} .*capture it anew"):
        run(drawn(3))


def test_a_step_that_gives_a_tensor_other_memory_is_refused_and_the_tensor_has_its_own_again():
    w = engine.tensor(drawn(3), requires_grad=True)

    def step(x):
        (gradient,) = engine.grad((w * x).sum(), (w,))
        w.data = (w - 0.1 * gradient).data

    run = engine.capture(step, warmup=1)
    run(drawn(3))
    before = w.data
    with pytest.raises(engine.DeviceError, match=r"the step gives a tensor of shape \(3,\) other memory.*assign"):
        run(drawn(3))
    assert w.data is before


def test_a_step_that_updates_by_gradients_from_outside_is_refused():
    w = engine.tensor(drawn(3), requires_grad=True)
    optimizer = optim.SGD([w], 0.5)
    run = engine.capture(optimizer.step, warmup=1)
    (w * w).sum().backward()
    run()
    with pytest.raises(engine.DeviceError, match="updates parameters by gradients from before it .SGD.*call backward"):
        run()


def test_a_plain_call_has_to_come_first():
    with pytest.raises(engine.ArgumentError, match="warmup is 0; one plain call at least"):
        engine.capture(lambda x: x, warmup=0)
