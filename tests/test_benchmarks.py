"""The harness, with contenders made up; and that each op and each network is a case."""

from __future__ import annotations

import json
import math
import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import engine
from benchmarks import compare, harness, kernels, machine, memory, reasons, run
from benchmarks.cases import CASES
from benchmarks.contenders import CONTENDERS, bare_kernels, ours, plain_numpy
from benchmarks.harness import Turns, Worker, statistics
from benchmarks.worker import TIMING, Timed, digest
from engine.kernels.cpu.jit import ENABLED
from models import cli


class Fake:
    """A contender whose timings in a turn are 1, 2, 3 ... times `unit` seconds."""

    unit = {"chainrule": 1.0, "torch": 4.0, "chainrule-kernels": 0.5, "numpy": 8.0}
    control = {}

    def __init__(self, name, python):
        self.name, self.python, self.closed = name, python, False

    def make(self, case):
        if self.name not in self.unit:
            return {"missing": f"No module named '{CONTENDERS[self.name].package}'"}
        return {"ready": True, "digest": [1.0], "bytes": 100}

    def ask(self, line):
        word, *rest = line.split()
        if word == "control":
            return self.control.get(self.name, 1.0)
        if word == "facts":
            return {"python": "3", "numpy": "2"}
        return [self.unit[self.name] * (i + 1) for i in range(int(rest[0]))]

    def close(self):
        self.closed = True


def turns(**options):
    return Turns(**{"rounds": 2, "timings": 2, "seconds": 0.0, "quiet": lambda limit: True, **options})


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(run, "peaks", lambda: {"flops_per_s": 1e9, "bytes_per_s": 1e9})
    monkeypatch.setattr(Fake, "control", {})


@pytest.fixture
def said():
    return []


def steps(said, **options):
    return run.steps(["mlp"], ["chainrule", "torch", "jax"], {}, turns(**options), said.append, Fake)


# ------------------------------------------------------------------------------------------------ turns
def test_contenders_take_turns_and_busy_ones_are_counted():
    order, quiet = [], iter([True, False, True, False] * 3)
    workers = [Fake("chainrule", ""), Fake("torch", "")]
    for w in workers:
        w.ask = lambda line, w=w: order.append(w.name) or [1.0]
    t = turns(rounds=3, quiet=lambda limit: next(quiet))
    times, controls = t.drive(workers)
    assert order == ["chainrule", "torch"] * 3 and (t.turns, t.busy) == (6, 3)
    assert times == {"chainrule": [1.0] * 3, "torch": [1.0] * 3} and controls == {"chainrule": [], "torch": []}


def test_who_has_used_up_its_time_takes_two_turns():
    times, _ = turns(rounds=5, budget=-1.0).drive([Fake("chainrule", "")])
    assert len(times["chainrule"]) == 2 * 2


def test_waiting_for_a_quiet_machine_ends():
    queue, paces = iter([2, 1, 0, 0, 0]), iter([False, False, True])
    assert machine.wait_until_quiet(5.0, running=lambda: next(queue), full=lambda: next(paces))
    assert not machine.wait_until_quiet(0.003, running=lambda: 1, full=lambda: True)
    assert not machine.wait_until_quiet(0.003, running=lambda: 0, full=lambda: False)
    assert machine.wait_until_quiet(0.0, running=lambda: None, full=lambda: True)  # a system that does not say


def test_waiting_takes_no_more_than_its_share_of_a_run_and_as_long_for_each():
    def wait(limit):
        limits.append(limit)
        time.sleep(limit)
        return False

    limits = []
    t = turns(rounds=4, patience=0.05, grace=0.12, quiet=wait)
    t.drive([Fake("chainrule", ""), Fake("torch", "")])
    assert limits[:2] == [0.05, 0.05] and sum(limits) < 0.2 and t.busy == 8
    assert limits[::2] == limits[1::2]


def test_a_core_is_at_full_speed_when_it_is_as_fast_as_it_ever_was(monkeypatch):
    monkeypatch.setattr(machine, "FIRST_LOOKS", 1)
    first = {0: 1.0, 1: 1.6}  # cores need not be alike
    looks = [first, first, {0: 1.2, 1: 1.6}, {0: 1.3, 1: 1.6}, {0: 1.0, 1: 2.1}, {0: 0.8, 1: 1.6}, {0: 1.1, 1: 1.6}]
    times = (seconds for look in looks for seconds in look.values())
    monkeypatch.setattr(machine, "best", lambda loop, n: next(times))
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda pid: {0, 1}, raising=False)
    monkeypatch.setattr(machine.os, "sched_setaffinity", lambda pid, cores: None, raising=False)
    pace = machine.Pace()
    assert [pace.full() for _ in range(6)] == [True, True, False, False, True, False]


def test_where_no_core_may_be_chosen_the_present_one_is_looked_at(monkeypatch):
    def refuse(pid, cores):
        raise PermissionError

    monkeypatch.setattr(machine, "FIRST_LOOKS", 1)
    monkeypatch.setattr(machine, "best", lambda loop, n: 1.0)
    monkeypatch.setattr(machine.os, "sched_setaffinity", refuse, raising=False)
    pace = machine.Pace()
    assert pace.full() and pace.fastest == {-1: 1.0}


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="no process may be bound to a core here")
def test_looking_at_each_core_leaves_the_process_where_it_was(monkeypatch):
    monkeypatch.setattr(machine, "FIRST_LOOKS", 1)
    before = os.sched_getaffinity(0)
    try:
        for cores in ({min(before)}, before):
            os.sched_setaffinity(0, cores)
            assert machine.Pace().full() in (True, False)
            assert os.sched_getaffinity(0) == cores
    finally:
        os.sched_setaffinity(0, before)


def test_statistics_are_the_median_and_the_tenths():
    s = statistics([float(i) for i in range(11)])
    assert (s["median"], s["p10"], s["p90"], s["timings"]) == (5.0, 1.0, 9.0, 11)


@pytest.mark.parametrize(("seconds", "repeats"), [(4 * TIMING, 1), (TIMING / 10, 10)])
def test_one_timing_is_of_one_call_or_of_as_many_as_fill_it(monkeypatch, seconds, repeats):
    clock = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])

    def call():
        clock[0] += seconds

    timed = Timed(call)
    timed.calibrate()
    assert timed.repeats == repeats
    assert timed.times(3) == pytest.approx([seconds] * 3)


def test_an_interpreter_serves_every_form_of_its_contender():
    made = harness.start(["chainrule", "torch", "torch-best", "jax"], {"torch": "/t", "jax": "/j"}, Fake)
    assert [w.python for w in made[1:]] == ["/t", "/t", "/j"] and made[0].python not in ("/t", "/j")


# ------------------------------------------------------------------------------------------------ a run of steps
def test_a_run_of_steps_skips_with_a_line_and_survives_json(quick, said, tmp_path):
    result = steps(said)
    assert "  jax: skipped (not installed: pip install jax, or --python jax=PATH)" in said
    row = result["cases"]["mlp"]
    assert row["contenders"]["chainrule"]["median"] == 1.5 and row["contenders"]["torch"]["median"] == 6.0
    again = json.loads(json.dumps(result))
    assert again == result and compare.markdown(again) == compare.markdown(result)
    table = compare.markdown(result)
    assert "| mlp | chainrule | 1.50 s | 1.00 s | 0.25° | 0.8 / 0.6 |" in table
    assert "| mlp | jax | skipped: not installed" in table
    assert result["facts"]["cores"] and result["turns"] == 4 and result["busy_turns"] == 0


def test_different_controls_are_not_compared(quick, said, monkeypatch):
    monkeypatch.setattr(Fake, "control", {"torch": 1.3})
    result = steps(said)
    assert "not compared: controls differ by 30%" in compare.markdown(result)
    assert "not compared" not in compare.markdown(result, share=0.4)
    other = steps([])
    other["facts"] = {**other["facts"], "processor": "another"}
    with pytest.raises(SystemExit, match="the machines differ"):
        compare.against(result, other)


def test_two_runs_are_compared_contender_by_contender(quick, said, monkeypatch):
    old = steps(said)
    monkeypatch.setattr(Fake, "unit", {"chainrule": 0.5, "torch": 4.0})
    monkeypatch.setattr(Fake, "control", {"torch": 2.0})
    text = compare.against(old, steps(said))
    assert "| mlp | chainrule | 1.50 s | 750.00 ms | 0.50° |" in text
    assert "| mlp | torch | 6.00 s | 6.00 s | not compared: controls differ by 100% |" in text


def test_jumping_medians_give_way_to_tenth_percentiles():
    steady, jumping = {"median": 2.0, "p10": 1.9}, {"median": 4.0, "p10": 1.0}
    assert compare.ratio({"median": 1.0, "p10": 0.5}, steady) == (0.5, "")
    assert compare.ratio({"median": 1.0, "p10": 0.5}, jumping) == (0.5, "°")
    assert compare.ratio(jumping, steady) == (2.0, "")


def test_the_roofline_is_the_nearer_of_two_roofs():
    roofs = {"flops_per_s": 100.0, "bytes_per_s": 10.0}
    assert compare.roofline(50.0, 2.0, 1.0, roofs) == {"gflops": 50.0 / 1e9, "of_peak": 0.5, "of_roofline": 0.5}
    assert compare.roofline(50.0, 8.0, 1.0, roofs)["of_roofline"] == 0.8


# ------------------------------------------------------------------------------------------------ a run of kernels
def kernel_run(said):
    cases = list(kernels.every_case(ops=["sigmoid", "sum", "sech"], sizes=[100, 10_000]))
    return cases, run.kernels(cases, run.KERNEL_CONTENDERS, {}, turns(), said.append, Fake)


def test_a_run_of_kernels_has_means_and_the_slow_rows(quick, said, monkeypatch):
    cases, result = kernel_run(said)
    assert len(result["rows"]) == len(cases) == len(said) == 2 * (2 + 2 + 3)
    table = compare.markdown(result)
    assert "| 1e2 | both | 4.00 | 4 | 0 | 16.00 | 8.00 | 4 |" in table
    assert "sigmoid" not in table.split("reason |")[1]  # none is slower
    monkeypatch.setattr(Fake, "unit", {"chainrule": 8.0, "torch": 4.0, "numpy": 8.0})
    monkeypatch.setitem(reasons.REASONS, "sigmoid backward", "because")
    slow = compare.markdown(kernel_run(said)[1]).split("reason |")[1]
    assert slow.count("| sigmoid | backward | 1e2 | 2.00° |") == 1 and slow.count("| because |") == 2
    assert compare.markdown(json.loads(json.dumps(result))) == table


def test_kernels_under_different_controls_are_not_compared(quick, said, monkeypatch):
    monkeypatch.setattr(Fake, "control", {"numpy": 2.0})
    table = compare.markdown(kernel_run(said)[1])
    assert "not compared: the control 'product' differs by 100%: the machine was not the same for all" in table
    assert "| 1e2 |" not in table


def test_different_results_are_not_compared(quick, said):
    row = kernel_run(said)[1]["rows"][0]
    assert {who for who, *_ in compare.relatives(row)} == {"torch", "numpy"}
    assert {who for who, *_ in compare.relatives({**row, "differ": ["torch"]})} == {"numpy"}
    assert [*compare.relatives(row, "chainrule-kernels")] == [("torch", 0.125, "°"), ("numpy", 0.0625, "°")]
    assert not [*compare.relatives({**row, "differ": ["chainrule-kernels"]}, "chainrule-kernels")]
    assert run.agree([1.0, 2.0], [1.001, 2.0]) and run.agree([1.0], [1.0, 0.0]) and not run.agree([1.0], [1.1])


def test_pages_keep_what_stands_around_the_tables(quick, said):
    page = "before\n<!-- steps: generated -->\nold\n<!-- steps: end -->\nafter\n"
    new = compare.into(page, "steps", "table")
    assert new == "before\n<!-- steps: generated -->\ntable\n<!-- steps: end -->\nafter\n"
    with pytest.raises(SystemExit, match="no place for 'kernels'"):
        compare.into(page, "kernels", "table")


@pytest.mark.parametrize("make", [lambda said: steps(said), lambda said: kernel_run(said)[1]])
def test_pictures_are_drawn(quick, said, tmp_path, make):
    file, picture = tmp_path / "run.json", tmp_path / "run.svg"
    file.write_text(json.dumps(make(said)))
    compare.main([str(file), "--plot", str(picture)])
    assert picture.read_text().count("<path") > 10


def test_an_interrupted_run_keeps_what_it_has(quick, said, monkeypatch):
    monkeypatch.setattr(run, "one_kernel", lambda *a, real=run.one_kernel: real(*a) if len(said) < 3 else stop())

    def stop():
        raise KeyboardInterrupt

    _, result = kernel_run(said)
    assert len(result["rows"]) == 3 and said[3].startswith("interrupted") and "| 1e2 |" in compare.markdown(result)


@pytest.mark.parametrize("name", ["steps", "kernels"])
def test_the_page_is_what_its_results_say(name):
    file = machine.ROOT / "benchmarks" / "results" / f"{name}.json"
    if not file.exists():
        pytest.skip("not measured yet")
    page = (machine.ROOT / "docs" / "performance.md").read_text()
    text = compare.markdown(json.loads(file.read_text()))
    assert compare.into(page, name, text) == page, f"python -m benchmarks.compare {file} --into docs/performance.md"


def test_the_readme_has_the_speeds_of_the_results():
    result = json.loads((machine.ROOT / "benchmarks" / "results" / "steps.json").read_text())
    readme = (machine.ROOT / "README.md").read_text()
    table = readme[readme.index("| step | here |") : readme.index('"Best form" is')].strip().splitlines()[2:]
    assert len(table) == 9
    cases = [name for name in result["cases"] if CASES[name].base == "torch"]
    for name, line in zip(cases, table, strict=True):
        row = result["cases"][name]
        here, torch = (row["contenders"][who] for who in ("chainrule", "torch"))
        value, mark = compare.ratio(here, torch)
        _, _, ours, theirs, ratio, _ = (cell.strip() for cell in line.split("|"))
        assert ratio == f"{value:.2f}{mark}", name
        for said, found in ((ours, here), (theirs.split(" (")[0], torch)):
            number, unit = said.split()
            seconds = float(number) * {"s": 1, "ms": 1e-3, "µs": 1e-6}[unit]
            assert math.isclose(seconds, found["median"] / row["per"], rel_tol=0.02), name


# ------------------------------------------------------------------------------------------------ the cases
def test_every_op_is_a_case_or_excluded():
    cases = list(kernels.every_case(sizes=[100]))
    named = {c.op for c in cases}
    assert named | kernels.EXCLUDED.keys() == set(engine.OPS) and not named & kernels.EXCLUDED.keys()
    assert kernels.STRUCTURAL.keys() <= set(engine.OPS), "a row of STRUCTURAL names no op"
    backward = {c.op for c in cases if c.direction == "backward"}
    assert {"sigmoid", "matmul", "conv2d", "softmax"} <= backward and "argmax" not in backward
    assert len({c.name for c in cases}) == len(cases)
    assert {key.split()[0] for key in reasons.REASONS} <= set(engine.OPS)


def test_elementwise_kernels_run_and_equal_numpys():
    for case in kernels.every_case("elementwise", sizes=[100]):
        plain = digest(plain_numpy.kernel(case).results())
        for contender in (ours, bare_kernels):
            call = contender.kernel(case)
            call.run()
            with call.context():
                assert run.agree(digest(call.results()), plain), case.name
    assert bare_kernels.kernel(next(kernels.every_case("structural", ops=["sum"]))) is None


@pytest.mark.parametrize("op", ["matmul", "softmax", "getitem", "conv2d", "layer_norm", "cross_entropy"])
def test_a_structural_kernel_runs(op):
    case = [c for c in kernels.every_case(ops=[op]) if c.direction == "backward"][0]
    results = ours.kernel(case).results()
    assert len(results) == 1 + len(case.leaves) and all(np.isfinite(r).all() for r in results)


@pytest.mark.parametrize("name", CASES)
def test_chainrule_runs_one_step_of_every_network(name):
    case = CASES[name]
    build = getattr(ours, case.build)
    for who in [c for c in case.contenders if c.startswith("chainrule")]:
        assert math.isfinite(build(**{**case.sizes, **case.tiny}, **CONTENDERS[who].options)())
    assert case.flops(**case.sizes) > 0 and case.bytes(**case.sizes) > 0 and case.base in case.contenders


def test_a_contender_lives_in_a_process_of_its_own():
    worker = Worker("chainrule")
    assert worker.make(CASES["small-tensors"].network(ops=5))["ready"]
    assert len(worker.ask("run 3 0")) == 3 and worker.ask("control interpreter") > 0
    case = next(kernels.every_case(ops=["tanh"], sizes=[100]))
    assert worker.make(case)["digest"] == pytest.approx([np.abs(np.tanh(case.arrays()[0])).mean()], rel=1e-4)
    assert worker.ask("facts")["threads"] >= 1
    worker.process.kill()
    with pytest.raises(harness.Ended, match="chainrule: its process ended"):
        worker.ask("facts")
    assert worker.make(case) == {"missing": "its process ended"}
    worker.close()


def test_a_run_in_pieces_is_one_run(quick, said):
    def piece(*ops):
        cases = list(kernels.every_case(ops=ops, sizes=[100], directions=["forward"]))
        found = run.kernels(cases, ["chainrule", "torch", "numpy"], {}, turns(), said.append, Fake)
        return json.loads(json.dumps(found))

    first, second = piece("exp", "add"), piece("add", "sigmoid")
    second["control"]["torch"]["product"]["median"] = 3.0
    first["peaks"]["flops_per_s"], second["peaks"]["flops_per_s"] = 2.0, 1.0
    whole = run.merged(first, second)
    assert [r["op"] for r in whole["rows"]] == ["exp", "add", "sigmoid"] and whole["rows"][1] == second["rows"][0]
    assert whole["turns"] == first["turns"] + second["turns"] and whole["peaks"]["flops_per_s"] == 2.0
    n = first["control"]["torch"]["product"]["timings"]
    assert whole["control"]["torch"]["product"]["timings"] == 2 * n
    assert whole["control"]["torch"]["product"]["median"] == (1.0 + 3.0) / 2


# ------------------------------------------------------------------------------------------------ the command
def test_the_command_names_its_cases():
    wrong = CliRunner().invoke(cli.app, ["bench", "alexnet"])
    assert wrong.exit_code == 2
    assert wrong.output.strip().startswith("bench: there is no case 'alexnet'; choose of mnist-cnn, ")
    assert wrong.output.strip().endswith("kernels, elementwise, structural") and "Traceback" not in wrong.output
    usage = CliRunner().invoke(cli.app, ["bench", "--help"])
    assert usage.exit_code == 0 and "usage: chainrule bench" in usage.output


@pytest.mark.parametrize(("arguments", "said"), [
    ("kernels --ops gleu", "there is no op 'gleu'; did you mean glu?"),
    ("kernels mlp", "kernels is a run of its own: name nothing beside it"),
    ("mlp --ops gelu", "--ops, --sizes and --directions are of kernels"),
    ("kernels --contenders torch", "kernels are compared with chainrule's: name it among the contenders"),
    ("elementwise --ops sum", "no case is left of elementwise: sum"),
    ("kernels --ops argmax --directions backward", "no case is left of kernels: argmax backward"),
    ("mlp --contenders numpy", "mlp has other contenders: chainrule, torch"),
    ("mlp --out /dev/null/x.json", "bench: --out /dev/null/x.json: "),
    ("mlp --rounds 0", "argument --rounds: '0' is no whole number from 1 to 1e9"),
    ("kernels --sizes nan", "argument --sizes: 'nan' is no whole number from 1 to 1e9"),
    ("kernels --sizes 1.5", "argument --sizes: '1.5' is no whole number"),
    ("mlp --python torch", "argument --python: '' is no program: give torch's Python, torch=PATH"),
    ("mlp --python tensorflow=python3", "argument --python: there is no contender 'tensorflow'"),
])  # fmt: skip
def test_what_can_not_be_measured_is_said_in_a_line_before_anything_is(arguments, said, capsys):
    with pytest.raises(SystemExit) as ended:
        run.main(arguments.split())
    assert ended.value.code == 2 and said in capsys.readouterr().err


def test_an_installed_package_says_where_benchmarks_are(monkeypatch, tmp_path):
    monkeypatch.setattr(cli, "__file__", str(tmp_path / "models" / "cli.py"))
    said = CliRunner().invoke(cli.app, ["bench"])
    assert said.exit_code == 2 and "chainrule: bench: the benchmarks are not installed" in said.output


# ------------------------------------------------------------------------------------------------ memory
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="memory is read from /proc")
@pytest.mark.skipif(not ENABLED, reason="the plain form of attention writes that matrix")
def test_attention_over_long_texts_writes_no_square_matrix():
    peak = min(memory.in_a_process("chainrule", sys.executable, 2, 1024) for _ in range(2))  # the first may compile
    assert 0 < peak < 2 * memory.HEADS * 1024**2 * 4, "less than one T x T matrix for each head"


def test_the_table_of_memory(capsys, monkeypatch):
    sizes = {"chainrule": 50 << 20, "torch": 100 << 20, "torch-explicit": None}
    monkeypatch.setattr(memory, "in_a_process", lambda name, python, batch, length: sizes[name])
    memory.main(["--length", "7"])
    assert capsys.readouterr().out.splitlines()[2:] == [
        "| 7 | chainrule | 50 MiB | 0.50 |",
        "| 7 | torch | 100 MiB | 1.00 |",
        "| 7 | torch-explicit | not installed |  |",
    ]
