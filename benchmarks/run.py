"""Time every contender of every case, in turns: `python -m benchmarks.run [CASE ...]`.

One process per contender, each driven for a few steps at a time while the others sleep, so that a drift of the
machine's speed meets all of them. Medians and 10th percentiles after warm-up; ratios are of medians from the one run.
Contenders that are not installed are named and skipped; `--python torch=PATH` runs one in another environment's
interpreter.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from .cases import CASES

ROOT = Path(__file__).parent.parent


class Worker:
    """A contender's process, asked line by line."""

    def __init__(self, case: str, contender: str, python: str) -> None:
        command = [python, "-m", "benchmarks.worker", case, contender]
        self.process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.name = contender
        self.times: list[float] = []
        self.hello = self._answer()

    def _answer(self):  # noqa: ANN202
        line = self.process.stdout.readline()
        return json.loads(line) if line else {"missing": "its process ended"}

    def ask(self, line: str):  # noqa: ANN201
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait(timeout=20)


def wait_until_idle(limit: float = 5.0) -> None:
    """Give a machine that is busy with something else a moment; go on after `limit` seconds."""
    end = time.monotonic() + limit
    while time.monotonic() < end and os.getloadavg()[0] > 2.5:
        time.sleep(0.2)


def run_case(name: str, pythons: dict[str, str], rounds: int, steps: int, warm_up: int) -> dict:
    workers = []
    for contender in CASES[name].contenders:
        worker = Worker(name, contender, pythons.get(contender.split("-")[0], sys.executable))
        if "missing" in worker.hello:
            print(f"  {contender}: skipped ({worker.hello['missing']})", flush=True)
        else:
            workers.append(worker)
    controls = {w.name: [w.ask("control")] for w in workers}
    for w in workers:
        w.ask(f"run {warm_up}")
    for _ in range(rounds):
        for w in workers:
            wait_until_idle(0.5)
            time.sleep(0.02)
            w.times += w.ask(f"run {steps}")
    for w in workers:
        controls[w.name].append(w.ask("control"))
        w.close()
    return {
        w.name: {
            "median_ms": 1e3 * float(np.median(w.times)),
            "p10_ms": 1e3 * float(np.percentile(w.times, 10)),
            "steps": len(w.times),
            "control_ms": [1e3 * c for c in controls[w.name]],
        }
        for w in workers
    }


def table(results: dict[str, dict]) -> str:
    lines = ["| case | contender | median ms | 10th percentile | time relative to torch |", "|---|---|---|---|---|"]
    for case, rows in results.items():
        base = rows.get("torch")
        for name, row in rows.items():
            ratio = f"{row['median_ms'] / base['median_ms']:.2f}" if base else ""
            lines.append(f"| {case} | {name} | {row['median_ms']:.2f} | {row['p10_ms']:.2f} | {ratio} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", default=list(CASES), help=f"of {', '.join(CASES)}")
    parser.add_argument("--python", action="append", default=[], metavar="CONTENDER=PATH", help="its interpreter")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--steps", type=int, default=5, help="steps per turn")
    parser.add_argument("--warm-up", type=int, default=15)
    parser.add_argument("--out", type=Path, help="write the results as JSON")
    args = parser.parse_args()
    pythons = dict(p.split("=", 1) for p in args.python)
    results = {}
    for name in args.cases:
        print(name, flush=True)
        results[name] = run_case(name, pythons, args.rounds, args.steps, args.warm_up)
    print(table(results))
    facts = {"machine": platform.machine(), "processors": os.cpu_count(), "numpy": np.__version__}
    if args.out:
        args.out.write_text(json.dumps({"facts": facts, "results": results}, indent=1))


if __name__ == "__main__":
    main()
