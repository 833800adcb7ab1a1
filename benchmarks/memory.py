"""How much memory a step of attention over long texts takes: `python -m benchmarks.memory`.

    python -m benchmarks.memory --python torch=PATH --python torch-explicit=PATH      PyTorch of another environment

A step is forward and backward of multi-head attention, x (N,T,hd) -> (N,T,hd), float32, batch 16, 12 heads of 32.

    chainrule        layers.MultiHeadAttention: blocks of keys, no T x T matrix
    torch            nn.MultiheadAttention, whose kernel is scaled_dot_product_attention
    torch-explicit   the same, with the softmax written out: it keeps a T x T matrix of each head

Each runs in a process of its own, first with 8 words, so that all code is loaded and nothing else grows later. What is
told is the peak of the resident memory (VmHWM of Linux) in the long step, less what was resident before it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

HEADS, DEPTH = 12, 32
SHORT = 8
Step = Callable[[np.ndarray, np.ndarray], object]  # of x and of the cotangent of y


def chainrule() -> Step:
    from engine import Tensor
    from layers import MultiHeadAttention

    layer = MultiHeadAttention(HEADS, DEPTH)

    def step(x: np.ndarray, g: np.ndarray) -> object:
        y = layer(Tensor(x, requires_grad=True), training=True)
        return y.backward(Tensor(g))

    return step


def torch(explicit: bool = False) -> Step:
    import torch

    layer = torch.nn.MultiheadAttention(HEADS * DEPTH, HEADS, batch_first=True)

    def step(x: np.ndarray, g: np.ndarray) -> object:
        leaf = torch.from_numpy(x).requires_grad_()
        y = layer(leaf, leaf, leaf, need_weights=explicit)[0]
        return y.backward(torch.from_numpy(g))

    return step


CONTENDERS: dict[str, Callable[[], Step]] = {
    "chainrule": chainrule, "torch": torch, "torch-explicit": lambda: torch(explicit=True),
}  # fmt: skip


def measure(name: str, batch: int, length: int) -> int:
    """Bytes at the peak of a step, in this process."""
    step, rng = CONTENDERS[name](), np.random.default_rng(0)
    small, large = (
        [rng.standard_normal((batch, T, HEADS * DEPTH), np.float32) for _ in range(2)] for T in (SHORT, length)
    )
    step(*small)
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak: a compiler may have been at work
    before = resident()
    step(*large)
    return resident("VmHWM") - before


def resident(what: str = "VmRSS") -> int:
    """Bytes of this process in memory now; at the peak ("VmHWM")."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{what}:"))


def main(arguments: Sequence[str] | None = None) -> None:
    p = argparse.ArgumentParser("python -m benchmarks.memory", description=(__doc__ or "").partition("\n")[0])
    p.add_argument("--python", action="append", default=[], metavar="CONTENDER=PATH", help="its interpreter")
    p.add_argument("--batch", type=int, default=16)
    p.add_argument("--length", type=int, nargs="+", default=[512])
    p.add_argument("--measure", choices=list(CONTENDERS), help="measure in this process, and print the bytes")
    args = p.parse_args(arguments)
    if args.measure:
        print(json.dumps(measure(args.measure, args.batch, args.length[0])))
        return
    pythons = dict(pair.split("=", 1) for pair in args.python)
    print("| words | contender | peak of the step | of torch's |\n|---|---|---|---|")
    for length in args.length:
        found = {name: in_a_process(name, pythons.get(name, sys.executable), args.batch, length) for name in CONTENDERS}
        for name, size in found.items():
            share = f"{size / found['torch']:.2f}" if size and found["torch"] else ""
            print(f"| {length} | {name} | {f'{size / 2**20:.0f} MiB' if size else 'not installed'} | {share} |")


def in_a_process(name: str, python: str, batch: int, length: int) -> int | None:
    """The measurement in a fresh process; None where the contender is not installed."""
    words = [python, "-m", "benchmarks.memory", "--measure", name, "--batch", str(batch), "--length", str(length)]
    done = subprocess.run(words, capture_output=True, text=True, cwd=Path(__file__).parents[1], check=False)
    if done.returncode and "No module named 'torch'" in done.stderr:
        return None
    if done.returncode:
        raise RuntimeError(done.stderr)
    return int(json.loads(done.stdout))


if __name__ == "__main__":
    main()
