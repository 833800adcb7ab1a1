"""The rows of benchmarks/results/kernels.json for one op."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.compare import duration, kernel_refusal, relatives

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results" / "kernels.json"


@cache
def run() -> dict[str, Any]:
    return json.loads(RESULTS.read_text()) if RESULTS.exists() else {"rows": []}


def speed(name: str) -> list[str]:
    """A table in Markdown of what was measured, or the word that nothing was."""
    rows = [r for r in run()["rows"] if r["op"] == name]
    if not rows:
        return ["No run of [the benchmark](../performance.md) in this repository covers this op."]
    no = kernel_refusal(run())
    lines = ["| size | direction | here | PyTorch | NumPy | time relative to PyTorch |", "|---|---|---|---|---|---|"]
    for r in rows:
        times = [r["contenders"].get(who) for who in ("chainrule", "torch", "numpy")]
        ratio = {who: f"{value:.2f}{mark}" for who, value, mark in relatives(r)}.get("torch", "")
        cells = [r["size"], r["direction"], *("" if t is None else duration(t["median"]) for t in times)]
        lines.append("| " + " | ".join([*cells, "" if no else ratio]) + " |")
    f = run()["facts"]
    where = f"{f['processor']}, {f['cores']} cores, {f['system']}, {f['date']}, commit {f['commit']}"
    how = "How it is measured: [performance](../performance.md)."
    return [*lines, "", f"Medians. {where}. {how}{f' {no}.' if no else ''}"]
