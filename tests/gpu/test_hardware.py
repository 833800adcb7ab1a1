"""What only a GPU can show: streams that run beside each other, a second device, graphs launched by the driver.

Part of `make test-gpu`; skipped where there is no GPU.
"""

from __future__ import annotations

import numpy as np
import pytest

import engine
import layers
import optim
from engine.parameter import training_mode
from models.zoo import mnist_cnn


@pytest.fixture(scope="module", autouse=True)
def cupy(request):
    if not request.config.getoption("--device").startswith("cuda") or request.config.getoption("--emulate"):
        pytest.skip("needs a GPU: make test-gpu")
    return pytest.importorskip("cupy")


@pytest.fixture
def second(cupy):
    if cupy.cuda.runtime.getDeviceCount() < 2:
        pytest.skip("needs two GPUs")
    return "cuda:1"


def step_of(device, wrap=lambda step: step):
    """A training step, and what it takes."""
    model, loss = mnist_cnn(seed=0), layers.losses.SparseCategoricalCrossentropy()
    model.build((None, 28, 28, 1))
    optimizer = optim.Adam(model.to(device).parameters())
    x = engine.tensor(np.random.default_rng(0).standard_normal((64, 28, 28, 1)).astype(np.float32), device=device)
    y = engine.tensor(np.arange(64) % 10, device=device)

    def step(x, y):
        optimizer.zero_grad()
        with training_mode(True):
            value = loss(y, model(x))
        value.backward()
        optimizer.step()
        return value.detach()

    run = wrap(step)
    return lambda: run(x, y)


def losses(device, wrap=lambda step: step, steps=6):
    step = step_of(device, wrap)
    return [step().item() for _ in range(steps)]


def test_a_step_repeats_bit_for_bit():
    assert losses("cuda") == losses("cuda")


def test_a_captured_step_gives_the_plain_ones_losses():
    assert losses("cuda", engine.capture) == losses("cuda")


def test_a_graph_may_be_launched_on_any_stream(cupy):
    want, step = losses("cuda"), step_of("cuda", engine.capture)
    got = []
    for _ in want:
        with cupy.cuda.Stream(non_blocking=True) as stream:
            value = step()
            stream.synchronize()
            got.append(value.item())
    assert got == want


def test_models_on_two_streams_do_not_disturb_each_other(cupy):
    want = losses("cuda")
    streams = [cupy.cuda.Stream(non_blocking=True) for _ in range(2)]
    steps, got = [], ([], [])
    for stream in streams:
        with stream:
            steps.append(step_of("cuda"))
    for _ in want:
        for stream, step, mine in zip(streams, steps, got, strict=True):
            with stream:
                mine.append(step())
    for stream, mine in zip(streams, got, strict=True):
        with stream:
            assert [value.item() for value in mine] == want


def test_the_second_device_trains_while_the_first_is_current(second):
    np.testing.assert_allclose(losses(second), losses("cuda:0"), rtol=1e-5)
    assert losses(second, lambda step: engine.capture(step, device=second)) == losses(second)


def test_values_and_gradients_go_from_device_to_device(second):
    x = engine.tensor([1.0, 2.0], device="cuda:0", requires_grad=True)
    (x.to(second) * 3.0).sum().backward()
    assert x.grad.device == "cuda:0"
    np.testing.assert_array_equal(x.grad.numpy(), [3, 3])
    with pytest.raises(engine.DeviceError, match="tensors on 'cuda:0' and 'cuda:1' meet"):
        x + x.to(second)
