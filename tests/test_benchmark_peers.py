"""What PyTorch's side of the benchmark is tried in, and results that are renewed in part."""

import importlib
import importlib.util
import json
import os
import signal
import sys
import time

import pytest

from scripts import benchmark
from scripts.bench import agreement, cases, kept, streamed, tables
from scripts.bench.attempts import attempt

needs_torch = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="torch is not installed (extra `bench`)"
)


class TestAttempts:
    def test_a_failure_is_a_reason_of_one_short_line(self):
        def fail():
            raise RuntimeError("no\ncompiler " + "x" * 1000)

        assert attempt(fail, 60) == (None, "RuntimeError: no")

        def fail_at_length():
            raise RuntimeError("x" * 1000)

        assert len(attempt(fail_at_length, 60).failure or "") == 200

    def test_a_run_that_lasts_too_long_is_ended_whatever_it_catches(self):
        def last():
            while True:
                try:
                    time.sleep(60)
                except Exception:  # as a compiler does that tries something else
                    continue

        before = signal.getsignal(signal.SIGALRM)
        assert attempt(last, 0.05) == (None, "took longer than 0.05 s")
        assert signal.getsignal(signal.SIGALRM) is before
        assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


@pytest.mark.parametrize(("given", "expected"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_threads_wait_passively_from_the_import_of_torch_on(given, expected, monkeypatch, tmp_path):
    (tmp_path / "torch.py").write_text("import os\npolicy = os.environ['OMP_WAIT_POLICY']\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(os, "environ", {} if given is None else {"OMP_WAIT_POLICY": given})
    for module in ("torch", "scripts.bench.peer"):
        monkeypatch.setitem(sys.modules, module, None)
        del sys.modules[module]
    assert importlib.import_module("scripts.bench.peer").torch.policy == expected


def case_result(name, ours):
    return {
        "name": name,
        "kind": name.partition("-")[0],
        "workload": "cnn 2×32×32",
        "ours": {"median": ours},
        "theirs": {"way": {"median": 4 * ours}, "way, channels_last": {"median": 3 * ours}},
        "not_compiled": {"way, compiled": "RuntimeError: a|b"},
        "fastest": "way, channels_last",
        "ratio": {"median": 3.0, "low": 3.0, "high": 3.0, "best": 3.0},
        "share_of_peak": 0.5,
        "compile_seconds": 1.0,
    }


def results(version, *cases, **more):
    return {
        "machine": {"cpu": "A CPU", "threads": 2, "versions": {"torch": version}},
        "matrix_product": {"flops_per_second": 1e11, "size": 1024},
        "repeats": 7,
        "quick": False,
        "cases": list(cases),
        "failed": {},
        **more,
    }


class TestKept:
    def test_what_is_measured_again_takes_the_place_of_what_was(self):
        before = results(
            "1.0",
            *(case_result(name, 1) for name in ("jacobian-cnn-32", "maps-cnn-32")),
            failed={"forward-cnn-32": "logits: ..."},
            growth="grown",
            streamed="streamed",
        )
        run = results("2.0", case_result("jacobian-cnn-32", 2), streamed="streamed again")
        found = kept.merged(before, run)
        assert [(case["name"], case["ours"]["median"]) for case in found["cases"]] == [
            ("jacobian-cnn-32", 2),
            ("maps-cnn-32", 1),
        ]
        assert found["failed"] == before["failed"]
        assert (found["growth"], found["streamed"]) == ("grown", "streamed again")
        assert found["machine"]["versions"] == {"torch": "2.0"}
        (earlier,) = found["earlier"]
        assert earlier["names"] == ["maps-cnn-32", "forward-cnn-32", "growth"]
        assert earlier["machine"]["versions"] == {"torch": "1.0"}

    def test_every_case_stays_with_the_run_that_it_is_from(self):
        first = results("1.0", *(case_result(n, 1) for n in cases.names()[:3]), streamed="s")
        second = kept.merged(first, results("2.0", case_result(cases.names()[2], 2)))
        third = kept.merged(second, results("3.0", case_result(cases.names()[1], 3)))
        runs = [(run["machine"]["versions"]["torch"], run["names"]) for run in third["earlier"]]
        assert runs == [
            ("1.0", [cases.names()[0], streamed.NAME]),
            ("2.0", [cases.names()[2]]),
        ]
        assert [case["ours"]["median"] for case in third["cases"]] == [1, 3, 2]

    def test_nothing_is_left_of_a_run_measured_again_entirely(self):
        before = results("1.0", case_result("maps-cnn-32", 1))
        assert kept.merged(before, results("2.0", case_result("maps-cnn-32", 2)))["earlier"] == []

    def test_a_case_that_disagrees_now_has_no_result(self):
        before = results("1.0", case_result("maps-cnn-32", 1))
        found = kept.merged(before, results("2.0", failed={"maps-cnn-32": "vanilla: ..."}))
        assert (found["cases"], found["failed"]) == ([], {"maps-cnn-32": "vanilla: ..."})

    def test_quick_and_full_results_are_not_mixed(self):
        with pytest.raises(ValueError, match="got those of a full run"):
            kept.check(results("1.0"), quick=True)
        kept.check(results("1.0"), quick=False)

    def test_the_report_says_which_run_a_case_is_from(self):
        before = results("1.0", case_result("maps-cnn-32", 1), case_result("forward-cnn-32", 1))
        merged = kept.merged(before, results("2.0", case_result("maps-cnn-32", 2)))
        text = tables.render(merged)
        assert "A CPU, 2 threads on both sides; torch 2.0. Medians of 7 rounds." in text
        assert "Kept from an earlier run: forward-cnn-32. A CPU, 2 threads on both" in text
        assert "sides; torch 1.0." in text


class TestReport:
    def test_every_way_has_its_time_or_the_reason_why_not(self):
        lines = tables.render(results("1.0", case_result("maps-cnn-32", 0.1))).splitlines()
        assert "| maps, cnn 2×32×32 | way | 400 ms |" in lines
        assert "| maps, cnn 2×32×32 | way, channels_last | 300 ms |" in lines
        assert r"| maps, cnn 2×32×32 | way, compiled | failed, RuntimeError: a\|b |" in lines

    def test_a_wait_policy_that_was_set_is_named(self):
        run = results("1.0")
        assert "OMP_WAIT_POLICY" not in tables.render(run)
        run["machine"]["wait_policy"] = "PASSIVE"
        assert "on both sides; OMP_WAIT_POLICY=PASSIVE, torch 1.0." in tables.render(run)


@needs_torch
class TestWithTorch:
    def test_a_compiled_way_agrees_or_says_why_not(self):
        workload = cases.Workload("cnn", 2, 32)
        case = cases.forward(workload, compiled=True)
        ways = {"forward, compiled", "forward, channels_last, compiled"}
        assert ways <= case.theirs.keys() | case.failed.keys()
        assert set(case.theirs) == {key.removeprefix("logits, ") for key in case.agreement}
        for way in case.theirs.values():
            way()

    def test_a_way_that_does_not_compile_does_not_end_the_case(self, monkeypatch):
        from scripts.bench import settings

        def refuse(function):
            def fail(*_):
                raise RuntimeError("no C++ compiler")

            return fail

        monkeypatch.setattr(settings, "_compiler", lambda: refuse)
        case = cases.forward(cases.Workload("cnn", 2, 32), compiled=True)
        assert list(case.theirs) == ["forward", "forward, channels_last"]
        assert set(case.failed.values()) == {"RuntimeError: no C++ compiler"}

    def test_training_steps_of_all_kinds_agree(self):
        workload = cases.Workload("cnn", 16, 32)
        found = cases.train(workload, compiled=False).agreement
        assert {name.partition(", ")[0] for name in found} == {"loss", "gradients"}
        assert len(found) == 2 * 4
        assert max(found.values()) < 1e-3

    def test_results_of_one_case_are_renewed(self, monkeypatch, tmp_path):
        def run_case(name, peak, *, quick, repeats):
            if name == "training-cnn-32":
                raise agreement.MismatchError("loss: expected ...")
            return case_result(name, 1)

        monkeypatch.setattr(benchmark, "run_case", run_case)
        command = benchmark.Benchmark(cases=("training",), quick=True, out=tmp_path)
        assert list(benchmark.run(command)["failed"]) == ["training-cnn-32"]
        again = benchmark.Benchmark(
            cases=("training-resnet18-32", "maps-cnn-32"), keep=True, quick=True, out=tmp_path
        )
        found = benchmark.run(again)
        assert found == json.loads((tmp_path / "benchmark.json").read_text())
        assert list(found["failed"]) == ["training-cnn-32"]
        names = ["maps-cnn-32", "training-resnet18-32", "training-cnn-224"]
        assert [case["name"] for case in found["cases"]] == names
        (earlier,) = found["earlier"]
        assert earlier["names"] == ["training-cnn-224", "training-cnn-32"]
