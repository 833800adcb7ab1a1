"""Time what is asked for, in turns: `python -m benchmarks.run [CASE ...]`.

    python -m benchmarks.run                          every whole step: networks, small tensors, an epoch
    python -m benchmarks.run mnist-cnn lstm-100       some of them
    python -m benchmarks.run kernels                  every op of the registry, forward and backward
    python -m benchmarks.run kernels --ops gelu sum --sizes 1e4 1e6

Contenders that are not installed are named and skipped; `--python torch=PATH` runs one in another environment's
interpreter. `--out FILE` keeps the results as JSON for `python -m benchmarks.compare`; with `--add` beside what the
file has, so that a long run of kernels may be done in pieces.

"0.50 of torch's" is time: half of it. ° marks a ratio of 10th percentiles, where PyTorch's median jumps; "required /
aim" are this project's own bars. A turn waits for a quiet machine, so a run on a busy one takes longer and says so.
docs/performance.md tells how all this is measured.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from . import compare
from .cases import CASES, Case
from .contenders import CONTENDERS
from .harness import Turns, Worker, start, statistics, why_missing
from .kernels import DIRECTIONS, KINDS, SIZES, KernelCase, every_case
from .machine import CONTROLS, facts, peaks

KERNEL_CONTENDERS = "chainrule", "torch", "chainrule-kernels", "numpy"
CONTROL_EVERY = 8  # kernels
Say = Callable[[str], None]


def say(line: str) -> None:
    print(line, flush=True)


def steps(
    names: Sequence[str], contenders: Sequence[str], pythons: dict[str, str], turns: Turns, say: Say = say,
    worker: Callable[..., Any] = Worker,
) -> dict[str, Any]:  # fmt: skip
    """Whole steps. Each case has fresh processes."""
    run = begin("steps")
    with until_interrupted(say):
        for name in names:
            case = CASES[name]
            say(f"{name}: {case.title}")
            named = [c for c in case.contenders if c in contenders]
            run["cases"][name] = one_step(case, named, pythons, turns, say, worker)
            run["versions"] |= run["cases"][name].pop("versions")
            for line in compare.case_lines(run, name):
                say(f"  {line}")
    return end(run, turns)


def one_step(
    case: Case, names: Sequence[str], pythons: dict[str, str], turns: Turns, say: Say, worker: Callable[..., Any]
) -> dict[str, Any]:
    workers, missing = [], {}
    for w in start(names, pythons, worker):
        answer = w.make(case.network())
        if "missing" in answer:
            missing[w.name] = why_missing(w.name, answer)
            say(f"  {w.name}: skipped ({missing[w.name]})")
            w.close()
        else:
            workers.append(w)
    for w in workers:
        w.ask(f"run {case.warm_up} 0")
    versions = {w.name: w.ask("facts") for w in workers}
    times, controls = turns.drive(workers, case.control)
    for w in workers:
        w.close()
    return {
        "title": case.title, "sizes": case.sizes, "per": case.per, "flops": case.flops(**case.sizes),
        "bytes": case.bytes(**case.sizes), "missing": missing, "versions": versions,
        "contenders": {n: {**statistics(t), "control": statistics(controls[n])} for n, t in times.items()},
    }  # fmt: skip


def kernels(
    cases: Sequence[KernelCase], contenders: Sequence[str], pythons: dict[str, str], turns: Turns, say: Say = say,
    worker: Callable[..., Any] = Worker,
) -> dict[str, Any]:  # fmt: skip
    """Every case in the same processes, one per contender."""
    run = begin("kernels")
    workers = []
    for w in start(contenders, pythons, worker):
        answer = w.make(cases[0])
        if "No module" in answer.get("missing", ""):
            run["missing"][w.name] = why_missing(w.name, answer)
            say(f"{w.name}: skipped ({run['missing'][w.name]})")
            w.close()
        else:
            workers.append(w)
    run["versions"] = {w.name: w.ask("facts") for w in workers}
    controls: dict[str, dict[str, list[float]]] = {w.name: {c: [] for c in CONTROLS} for w in workers}
    with until_interrupted(say):
        for i, case in enumerate(cases):
            if i % CONTROL_EVERY == 0:
                limit = turns.fair_wait(len(workers) * len(CONTROLS))
                for w in workers:
                    for c, found in controls[w.name].items():
                        found.append(turns.control(w, c, limit))
            run["rows"].append(one_kernel(case, workers, turns))
            say(compare.kernel_line(run["rows"][-1]))
    run["control"] = {n: {c: statistics(t) for c, t in of.items()} for n, of in controls.items()}
    for w in workers:
        w.close()
    return end(run, turns)


def one_kernel(case: KernelCase, workers: Sequence[Any], turns: Turns) -> dict[str, Any]:
    answers = {w.name: w.make(case) for w in workers}
    times, _ = turns.drive([w for w in workers if "ready" in answers[w.name]])
    first = next((a for a in answers.values() if "ready" in a), {"bytes": 0, "digest": []})
    return {
        "op": case.op, "direction": case.direction, "size": case.size, "flops": case.flops, "bytes": first["bytes"],
        "differ": [n for n in times if not agree(answers[n]["digest"], first["digest"])],
        "missing": {n: a["missing"] for n, a in answers.items() if "missing" in a},
        "contenders": {n: statistics(t) for n, t in times.items()},
    }  # fmt: skip


@contextmanager
def until_interrupted(say: Say) -> Iterator[None]:
    """Ctrl-C, or a polite kill, ends the measuring; what has been measured is reported and kept."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        say("interrupted: what follows is of the cases that were complete")
    finally:
        signal.signal(signal.SIGTERM, before)


def agree(a: list[float], b: list[float], share: float = 1e-2) -> bool:
    """Do two contenders' results have the same mean magnitudes? One that is missing (no gradient flows) is 0."""
    n = max(len(a), len(b))
    padded = zip(a + [0.0] * (n - len(a)), b + [0.0] * (n - len(b)), strict=True)
    return all(abs(x - y) <= share * max(abs(x), abs(y), 1e-3) for x, y in padded)


def merged(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Two runs of kernels as one: the rows of both, the new ones where both have them; controls weigh by timings."""
    rows = {(r["op"], r["direction"], r["size"]): r for r in [*old["rows"], *new["rows"]]}

    def mean(a: dict[str, float], b: dict[str, float]) -> dict[str, float]:
        n = a["timings"] + b["timings"]
        return {k: (a[k] * a["timings"] + b[k] * b["timings"]) / n for k in ("median", "p10", "p90")} | {"timings": n}

    control = {
        who: {c: mean(old["control"][who][c], found) if who in old["control"] else found for c, found in of.items()}
        for who, of in new["control"].items()
    }
    sums = {k: old[k] + new[k] for k in ("seconds", "turns", "busy_turns")}
    peaks = {k: max(v, new["peaks"][k]) for k, v in old["peaks"].items()}
    return {**new, **sums, "rows": list(rows.values()), "control": old["control"] | control, "peaks": peaks}


def begin(kind: str) -> dict[str, Any]:
    empty: dict[str, Any] = {"cases": {}} if kind == "steps" else {"rows": [], "missing": {}}
    return {"kind": kind, "facts": facts(), "peaks": peaks(), "versions": {}, "started": time.time(), **empty}


def end(run: dict[str, Any], turns: Turns) -> dict[str, Any]:
    run["peaks"] = {k: max(v, run["peaks"][k]) for k, v in peaks().items()}
    run |= {"seconds": time.time() - run.pop("started"), "turns": turns.turns, "busy_turns": turns.busy}
    return run


def parser(prog: str) -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join([*CASES, *KINDS])}")
    p.add_argument("--contenders", nargs="+", choices=list(CONTENDERS), help="only these")
    p.add_argument("--python", action="append", default=[], metavar="CONTENDER=PATH", type=interpreter,
                   help="its interpreter")  # fmt: skip
    p.add_argument("--rounds", type=count, help="turns of each contender")
    p.add_argument("--timings", type=count, help="timings of a turn, at least")
    p.add_argument("--seconds", type=float, help="of a turn, at least")
    p.add_argument("--budget", type=float, help="seconds after which a contender takes no more turns")
    p.add_argument("--ops", nargs="+", default=[], help="kernels: only these ops")
    p.add_argument("--sizes", nargs="+", type=count, default=list(SIZES), help="kernels: of elementwise ops")
    p.add_argument("--directions", nargs="+", choices=DIRECTIONS, default=list(DIRECTIONS))
    p.add_argument("--out", type=Path, help="write the results as JSON")
    p.add_argument("--add", action="store_true", help="kernels: beside those that the file has")
    return p


def count(text: str) -> int:
    """12 or 1e4: a whole number from 1 to a thousand million."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 1 <= value <= 1e9 or value % 1:
        raise argparse.ArgumentTypeError(f"'{text}' is no whole number from 1 to 1e9")
    return int(value)


def interpreter(text: str) -> tuple[str, str]:
    """CONTENDER=PATH"""
    name, _, path = text.partition("=")
    if name not in {*CONTENDERS, *(c.package for c in CONTENDERS.values())}:
        raise argparse.ArgumentTypeError(f"there is no contender '{name}': CONTENDER=PATH, of {', '.join(CONTENDERS)}")
    if shutil.which(path) is None:
        raise argparse.ArgumentTypeError(f"'{path}' is no program: give {name}'s Python, {name}=PATH")
    return name, path


def mistake(args: argparse.Namespace) -> str:
    """What can't be measured, in a line; "" where all is well."""
    kind = next((c for c in args.cases if c in KINDS), "")
    if unknown := [c for c in args.cases if c not in CASES and c not in KINDS]:
        return f"there is no case '{unknown[0]}'; choose of {', '.join([*CASES, *KINDS])}"
    if kind and len(args.cases) > 1:
        return f"{kind} is a run of its own: name nothing beside it"
    if not kind and (args.ops or args.sizes != list(SIZES) or args.directions != list(DIRECTIONS)):
        return "--ops, --sizes and --directions are of kernels: bench kernels --ops gelu --sizes 1e4"
    if kind:
        from engine import OPS
        from engine.elsewhere import remedy

        if unknown := [name for name in args.ops if name not in OPS]:
            return f"there is no op '{unknown[0]}'{remedy(unknown[0], OPS)}"
        if args.contenders and "chainrule" not in args.contenders:
            return "kernels are compared with chainrule's: name it among the contenders"
        if next(every_case(kind, args.ops, args.sizes, args.directions), None) is None:
            return f"no case is left of {kind}: {' '.join(args.ops)} {' '.join(args.directions)}"
    elif args.contenders:
        for name in args.cases:
            if not {*args.contenders} & {*CASES[name].contenders}:
                return f"{name} has other contenders: {', '.join(CASES[name].contenders)}"
    if args.out:
        new = not args.out.exists()
        try:
            args.out.parent.mkdir(parents=True, exist_ok=True)
            args.out.open("a").close()
            if new:
                args.out.unlink()
        except OSError as error:
            return f"--out {args.out}: {error.strerror}"
    return ""


def main(arguments: Sequence[str] | None = None, prog: str = "python -m benchmarks.run") -> None:
    p = parser(prog)
    args = p.parse_args(arguments)
    old = args.out.read_text() if args.add and args.out and args.out.is_file() else ""
    if found := mistake(args):
        p.exit(2, f"bench: {found}\n")
    pythons = dict(args.python)
    given = {k: v for k in ("rounds", "timings", "seconds", "budget") if (v := getattr(args, k)) is not None}
    if args.cases and args.cases[0] in KINDS:
        cases = list(every_case(args.cases[0], args.ops, args.sizes, args.directions))
        turns = Turns(**{"rounds": 4, "timings": 2, "seconds": 0.012, "budget": 0.3, **given})
        run = kernels(cases, args.contenders or KERNEL_CONTENDERS, pythons, turns)
    else:
        run = steps(args.cases or list(CASES), args.contenders or list(CONTENDERS), pythons, Turns(**given))
    if old and run["kind"] == "kernels":
        run = merged(json.loads(old), run)
    print(compare.markdown(run))
    if args.out:
        args.out.write_text(json.dumps(run, indent=1) + "\n")


if __name__ == "__main__":
    main()
