"""What results mean: tables, ratios, pictures. `python -m benchmarks.compare FILE [OTHER]`.

    python -m benchmarks.compare steps.json --markdown                     the tables of one run
    python -m benchmarks.compare steps.json --into docs/performance.md     ... put into their place in a page
    python -m benchmarks.compare kernels.json --plot kernels.svg           ... as a picture
    python -m benchmarks.compare old.json new.json                         each contender against itself

Times are compared by their medians; by their 10th percentiles where the baseline's median is more than 1.2 of its own
10th percentile, and marked °. Nothing is compared whose control kernels differ by more than `--share`: the machine was
not the same for both. Controls are compared as times are.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from .cases import CASES
from .kernels import DIRECTIONS
from .reasons import reason

SHARE = 0.2  # by which control times may differ
JUMPY = 1.2
WEAKEST = 0.85  # of PyTorch's speed: no op should be below
COMPARED = ("chainrule", "torch"), ("chainrule-kernels", "numpy"), ("chainrule", "numpy")  # elementwise: ours, theirs
Run = dict[str, Any]


# ------------------------------------------------------------------------------------------------ two contenders
def ratio(a: dict[str, float], base: dict[str, float]) -> tuple[float, str]:
    """Time of a relative to the base's, and "°" where it is of 10th percentiles."""
    if base["median"] > JUMPY * base["p10"]:
        return a["p10"] / base["p10"], "°"
    return a["median"] / base["median"], ""


def spread(controls: Sequence[dict[str, float]]) -> float:
    """By what share the slowest control exceeds the fastest: of medians, or, where one jumps, of 10th percentiles."""
    kind = "p10" if any(c["median"] > JUMPY * c["p10"] for c in controls) else "median"
    times = [c[kind] for c in controls]
    return max(times) / min(times) - 1


def refusal(a: dict[str, float], b: dict[str, float], share: float = SHARE) -> str:
    """Why two measurements are not compared, or "": their control kernels."""
    by = spread([a, b])
    return f"not compared: controls differ by {by:.0%}" if by > share else ""


def kernel_refusal(run: Run, share: float = SHARE) -> str:
    """Likewise, of a run of kernels: each control kernel, in each process."""
    for name in run["control"]["chainrule"]:
        by = spread([controls[name] for controls in run["control"].values()])
        if by > share:
            return f"not compared: the control '{name}' differs by {by:.0%}"
    return ""


def geometric_mean(values: Sequence[float]) -> float:
    return math.exp(sum(map(math.log, values)) / len(values))


# ------------------------------------------------------------------------------------------------ the roofline
def roofline(flops: float, moved: float, seconds: float, peaks: dict[str, float]) -> dict[str, float]:
    """FLOP/s, its share of the measured peak, and how near the time is to the least that peak and memory allow."""
    least = max(flops / peaks["flops_per_s"], moved / peaks["bytes_per_s"])
    return {
        "gflops": flops / seconds / 1e9,
        "of_peak": flops / seconds / peaks["flops_per_s"],
        "of_roofline": least / seconds,
    }


# ------------------------------------------------------------------------------------------------ whole steps
HEAD = (
    "| case | contender | median | 10th percentile | relative time | required / aim | GFLOP/s | of peak | of roofline |"
)


def rule(head: str) -> str:
    return "|" + "---|" * (head.count("|") - 1)


def step_table(run: Run, share: float = SHARE) -> list[str]:
    return [HEAD, rule(HEAD), *(line for name in run["cases"] for line in case_lines(run, name, share))]


def case_lines(run: Run, name: str, share: float = SHARE) -> list[str]:
    """A row for each contender, and one for each that is missing."""
    row, case = run["cases"][name], CASES[name]
    base = row["contenders"].get(case.base)
    lines = []
    for who, c in row["contenders"].items():
        relative = ""
        if base and who != case.base:
            value, mark = ratio(c, base)
            relative = refusal(c["control"], base["control"], share) or f"{value:.2f}{mark}"
        goal = " / ".join(f"{g:g}" for g in (case.required, case.aim) if g) if who == "chainrule" else ""
        roof = roofline(row["flops"], row["bytes"], c["median"], run["peaks"])
        cells = [
            name, who, duration(c["median"] / row["per"]), duration(c["p10"] / row["per"]), relative, goal,
            f"{roof['gflops']:.1f}", f"{roof['of_peak']:.0%}", f"{roof['of_roofline']:.0%}",
        ]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    lines += [f"| {name} | {who} | skipped: {why} |{' |' * 6}" for who, why in row["missing"].items()]
    return lines


def duration(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.2f} {unit}"
    return f"{seconds * 1e6:.2f} µs"


# ------------------------------------------------------------------------------------------------ kernels
def kernel_line(row: dict[str, Any]) -> str:
    times = ", ".join(f"{who} {duration(c['median'])}" for who, c in row["contenders"].items())
    relative = [f"{value:.2f}{mark} of {who}'s" for who, value, mark in relatives(row)]
    odd = [f"results differ: {', '.join(row['differ'])}"] if row["differ"] else []
    odd += [f"{who}: {why}" for who, why in row["missing"].items() if why != "no equivalent"]
    return f"{row['op']} {row['direction']} {row['size']}: " + "; ".join([times, *relative, *odd])


def relatives(row: dict[str, Any], ours: str = "chainrule") -> Iterator[tuple[str, float, str]]:
    """(whom, our time relative to theirs, mark), of those whose results are the same."""
    here = row["contenders"].get(ours)
    for who, c in row["contenders"].items():
        if here and not who.startswith("chainrule") and not {who, ours} & {*row["differ"]}:
            yield who, *ratio(here, c)


def elementwise_table(run: Run) -> list[str]:
    """How many times the others' speed, in geometric means over all elementwise ops of a size."""
    head = (
        "| elements | direction | of PyTorch's speed | ops | slower than 0.85 "
        "| of NumPy's speed: the kernels alone | with tensors and tape | ops |"
    )
    lines = [head, rule(head)]
    rows = [r for r in run["rows"] if is_size(r["size"])]
    for size in sorted({r["size"] for r in rows}, key=float):
        for directions in ((d,) for d in DIRECTIONS):
            lines.append(_mean_line(size, directions, rows))
        lines.append(_mean_line(size, DIRECTIONS, rows))
    return lines


def _mean_line(size: str, directions: Sequence[str], rows: list[dict[str, Any]]) -> str:
    speeds: dict[tuple[str, str], list[float]] = {}
    for r in rows:
        if r["size"] == size and r["direction"] in directions:
            for ours in ("chainrule", "chainrule-kernels"):
                for who, value, _ in relatives(r, ours):
                    speeds.setdefault((ours, who), []).append(1 / value)
    of = [speeds.get(pair, []) for pair in COMPARED]
    torch, kernels, numpy = (f"{geometric_mean(s):.2f}" if s else "" for s in of)
    word = directions[0] if len(directions) == 1 else "both"
    slow = sum(s < WEAKEST for s in of[0])
    return f"| {size} | {word} | {torch} | {len(of[0])} | {slow} | {kernels} | {numpy} | {len(of[2])} |"


def is_size(text: str) -> bool:
    """Elementwise rows have a number of elements, structural ones have shapes."""
    return "x" not in text and "e" in text and text.replace("e", "").isdigit()


def slow_table(run: Run) -> list[str]:
    """Every row slower than PyTorch, the slowest first."""
    head = "| op | direction | size | relative time | here | PyTorch | of roofline | reason |"
    found = []
    for r in run["rows"]:
        for who, value, mark in relatives(r):
            if who == "torch" and value > 1:
                c = r["contenders"]
                roof = roofline(r["flops"], r["bytes"], c["chainrule"]["median"], run["peaks"])["of_roofline"]
                why = reason(r["op"], r["direction"], r["size"])
                here, there = duration(c["chainrule"]["median"]), duration(c["torch"]["median"])
                cells = [r["op"], r["direction"], r["size"], f"{value:.2f}{mark}", here, there, f"{roof:.0%}", why]
                found.append((value, "| " + " | ".join(cells) + " |"))
    return [head, rule(head), *(line for _, line in sorted(found, reverse=True))]


def lists(run: Run) -> list[str]:
    """What the tables leave out: ops that PyTorch has no word for, rows whose results differ."""
    alone = sorted({r["op"] for r in run["rows"] if r["missing"].get("torch") == "no equivalent"})
    differ = [f"{r['op']} {r['direction']} {r['size']} ({', '.join(r['differ'])})" for r in run["rows"] if r["differ"]]
    errors = [
        f"{r['op']} {r['direction']}: {r['missing']['chainrule']}" for r in run["rows"] if "chainrule" in r["missing"]
    ]
    out = []
    for title, items in (("Without an equivalent in PyTorch", alone), ("Results differ, not compared", differ),
                         ("Failed", errors)):  # fmt: skip
        if items:
            out += ["", f"{title}: {', '.join(items)}."]
    return out


# ------------------------------------------------------------------------------------------------ one run, two runs
def markdown(run: Run, share: float = SHARE) -> str:
    lines = [*machine_lines(run), ""]
    if run["kind"] == "steps":
        lines += step_table(run, share)
    elif no := kernel_refusal(run, share):
        lines += [f"{no}: the machine was not the same for all, no ratio above counts; measure again when it is quiet."]
    else:
        lines += [*elementwise_table(run), "", *slow_table(run), *lists(run)]
    return "\n".join(lines)


def machine_lines(run: Run) -> list[str]:
    f, p = run["facts"], run["peaks"]
    of = {
        who: ", ".join(f"{k} {v}" for k, v in found.items() if k != "python")
        for who, found in run["versions"].items() if who in ("chainrule", "torch", "jax", "mygrad")
    }  # fmt: skip
    vectors = [
        x for x in f["features"] if x in ("AVX2", "FMA3", "AVX512F", "AVX512_SKX", "NEON", "ASIMD", "X86_V3", "X86_V4")
    ]
    return [
        f"{f['processor']}, {f['cores']} cores, {' '.join(vectors)}, {f['system']}; peak {p['flops_per_s'] / 1e9:.0f} "
        f"GFLOP/s (product of 2048x2048), {p['bytes_per_s'] / 1e9:.1f} GB/s (copy); {f['date']}, commit {f['commit']}; "
        f"{run['seconds']:.0f} s, {run['turns']} turns, of which {run['busy_turns']} found the machine busy or shared.",
        *(f"\n{who}: {text}." for who, text in of.items()),
    ]


def against(old: Run, new: Run, share: float = SHARE) -> str:
    """Each contender's new time relative to its old one."""
    if old["kind"] != new["kind"]:
        sys.exit(f"compare: one file holds {old['kind']}, the other {new['kind']}")
    if old["facts"]["processor"] != new["facts"]["processor"]:
        sys.exit(f"compare: the machines differ: {old['facts']['processor']}, {new['facts']['processor']}")
    head = "| case | contender | before | after | relative time |"
    lines = [head, rule(head)]
    for name, a, b, no in _pairs(old, new, share):
        for who in a["contenders"].keys() & b["contenders"].keys():
            x, y = a["contenders"][who], b["contenders"][who]
            value, mark = ratio(y, x)
            said = no or ("control" in x and refusal(x["control"], y["control"], share)) or f"{value:.2f}{mark}"
            lines.append(f"| {name} | {who} | {duration(x['median'])} | {duration(y['median'])} | {said} |")
    return "\n".join(lines)


def _pairs(old: Run, new: Run, share: float) -> Iterator[tuple[str, Any, Any, str]]:
    if old["kind"] == "steps":
        for name in old["cases"]:
            if name in new["cases"]:
                yield name, old["cases"][name], new["cases"][name], ""
        return
    controls = {f"{i} {who}": c for i, run in enumerate((old, new)) for who, c in run["control"].items()}
    no = kernel_refusal({"control": {**controls, "chainrule": old["control"]["chainrule"]}}, share)
    rows = {(r["op"], r["direction"], r["size"]): r for r in new["rows"]}
    for r in old["rows"]:
        key = r["op"], r["direction"], r["size"]
        if key in rows:
            yield " ".join(key), r, rows[key], no


# ------------------------------------------------------------------------------------------------ pages and pictures
def into(page: str, name: str, text: str) -> str:
    """The page with `text` between its two marks of that name."""
    begin, end = f"<!-- {name}: generated -->\n", f"\n<!-- {name}: end -->"
    if begin not in page or end not in page:
        sys.exit(f"compare: the page has no place for '{name}': give it the lines {begin.strip()} and {end.strip()}")
    before, rest = page.split(begin, 1)
    return before + begin + text + end + rest.split(end, 1)[1]


def plot(run: Run, path: Path) -> None:
    """Steps: a bar for each contender of each case. Kernels: the ops of each size, sorted by relative time."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "chainrule"
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(9, 5), layout="constrained")
    (_plot_steps if run["kind"] == "steps" else _plot_kernels)(axes, run)
    axes.axhline(1, color="black", linewidth=0.8)
    axes.legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    plt.close(figure)


def _plot_steps(axes: Any, run: Run) -> None:
    cases = [n for n, r in run["cases"].items() if CASES[n].base in r["contenders"]]
    shown = [w for w in CASES["mnist-cnn"].contenders if any(w in run["cases"][n]["contenders"] for n in cases)]
    width = 0.8 / max(1, len(shown))
    for k, who in enumerate(shown):
        bars = [(i, run["cases"][n]["contenders"]) for i, n in enumerate(cases) if who in run["cases"][n]["contenders"]]
        bars = [(i, c) for i, c in bars if not refusal(c[who]["control"], c[CASES[cases[i]].base]["control"])]
        heights = [ratio(c[who], c[CASES[cases[i]].base])[0] for i, c in bars]
        axes.bar([i + (k - len(shown) / 2 + 0.5) * width for i, _ in bars], heights, width, label=who)
    axes.set_xticks(range(len(cases)), cases, rotation=30, ha="right")
    axes.set_yscale("log")
    axes.set_ylabel("time relative to PyTorch")


def _plot_kernels(axes: Any, run: Run) -> None:
    sizes = sorted({r["size"] for r in run["rows"] if is_size(r["size"])}, key=float)
    for size in [*sizes, "structural"]:
        rows = [r for r in run["rows"] if (r["size"] == size if is_size(size) else not is_size(r["size"]))]
        values = sorted(v for r in rows for who, v, _ in relatives(r) if who == "torch")
        if values:
            axes.plot([i / len(values) for i in range(len(values))], values, label=size)
    axes.set_yscale("log")
    axes.set_xlabel("share of the ops, forward and backward")
    axes.set_ylabel("time relative to PyTorch")


def main(arguments: Sequence[str] | None = None) -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("file", type=Path)
    p.add_argument("other", type=Path, nargs="?", help="a later run, to compare with")
    p.add_argument("--markdown", action="store_true", help="print the tables (also without)")
    p.add_argument("--into", type=Path, help="put them into this page")
    p.add_argument("--plot", type=Path, help="write a picture, .svg or .png")
    p.add_argument("--share", type=float, default=SHARE, help=f"by which control times may differ [{SHARE}]")
    args = p.parse_args(arguments)
    run = json.loads(args.file.read_text())
    if args.other:
        print(against(run, json.loads(args.other.read_text()), args.share))
        return
    text = markdown(run, args.share)
    if args.into:
        args.into.write_text(into(args.into.read_text(), run["kind"], text))
    if args.plot:
        plot(run, args.plot)
    if args.markdown or not (args.into or args.plot):
        print(text)


if __name__ == "__main__":
    main()
