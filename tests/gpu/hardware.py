"""Layer E of docs/gpu.md: the tests and figures that need a GPU, with a log that says on which one.

    python -m tests.gpu.hardware test      # `make test-gpu`
    python -m tests.gpu.hardware bench     # `make bench-gpu`: against CuPy alone, and PyTorch where it is installed

Where there is no GPU it says why, and ends well. Logs go to build/gpu/.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import engine
import layers
import optim
from engine import ops
from engine.backends import detect
from engine.parameter import training_mode
from models.zoo import mnist_cnn

LOGS = Path("build/gpu")
TESTS = [
    "tests/test_agreement.py", "tests/test_ops.py", "tests/test_mixed_precision.py", "tests/test_optim.py",
    "tests/test_losses.py", "tests/test_reductions.py", "tests/test_capture.py",
    "tests/test_capture_limits.py", "tests/test_layers.py",
    "tests/test_layer_laws.py", "tests/test_recurrent.py", "tests/test_transformer.py", "tests/gpu/test_hardware.py",
]  # fmt: skip
ROUNDS = 30


def main(arguments: list[str]) -> int:
    try:
        cupy = detect.usable()
    except engine.DeviceError as problem:
        print(f"nothing was run on a GPU: {problem}")
        return 0
    LOGS.mkdir(parents=True, exist_ok=True)
    head = [f"{name}: {what}" for name, what in engine.devices().items()]
    head += [f"CuPy {cupy.__version__}, NumPy {np.__version__}, Python {sys.version.split()[0]}"]
    head += [f"driver {cupy.cuda.runtime.driverGetVersion()}, runtime {cupy.cuda.runtime.runtimeGetVersion()}"]
    path = LOGS / f"{arguments[0]}-{time.strftime('%Y-%m-%d-%H%M%S')}.log"
    with path.open("w") as log:
        code = 0
        for line in [*head, *(bench(cupy) if arguments[0] == "bench" else [])]:
            print(line)
            print(line, file=log, flush=True)
        if arguments[0] == "test":
            command = [sys.executable, "-m", "pytest", "--device", "cuda", "-q", *TESTS, *arguments[1:]]
            with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as run:
                for line in run.stdout or ():
                    print(line, end="")
                    log.write(line)
            code = run.returncode
    print(f"written to {path}")
    return code


# ------------------------------------------------------------------------------------------------ figures
def bench(cupy: Any) -> Iterator[str]:
    """A line for each case: the median and the quartiles of some rounds, all contenders in turns."""
    for name, contenders in cases(cupy).items():
        times: dict[str, list[float]] = {who: [] for who in contenders}
        for run in contenders.values():
            run()  # compiles
        for _ in range(ROUNDS):
            for who, run in contenders.items():
                cupy.cuda.Device().synchronize()
                began = time.perf_counter()
                run()
                cupy.cuda.Device().synchronize()
                times[who].append(1e3 * (time.perf_counter() - began))
        for who, each in times.items():
            low, middle, high = statistics.quantiles(each, n=4)
            yield f"{name:40} {who:12} {middle:9.3f} ms  ({low:.3f} to {high:.3f})"


def cases(cupy: Any) -> dict[str, dict[str, Callable[[], Any]]]:
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((2048, 2048)).astype(np.float32) for _ in range(2))
    x, labels = rng.standard_normal((128, 28, 28, 1)).astype(np.float32), rng.integers(0, 10, 128)
    with engine.device("cuda"):
        ta, tb = engine.tensor(a), engine.tensor(b)
        ca, cb = ta.data, tb.data
        step = training_step(x, labels)
        captured = engine.capture(training_step(x, labels))
        for _ in range(3):
            captured()  # the third call is recorded
    found: dict[str, dict[str, Callable[[], Any]]] = {
        "matmul (2048,2048)": {"chainrule": lambda: ta @ tb, "cupy": lambda: ca @ cb},
        "sigmoid (2048,2048)": {"chainrule": lambda: ops.sigmoid(ta), "cupy": lambda: 1 / (1 + cupy.exp(-ca))},
        "softmax (2048,2048)": {"chainrule": lambda: ops.softmax(ta)},
        "sum over axis 0 (2048,2048)": {"chainrule": lambda: ta.sum(0), "cupy": lambda: ca.sum(0)},
        "training step, mnist_cnn, batch 128": {"chainrule": step, "captured": captured},
    }
    try:
        import torch
    except ImportError:
        return found
    pa, pb = torch.tensor(a, device="cuda"), torch.tensor(b, device="cuda")
    found["matmul (2048,2048)"]["torch"] = lambda: pa @ pb
    found["sigmoid (2048,2048)"]["torch"] = lambda: torch.sigmoid(pa)
    found["softmax (2048,2048)"]["torch"] = lambda: torch.softmax(pa, -1)
    found["sum over axis 0 (2048,2048)"]["torch"] = lambda: pa.sum(0)
    return found


def training_step(x: Any, labels: Any) -> Callable[[], None]:
    model, images, truth = mnist_cnn(seed=0), engine.tensor(x), engine.tensor(labels)
    optimizer, loss = optim.Adam(model.parameters()), layers.losses.SparseCategoricalCrossentropy()

    def step() -> None:
        with training_mode(True):
            value = loss(truth, model(images))
        optimizer.zero_grad()
        value.backward()
        optimizer.step()

    return step


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or ["test"]))
