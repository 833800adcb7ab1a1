"""The emulated device itself: CuPy's answers are NumPy's, what can't run says so, and nothing crosses unseen."""

from __future__ import annotations

import numpy as np
import pytest

import engine
import layers
import optim
from engine.parameter import training_mode
from models.zoo import mnist_cnn


@pytest.fixture(scope="module", autouse=True)
def emulated(request):
    if not request.config.getoption("--emulate"):
        pytest.skip("tests of the emulator: pytest --device cuda --emulate, or make gpu-emulated")
    from tests.gpu import emulate

    return emulate


def drawn(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize(
    "does",
    [
        lambda xp, x: xp.exp(x) + x[:1], lambda xp, x: x.sum(1), lambda xp, x: x.T @ x, lambda xp, x: xp.cumsum(x, 1),
        lambda xp, x: x.argmax(0), lambda xp, x: xp.where(x > 0, x, 2 * x), lambda xp, x: x[xp.asarray([2, 0, 2])],
        lambda xp, x: xp.concatenate([x, x[::-1]], 1), lambda xp, x: x.max(axis=(0, 1)), lambda xp, x: x[x > 0],
        lambda xp, x: xp.matmul(x[None], xp.stack([x.T, x.T])), lambda xp, x: (x * 7).astype(xp.int32) % 3,
        lambda xp, x: x.astype(xp.float16) * xp.float16(2), lambda xp, x: xp.nonzero(x > 1)[0],
    ],
)  # fmt: skip
def test_cupy_gives_what_numpy_gives(does):
    import cupy

    x = drawn(5, 7)
    np.testing.assert_allclose(does(cupy, cupy.asarray(x)).get(), does(np, x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["sort", "argsort", "unique"])
def test_machine_code_inside_cupy_is_refused_not_run(name, emulated):
    import cupy

    with pytest.raises(emulated.NotEmulated, match="machine code that lies compiled inside CuPy; it runs on a GPU"):
        getattr(cupy, name)(cupy.asarray(drawn(9)))


def test_what_a_kernel_does_wrong_is_raised_where_it_was_launched():
    import cupy

    text = """extern "C" __global__ void odd(float* y) { if (threadIdx.x % 2) __syncthreads(); y[threadIdx.x] = 1; }"""
    kernel = cupy.RawModule(code=text).get_function("odd")
    with pytest.raises(Exception, match="odd: a thread returned before a __syncthreads"):
        kernel((1,), (64,), (cupy.zeros(64, np.float32),))


def test_fresh_memory_holds_nan_and_freed_memory_goes_back(emulated):
    import cupy

    engine.empty_cache()
    before = emulated.device.used
    x = cupy.empty(1 << 16, np.float32)
    assert np.isnan(x.get()).all()
    assert emulated.device.used >= before + x.nbytes
    del x
    engine.empty_cache()
    assert emulated.device.used == before


def test_running_out_of_memory_says_how_much_was_asked_for_and_held(emulated, monkeypatch):
    engine.empty_cache()
    monkeypatch.setattr(emulated.device, "limit", emulated.device.used + (1 << 20))
    says = r"cuda:0 is out of memory: .*8,388,608 bytes.*Tensors hold .* are free"
    with pytest.raises(engine.DeviceError, match=says):
        engine.zeros(2 << 20, device="cuda")
    assert engine.zeros(100, device="cuda").shape == (100,)


def test_arrays_are_shared_with_cupy_without_a_copy():
    import cupy

    a = cupy.asarray(drawn(3, 4))
    for t in (engine.from_dlpack(a), engine.asarray(a)):
        assert t.device == "cuda:0"
        assert t.data.data.ptr == a.data.ptr
    back = cupy.from_dlpack(engine.asarray(a))
    assert back.data.ptr == a.data.ptr


def test_tf32_is_a_switch():
    from cupy._core import _routines_linalg as kinds

    engine.get_backend("cuda")
    assert engine.get_float32_matmul_precision() == "highest"
    engine.set_float32_matmul_precision("high")
    assert kinds.get_compute_type(np.float32) == kinds.COMPUTE_TYPE_TF32
    engine.set_float32_matmul_precision("highest")
    assert kinds.get_compute_type(np.float32) == kinds.COMPUTE_TYPE_DEFAULT
    with pytest.raises(engine.ArgumentError, match="precision is 'medium'; choose 'highest' or 'high'"):
        engine.set_float32_matmul_precision("medium")


WAITING = "streamSynchronize", "deviceSynchronize", "eventSynchronize", "streamQuery"


def test_a_training_step_asks_the_device_for_nothing_but_work(emulated):
    """No copy between host and device, no waiting, no new memory: counted where CuPy calls CUDA."""
    with engine.device("cuda"):
        model, loss = mnist_cnn(seed=0), layers.losses.SparseCategoricalCrossentropy()
        optimizer = optim.Adam(model.parameters(), global_clipnorm=1.0)
        x, y = engine.tensor(drawn(4, 28, 28, 1)), engine.tensor([1, 2, 3, 4])

        def step():
            with training_mode(True):
                value = loss(y, model(x))
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            return value

        for _ in range(3):
            step()
        calls = emulated.capsules.calls
        before, copied = calls.copy(), emulated.device.copied.copy()
        value = step()
        found, moved = calls - before, emulated.device.copied - copied
        assert set(moved) <= {"on the device"}, moved
        assert not {name: found[name] for name in WAITING if found[name]}
        assert not found["malloc"]  # the pool has it all
        assert found["launchKernel"] > 20
        assert np.isfinite(value.item())


def small_step(device):
    """Losses of a few steps of a small network, whatever device is current."""
    model = mnist_cnn(seed=0).to(device)
    model.build((None, 28, 28, 1))
    model.to(device)
    optimizer, loss = optim.Adam(model.parameters(), global_clipnorm=1.0), layers.losses.SparseCategoricalCrossentropy()
    x, y = engine.tensor(drawn(2, 28, 28, 1), device=device), engine.tensor([1, 2], device=device)
    losses = []
    for _ in range(2):
        with training_mode(True):
            value = loss(y, model(x))
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        losses.append(value)
    return losses


def test_work_goes_to_cupys_current_stream(emulated):
    import cupy

    with cupy.cuda.Stream(non_blocking=True) as stream:
        before = emulated.device.streams.copy()
        losses = small_step("cuda")
        found = emulated.device.streams - before
    assert set(found) == {stream.ptr}
    assert found[stream.ptr] > 40
    assert all(np.isfinite(value.item()) for value in losses)


def test_the_second_device_trains_while_the_first_is_current(emulated):
    """Kernels are loaded where they run, and meet no memory of another device: the emulator refuses both."""
    losses = small_step("cuda:1")
    assert {value.device for value in losses} == {"cuda:1"}
    assert emulated.device.number == 0
    np.testing.assert_array_equal([v.item() for v in losses], [v.item() for v in small_step("cuda:0")])


def test_from_device_to_device_values_and_gradients_pass_no_host(emulated):
    x = engine.tensor(drawn(3), device="cuda:0", requires_grad=True)
    before = emulated.device.copied.copy()
    (x.to("cuda:1") * 2.0).sum().backward()
    found = emulated.device.copied - before
    assert set(found) <= {"between devices", "on the device"}
    assert found["between devices"] == 2
    np.testing.assert_array_equal(x.grad.numpy(), [2, 2, 2])


def test_tensors_of_two_gpus_do_not_meet():
    says = r"add: tensors on 'cuda:0' and 'cuda:1' meet; move one of them with .to\(\"cuda:0\"\)"
    with pytest.raises(engine.DeviceError, match=says):
        engine.ones(2, device="cuda:0") + engine.ones(2, device="cuda:1")


def test_products_of_16_bits_are_asked_for_in_float32_throughout():
    """Left to itself, cuBLAS may add the parts of a long sum up in the product's own 16 bits."""
    import cupy
    from cupy_backends.cuda.libs import cublas

    x = engine.tensor(drawn(2, 3).astype(np.float16), device="cuda")
    handle = cupy.cuda.get_cublas_handle()
    cublas.setMathMode(handle, 0)
    x @ x.T
    assert cublas.getMathMode(handle) == 16


def test_a_graph_is_given_the_memory_that_waits_to_be_used_again():
    import cupy

    pool = cupy.get_default_memory_pool()
    engine.zeros(1_000_000, device="cuda")  # more than what other tests leave
    assert pool.free_bytes() >= 4_000_000
    run = engine.capture(lambda x: x * 2, warmup=1, device="cuda")
    run(drawn(3)), run(drawn(3))
    assert pool.free_bytes() < 4_000_000


def test_a_copy_in_a_capture_ends_it_with_words(emulated):
    """What our own check does not see, CuPy or CUDA refuses: CuPy's concatenate sends a table."""
    import cupy

    x = cupy.asarray(drawn(3))

    def step(a):
        return engine.Tensor(cupy.concatenate([a.data[i : i + 1] for i in range(3)] * 40))

    run = engine.capture(step, warmup=1, device="cuda")
    run(x)
    with pytest.raises(engine.DeviceError, match=r"capture: the step does what can't be recorded .*H2D.*move what"):
        run(x)
    assert not emulated.device.capturing
    np.testing.assert_array_equal((engine.tensor(x) + 1).numpy(), x.get() + 1)


def test_what_is_not_covered_is_listed(emulated):
    """Ops that need machine code inside CuPy, by trying each: the list of docs/gpu.md."""
    from engine import OPS
    from engine.gradcheck import sample
    from engine.samples import Draw
    from engine.tensor import asarray
    from tests.gpu.uncovered import UNCOVERED
    from tests.test_agreement import SAMPLED

    found = []
    for name in SAMPLED:
        inputs, params = sample(OPS[name], Draw.seeded(0))
        tensors = [asarray(x, device="cuda") if isinstance(x, np.ndarray) else x for x in inputs]
        try:
            OPS[name](tensors, **params) if getattr(OPS[name], "variadic", False) else OPS[name](*tensors, **params)
        except emulated.NotEmulated:
            found.append(name)
    assert found == UNCOVERED
