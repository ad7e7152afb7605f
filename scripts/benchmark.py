"""Times signsal_jax against PyTorch on the same CPU: same weights, same inputs, in turn.

    pip install -e '.[bench]' && python scripts/benchmark.py --out runs/benchmark

Every case is checked to give the same result on both sides before it is timed. Writes
benchmark.json and benchmark.md, and growth.png with --growth. PyTorch's ways run in its own memory
layout and in channels_last, as they are and compiled (needs g++), and the fastest counts. Takes
hours on 2 cores, most of them for torch.compile; --quick, which compiles nothing, shows in a few
minutes that everything else works. To use fewer cores, on both sides, run it under `taskset`.
"""

import dataclasses
import json
import os
import sys
from pathlib import Path
from typing import Any

import jax
import tyro

from scripts.bench import agreement, cases, growth, kept, streamed, tables, timing
from signsal_jax import _files


@dataclasses.dataclass(frozen=True)
class Benchmark:
    """Time signsal_jax against PyTorch on this machine's CPU."""

    cases: tuple[str, ...] = (*cases.KINDS, "streamed")
    """Cases such as jacobian-cnn-32, or kinds of them: jacobian, maps, deletion, ..."""
    growth: bool = False
    """Also measure how time grows with classes, images and pixels, and draw growth.png."""
    keep: bool = False
    """Keep what `out` has of cases that are not measured again."""
    quick: bool = False
    """Two small images and three rounds: shows that it works, not how fast it is."""
    repeats: int = 15
    """Number of rounds; in each, every way takes its turn."""
    out: Path = Path("runs/benchmark")
    """Folder for the results."""

    def selected(self) -> list[str]:
        """The names of all cases asked for, each once, in a fixed order."""
        known = [*cases.names(), streamed.NAME]
        kinds = list(dict.fromkeys(_kind(name) for name in known))
        for asked in self.cases:
            if asked not in known and asked not in kinds:
                valid = ", ".join([*kinds, *known])
                raise ValueError(f"cases: expected any of {valid}; got {asked!r}")
        return [name for name in known if {name, _kind(name)} & set(self.cases)]


def _kind(name: str) -> str:
    return name.partition("-")[0]


def run_case(name: str, peak: float, *, quick: bool, repeats: int) -> dict[str, Any]:
    """Makes, checks and times one case."""
    workload, case = cases.make(name, quick=quick)
    seconds = timing.interleave({"ours": case.ours, **case.theirs}, repeats)
    times = {way: timing.spread(values) for way, values in seconds.items()}
    ours = times.pop("ours")
    fastest = min(times, key=lambda way: times[way]["median"])
    rounds = [b / a for a, b in zip(seconds["ours"], seconds[fastest], strict=True)]
    best = min(seconds[fastest]) / min(seconds["ours"])
    return {
        "name": name,
        "kind": _kind(name),
        "workload": workload.description,
        "ours": ours,
        "theirs": times,
        "not_compiled": case.failed,
        "fastest": fastest,
        "ratio": timing.spread(rounds) | {"best": best},
        "agreement": case.agreement,
        "flops": case.flops,
        "share_of_peak": case.flops / ours["median"] / peak,
        "compile_seconds": case.compile_seconds,
    }


def write(out: Path, results: dict[str, Any]) -> None:
    """Writes the results so far, so that a run that is cut off keeps what it has."""
    _files.write_json(out / "benchmark.json", results)
    _files.write_text(out / "benchmark.md", tables.render(results))


def run(command: Benchmark) -> dict[str, Any]:
    """Runs the cases one after the other and writes the results after each."""
    from scripts.bench.peer import torch

    selected = command.selected()
    _files.check_writable(command.out)
    before = None
    if command.keep:
        before = json.loads((command.out / "benchmark.json").read_text(encoding="utf-8"))
        kept.check(before, quick=command.quick)
    torch.set_num_threads(timing.threads())
    repeats = 3 if command.quick else command.repeats
    results: dict[str, Any] = {
        "machine": timing.describe_machine() | {"wait_policy": os.environ["OMP_WAIT_POLICY"]},
        "matrix_product": timing.matrix_product_rate(),
        "repeats": repeats,
        "quick": command.quick,
        "cases": [],
        "failed": {},
    }

    def all_so_far() -> dict[str, Any]:
        return kept.merged(before, results) if before else results

    peak = results["matrix_product"]["flops_per_second"]
    for name in selected:
        if name == streamed.NAME:
            results["streamed"] = streamed.measure(quick=command.quick)
        else:
            try:
                case = run_case(name, peak, quick=command.quick, repeats=repeats)
                results["cases"].append(case)
            except agreement.MismatchError as error:
                results["failed"][name] = str(error)
        print(f"{name}: done", file=sys.stderr, flush=True)
        write(command.out, all_so_far())
    if command.growth:
        results["growth"] = growth.measure(quick=command.quick)
        growth.write_figure(command.out / "growth.png", results["growth"], results["machine"])
        write(command.out, all_so_far())
    return all_so_far()


def main() -> int:
    # Both sides on the CPU, and every compilation from scratch.
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_enable_compilation_cache", False)
    try:
        results = run(tyro.cli(Benchmark, description=__doc__))
    except (ValueError, OSError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(tables.render(results))
    return 1 if results["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
