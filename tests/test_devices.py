"""Devices: found out without raising, chosen by name, crossed only on purpose. The GPU is the stand-in of tests/gpu."""

from __future__ import annotations

import pickle
import sys
from contextlib import nullcontext
from copy import deepcopy
from types import SimpleNamespace

import numpy as np
import pytest

import engine
import layers
import models
import optim
from engine import OPS, backends, ops
from engine.backends import detect, get_backend
from engine.backends.protocol import Backend
from engine.samples import Draw
from tests.gpu import strict
from tests.gpu.strict import Strict, crossings
from tests.test_backends import MEMBERS


@pytest.fixture(autouse=True)
def stand_in(request):
    """The device "strict", unless the whole session runs on it."""
    if request.config.getoption("--device").startswith("strict"):
        yield
        return
    remove = backends.register("strict", Strict)
    yield
    remove()


def drawn(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


# ------------------------------------------------------------------------------------------------ what there is
class CUDAError(RuntimeError):
    pass


def fake_cupy(count=1, compiles=True, driver=True):
    """As much of CuPy as finding out asks for."""

    def get_device_count():
        if not driver:
            raise CUDAError("cudaErrorInsufficientDriver: CUDA driver version is insufficient")
        return count

    class RawKernel:
        def __init__(self, text, name):
            pass

        def compile(self):
            if not compiles:
                raise RuntimeError('Failure finding "libnvrtc.so"')

    properties = {"name": b"NVIDIA H100", "totalGlobalMem": 80e9, "major": 9, "minor": 0}
    runtime = SimpleNamespace(
        getDeviceCount=get_device_count, CUDARuntimeError=CUDAError, getDeviceProperties=lambda i: properties
    )
    return SimpleNamespace(__version__="14.2.0", cuda=SimpleNamespace(runtime=runtime), RawKernel=RawKernel)


@pytest.mark.parametrize(
    ("module", "says", "remedy"),
    [
        (None, "CuPy is not installed", r'pip install "chainrule\[gpu\]"'),
        (fake_cupy(driver=False), "no NVIDIA driver that it can use .*cudaErrorInsufficientDriver", "nvidia-smi"),
        (fake_cupy(count=0), "they find no GPU", "nvidia-smi"),
        (fake_cupy(compiles=False), "can't compile for it .*libnvrtc", r"cupy-cuda13x\[ctk\]"),
    ],
    ids=["no CuPy", "no driver", "no GPU", "no NVRTC"],
)
def test_what_is_missing_is_named_with_its_remedy(monkeypatch, module, says, remedy):
    monkeypatch.setitem(sys.modules, "cupy", module)
    if module is None:
        monkeypatch.setattr("builtins.__import__", refusing("cupy", __import__))
    found = engine.devices()
    assert set(found) == {"cpu", "cuda"}
    assert "cores" in found["cpu"]
    for pattern in (says, remedy):
        with pytest.raises(engine.DeviceError, match=pattern):
            detect.usable()
    with pytest.raises(engine.DeviceError, match=rf"device 'cuda' is not available: .*{says}.*use device=\"cpu\""):
        get_backend("cuda")


def refusing(name, real):
    def without(wanted, *args, **options):
        if wanted == name:
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)
        return real(wanted, *args, **options)

    return without


def test_a_gpu_is_described(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy(count=2))
    assert engine.devices()["cuda:1"] == "NVIDIA H100, 80 GB, compute capability 9.0"


def test_a_number_that_no_device_has_is_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy(count=1))
    with pytest.raises(engine.DeviceError, match="device 'cuda:3' is not available: there are cuda:0"):
        get_backend("cuda:3")


@pytest.mark.parametrize("name", MEMBERS)
def test_the_gpu_has_each_member_with_the_protocols_signature(name):
    import inspect

    from engine.backends.gpu import GPU

    for backend in (GPU, Strict):
        want, got = getattr(Backend, name, None), getattr(backend, name, None)
        if callable(want) and backend is GPU:
            assert inspect.signature(got) == inspect.signature(want)
        assert got is not None or name in backend.__annotations__


@pytest.mark.parametrize(
    ("status", "says"),
    [
        (3, "no memory.*smaller batches"),
        (15, r"not supported by this GPU; use float32"),
        (99, "see cublasStatus_t; .*CPU"),
    ],
)
def test_what_cublas_refuses_has_a_remedy(status, says):
    from engine.kernels.cuda import cublas

    with pytest.raises(engine.DeviceError, match=rf"could not multiply matrices: status {status}, {says}"):
        cublas._checked(status)


class CBLAS:
    """A library whose functions note their arguments as C would get them, numbers cut to the bits of their types."""

    def __init__(self, name):
        self.name, self.got = name, {}

    def __getattr__(self, name):
        def function(*args):
            types = zip(function.argtypes, args, strict=True)
            self.got[name] = [kind(a).value if isinstance(a, int) else a for kind, a in types]
            return 0

        setattr(self, name, function)
        return function


def huge(shape, strides):
    """A float32 array of the device, by its numbers alone."""
    facts = {"itemsize": 4, "dtype": np.dtype("float32"), "ndim": len(shape), "data": SimpleNamespace(ptr=4096)}
    return SimpleNamespace(shape=shape, strides=strides, **facts)


BIG = 2**31 + 5


@pytest.mark.parametrize(
    ("a", "b", "counts"),
    [
        (huge((BIG, 2), (8, 4)), huge((2, 3), (12, 4)), {"m": 3, "n": BIG, "k": 2}),
        (huge((2, 3), (12, 4)), huge((3, BIG), (4 * BIG, 4)), {"m": BIG, "n": 2, "k": 3, "lda": BIG, "ldc": BIG}),
        (huge((2, BIG), (4 * BIG, 4)), huge((BIG, 1), (4, 4)), {"m": 1, "n": 2, "k": BIG, "ldb": BIG}),
        (huge((BIG, 1, 1), (4, 4, 4)), huge((1, 1), (4, 4)), {"count": BIG}),
    ],
    ids=["rows", "columns", "depth", "batch"],
)
def test_cublas_is_given_counts_beyond_32_bits_as_they_are(monkeypatch, a, b, counts):
    from engine.kernels.cuda import cublas

    cupy = SimpleNamespace(
        empty=lambda shape, dtype: huge(shape, ()),
        cuda=SimpleNamespace(
            runtime=SimpleNamespace(runtimeGetVersion=lambda: 13020), get_cublas_handle=lambda: 7,
            get_current_stream=lambda: SimpleNamespace(ptr=9),
        ),
    )  # fmt: skip
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.setattr(cublas.ctypes, "CDLL", CBLAS)
    cublas._library.cache_clear()
    try:
        cublas.product(a, b)
        library = cublas._library()
    finally:
        cublas._library.cache_clear()
    names = [
        "handle", "transa", "transb", "m", "n", "k", "alpha", "A", "Atype", "lda", "strideA", "B", "Btype", "ldb",
        "strideB", "beta", "C", "Ctype", "ldc", "strideC", "count", "compute", "algorithm",
    ]  # fmt: skip
    got = dict(zip(names, library.got["cublasGemmStridedBatchedEx_64"], strict=True))
    assert {name: got[name] for name in counts} == counts
    assert got["strideC"] == got["m"] * got["n"]


# ------------------------------------------------------------------------------------------------ where things lie
def test_inside_a_device_everything_is_made_there():
    with engine.device("strict"):
        layer = layers.Dense(3)
        made = [engine.zeros(2), engine.tensor([1.0]), engine.arange(3), engine.rand(2), engine.exp(engine.ones(2))]
        y = layer(drawn(2, 4))
    assert {t.device for t in [*made, y, *layer.weights]} == {"strict:0"}
    assert engine.zeros(2).device == "cpu"


def test_arrays_and_lists_go_where_the_tensors_are():
    x = engine.tensor(drawn(2, 3), device="strict")
    for y in (x + drawn(3), drawn(3) * x, x @ drawn(3, 2), ops.concat([x, drawn(2, 3)]), x[[0, 1]], x > drawn(3)):
        assert y.device == "strict:0"


def test_tensors_of_two_devices_do_not_meet():
    with pytest.raises(engine.DeviceError, match=r"add: tensors on 'strict:0' and 'cpu' meet; .*\.to\(\"strict:0\"\)"):
        engine.tensor(drawn(2), device="strict") + engine.tensor(drawn(2))


def test_to_another_device_and_back_is_differentiable():
    x = engine.tensor(drawn(3), requires_grad=True)
    y = (x.to("strict") * 2.0).to("cpu")
    y.backward(drawn(3, seed=1))
    assert x.grad.device == "cpu"
    np.testing.assert_array_equal(x.grad.numpy(), 2 * drawn(3, seed=1))
    assert x.to("cpu") is x


@pytest.mark.parametrize("copied", [deepcopy, lambda t: pickle.loads(pickle.dumps(t))], ids=["deepcopy", "pickle"])
def test_copies_stay_on_their_device(copied):
    with engine.device("strict"):
        layer = layers.Dense(2)
        layer.build((None, 3))
    assert {p.device for p in copied(layer).weights} == {"strict:0"}
    assert copied(engine.ones(2, device="strict")).device == "strict:0"


def test_random_numbers_are_the_same_everywhere():
    for draw in (engine.rand, engine.randn, lambda *s, **o: engine.randint(9, shape=s, **o)):
        engine.random.manual_seed(3)
        here = draw(4, 5).numpy()
        engine.random.manual_seed(3)
        np.testing.assert_array_equal(draw(4, 5, device="strict").numpy(), here)
    here = get_backend("cpu").random_bits(7, 5, 4, 9)
    np.testing.assert_array_equal(get_backend("strict").to_numpy(get_backend("strict").random_bits(7, 5, 4, 9)), here)


# ------------------------------------------------------------------------------------------------ what is found late
def test_a_wrong_index_is_raised_by_the_next_read():
    with engine.device("strict"):
        table = engine.tensor(drawn(5, 2))
        y = ops.embedding(engine.tensor([1, 7]), table)
    with pytest.raises(engine.IndexRangeError, match=r"ids\[1\] is 7, but the table has 5 rows"):
        y.numpy()
    y.numpy()  # it was said once


def test_a_wrong_index_is_raised_at_once_when_anomalies_are_looked_for():
    with engine.device("strict"), engine.detect_anomaly(), pytest.raises(engine.IndexRangeError, match="is 7"):
        ops.embedding(engine.tensor([1, 7]), engine.tensor(drawn(5, 2)))


def test_of_equal_indices_the_last_value_stays_on_every_device():
    for device in ("cpu", "strict"):
        x = engine.zeros(4, device=device)
        x[engine.tensor([1, 2, 1], device=device)] = [1.0, 2.0, 3.0]
        np.testing.assert_array_equal(x.numpy(), [0, 3, 2, 0])


# ------------------------------------------------------------------------------------------------ training
def network():
    model = models.Sequential([
        layers.Conv2D(4, 3, activation="relu", input_shape=(8, 8, 1)), layers.MaxPooling2D(2), layers.Flatten(),
        layers.Dropout(0.25), layers.Dense(16, activation="relu"), layers.BatchNormalization(),
        layers.Dense(10, activation="softmax"),
    ], seed=0)  # fmt: skip
    model.build((None, 8, 8, 1))
    return model


OPTIMIZERS = {
    "SGD": lambda p: optim.SGD(p, 0.1, momentum=0.9), "Adam": optim.Adam, "AdamW": optim.AdamW,
    "RMSprop": optim.RMSprop, "Adagrad": optim.Adagrad, "Adadelta": optim.Adadelta, "Lion": optim.Lion,
    "clipped": lambda p: optim.SGD(p, 0.1, global_clipnorm=0.5), "cut": lambda p: optim.SGD(p, 0.1, clipvalue=0.1),
}  # fmt: skip


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_training_step_neither_waits_nor_crosses(name):
    """Beyond the batch, which goes to the device, nothing moves; nothing is read back."""
    model, loss = network().to("strict"), layers.losses.CategoricalCrossentropy()
    optimizer = OPTIMIZERS[name](model.parameters())
    x = engine.tensor(drawn(4, 8, 8, 1), device="strict")
    y = engine.tensor(np.eye(10, dtype=np.float32)[:4], device="strict")

    def step():
        with engine.parameter.training_mode(True):
            value = loss(y, model(x))
        optimizer.zero_grad()
        value.backward()
        optimizer.step()

    step()  # what is packed once
    before = crossings.copy()
    step()
    assert crossings == before, crossings - before


def test_fit_reads_nothing_back_within_an_epoch_but_what_is_shown():
    model = network().to("strict")
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    x, y = drawn(64, 8, 8, 1), np.arange(64) % 10
    model.fit(x, y, batch_size=16, verbose=0)
    before = crossings.copy()
    model.fit(x, y, batch_size=16, verbose=0, initial_epoch=1, epochs=2)
    found = crossings - before
    assert found["to device"] <= 4 * 2 + 2  # each batch, and the two rows that are looked at first
    assert found["to host"] <= 4 * 2  # a loss and predictions for each batch, at the end
    assert not found["wait"]


def test_training_is_the_same_on_both_devices():
    x, y = drawn(32, 8, 8, 1), np.arange(32) % 10
    histories = []
    for device in ("cpu", "strict"):
        with engine.device(device):
            model = network()
            model.compile(optim.Adam(), "sparse_categorical_crossentropy", metrics=["accuracy"])
            histories.append(model.fit(x, y, batch_size=8, epochs=2, verbose=0).history)
        assert model.device.startswith(device)
    for name, values in histories[0].items():
        np.testing.assert_allclose(histories[1][name], values, rtol=1e-5)


def test_a_checkpoint_of_one_device_goes_on_on_the_other(tmp_path):
    x, y = drawn(32, 8, 8, 1), np.arange(32) % 10
    model = network().to("strict")
    model.compile(optim.Adam(), "sparse_categorical_crossentropy")
    model.fit(x, y, batch_size=8, verbose=0)
    model.save(tmp_path / "run.safetensors")
    model.fit(x, y, batch_size=8, verbose=0, initial_epoch=1, epochs=2)
    for device in ("cpu", "strict"):
        with engine.device(device):
            again = models.load_model(tmp_path / "run.safetensors")
            again.fit(x, y, batch_size=8, verbose=0, initial_epoch=1, epochs=2)
        assert again.device.startswith(device)
        for path, values in model.state_dict().items():
            np.testing.assert_allclose(again.state_dict()[path], values, rtol=1e-4, atol=1e-6)


# ------------------------------------------------------------------------------------------------ what is covered
def test_every_op_layer_loss_and_optimiser_is_compared_on_another_device():
    from tests.gpu import covered

    there, compared = covered.public(), covered.covered()
    assert {kind: there[kind] - compared[kind] for kind in there} == {kind: set() for kind in there}
    assert all(name in covered.report() for names in there.values() for name in names)


# ------------------------------------------------------------------------------------------------ the stand-in itself
DEVICE_ARRAY = [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    ("does", "says"),
    [
        (lambda x: np.asarray(x), "implicit conversion"),
        (lambda x: np.exp(x), "does not support ufuncs"),
        (lambda x: np.concatenate([x, x]), "np.concatenate was given a device array"),
        (lambda x: x + np.ones(3), "does not support ufuncs"),
        (lambda x: np.ones(3) + x, "not implemented for NumPy arrays|does not support"),
        (lambda x: x[np.array([0])], "copied to the device behind your back"),
        (lambda x: x.__setitem__(0, np.ones(())), "moved to the device first"),
        (lambda x: x.max(initial=0), "has no keyword 'initial'"),
        (lambda x: strict.xp.argsort(x, stable=True), "has no keyword 'stable'"),
        (lambda x: strict.xp.logaddexp.accumulate(x), "accumulate is not supported"),
        (lambda x: strict.xp.multiply.at(x, strict.xp.asarray([0]), 2.0), r"multiply.at is not supported"),
        (lambda x: strict.xp.zeros(2).__setitem__(strict.xp.asarray([1, 1]), strict.xp.ones(2)), "assigned to twice"),
        (lambda x: [1, 2, 3][strict.xp.asarray(1)], "can't be an index"),
    ],
)
def test_what_cupy_refuses_or_does_behind_your_back_is_refused(does, says):
    with pytest.raises(TypeError, match=says):
        does(strict.xp.asarray(DEVICE_ARRAY))


@pytest.mark.parametrize("name", ["errstate", "geomspace", "insert", "block", "vecdot", "einsum_path", "unstack"])
def test_functions_that_cupy_lacks_are_not_there(name):
    assert hasattr(np, name)
    with pytest.raises(AttributeError, match=f"cupy has no attribute '{name}'"):
        getattr(strict.xp, name)


def test_what_nobody_has_written_to_is_not_a_number():
    assert np.isnan(strict.xp.empty((2, 3))._raw).all()


def test_results_without_axes_stay_on_the_device():
    x = strict.xp.asarray(DEVICE_ARRAY)
    for y in (x.sum(), x[0], strict.xp.max(x), next(iter(x))):
        assert isinstance(y, strict.ndarray)
        assert y.shape == ()


# ------------------------------------------------------------------------------------------------ several devices
def test_tensors_and_models_live_on_the_second_device():
    with engine.device("strict:1"):
        model = network()
    x = engine.tensor(drawn(2, 8, 8, 1), device="strict:1")
    assert {p.device for p in model.parameters()} == {"strict:1"}
    np.testing.assert_array_equal(model(x).numpy(), network()(drawn(2, 8, 8, 1)).numpy())
    assert model.to("strict:0")(x.to("strict:0")).device == "strict:0"


def test_what_meets_from_two_devices_is_named():
    x, y = engine.tensor(drawn(2), device="strict:0"), engine.tensor(drawn(2), device="strict:1")
    for meet in (lambda: x * y, lambda: x @ y, lambda: ops.concat([x, y])):
        with pytest.raises(engine.DeviceError, match=r"tensors on 'strict:[01]' and 'strict:[01]' meet; .*\.to\("):
            meet()


def sample(op):
    """Arrays for a call of the op, and its params."""
    if op.note.samples:
        return op.note.samples(Draw.seeded(1))
    draw = np.arange(6).reshape(2, 3) if op.result == "integer" else abs(drawn(2, 3)) + 1
    return [draw] * len(op.inputs), {}


def placed(x):
    """On the second device, and wanting a gradient if that can be."""
    if not isinstance(x, (np.ndarray, list)):
        return x
    t = engine.tensor(x, device="strict:1")
    return t.float().detach().requires_grad_() if t.dtype.kind == "f" else t


@pytest.mark.parametrize("op", [op for op in OPS.values() if op.name != "to_device"], ids=lambda op: op.name)
def test_derivatives_of_derivatives_and_looking_for_nan_stay_on_the_second_device(op):
    inputs, params = sample(op)
    inputs = [placed(x) for x in inputs]
    results = op(*inputs, **params)
    for y in results if isinstance(results, (tuple, list)) else [results]:
        assert y.device == "strict:1"
        if y.requires_grad:
            leaves = [x for x in inputs if getattr(x, "requires_grad", False)]
            g = engine.tensor(drawn(*y.shape), device="strict:1")
            first = engine.grad(y, leaves, g, create_graph=True, allow_unused=True)
            total = sum(((x * x).sum() for x in first if x is not None and x.requires_grad), start=y.sum())
            with engine.detect_anomaly() if np.isfinite(y.numpy()).all() else nullcontext():
                total.backward()
            assert {x.grad.device for x in leaves if x.grad is not None} == {"strict:1"}


def test_a_nan_on_the_second_device_is_found():
    x = engine.tensor([-1.0, 1.0], device="strict:1", requires_grad=True)
    with engine.detect_anomaly(), pytest.raises(engine.GradientError, match="log: its forward made 1 NaN"):
        ops.log(x)


def test_from_device_to_device_and_back_is_differentiable_and_does_not_pass_the_host():
    x = engine.tensor(drawn(3), device="strict:0", requires_grad=True)
    before = crossings.copy()
    y = (x.to("strict:1") * 2.0).sum()
    assert y.device == "strict:1"
    y.backward()
    assert x.grad.device == "strict:0"
    assert crossings == before
    np.testing.assert_array_equal(x.grad.numpy(), [2, 2, 2])


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_training_on_the_second_device_is_that_on_the_first(name):
    """While the first one is current: what is not told where to go would go there, and is refused."""
    losses = []
    for device in ("strict:0", "strict:1"):
        model, loss = network().to(device), layers.losses.SparseCategoricalCrossentropy()
        optimizer, x = OPTIMIZERS[name](model.parameters()), engine.tensor(drawn(4, 8, 8, 1), device=device)
        for _ in range(2):
            with engine.parameter.training_mode(True):
                value = loss(engine.tensor([1, 2, 3, 4], device=device), model(x))
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            losses.append(value.item())
    assert losses[:2] == losses[2:]
