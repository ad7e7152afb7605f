"""The benchmark's results as Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

_HEADER = (
    "case",
    "signsal_jax",
    "PyTorch",
    "fastest PyTorch way",
    "PyTorch / ours",
    "best rounds",
    "of peak",
    "compile",
)


def _seconds(value: float) -> str:
    return f"{1000 * value:,.0f} ms" if value >= 0.0995 else f"{1000 * value:.1f} ms"


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table.

    >>> print(markdown_table(("a", "b"), [("1", "2")]))
    | a | b |
    |---|---|
    | 1 | 2 |
    """
    lines = [header, ["---"] * len(header), *rows]
    marked = ["| " + " | ".join(line) + " |" for line in lines]
    marked[1] = marked[1].replace(" ", "")
    return "\n".join(marked)


def _case_row(case: Mapping[str, Any]) -> list[str]:
    ratio = case["ratio"]
    return [
        f"{case['kind']}, {case['workload']}",
        _seconds(case["ours"]["median"]),
        _seconds(case["theirs"][case["fastest"]]["median"]),
        case["fastest"],
        f"{ratio['median']:.2f} ({ratio['low']:.2f} to {ratio['high']:.2f})",
        f"{ratio['best']:.2f}",
        f"{case['share_of_peak']:.0%}",
        f"{case['compile_seconds']:.1f} s",
    ]


def _megabytes(value: int | None) -> str:
    return "not run" if value is None else f"{value / 2**20:,.0f} MiB"


def _streamed(result: Mapping[str, Any]) -> list[str]:
    memory, per_class = result["memory"], result["seconds_per_class"]
    rows = [
        [way, _megabytes(found["planned_bytes"]), _megabytes(found.get("measured_bytes"))]
        for way, found in memory.items()
    ]
    times = ", ".join(f"{1000 * value:.1f} ms at {k} classes" for k, value in per_class.items())
    return [
        f"## {result['classes']} classes, {result['workload']}, {result['class_chunk']} at a time",
        markdown_table(("way", "peak memory, planned", "measured"), rows),
        f"Planned: temporaries and results as the compiler lays them out. Measured: the rise of "
        f"the process's resident memory. Time per class, streamed: {times}. Compiled in "
        f"{result['compile_seconds']:.1f} s.",
    ]


def _growth(result: Mapping[str, Any]) -> list[str]:
    rows = [
        [
            axis,
            network,
            ", ".join(f"{p[axis]:,}: {_seconds(p['seconds'])}" for p in curve["points"]),
            ", ".join(f"{power:.2f}" for power in curve["exponents"]),
        ]
        for axis, networks in result["curves"].items()
        for network, curve in networks.items()
    ]
    return [
        "## Growth of the time of all five maps",
        markdown_table(("axis", "network", "time", "exponents (1: linear)"), rows),
        "![Growth](growth.png)",
    ]


def overview(results: Mapping[str, Any]) -> str:
    """One row per workload: the speed-up over PyTorch's fastest way, and our time."""
    kinds = list(dict.fromkeys(case["kind"] for case in results["cases"]))
    rows: dict[str, dict[str, str]] = {}
    for case in results["cases"]:
        ratio, seconds = case["ratio"]["median"], _seconds(case["ours"]["median"])
        rows.setdefault(case["workload"], {})[case["kind"]] = f"{ratio:.1f}× ({seconds})"
    return markdown_table(
        ("network, batch", *kinds),
        [[workload, *(row.get(kind, "") for kind in kinds)] for workload, row in rows.items()],
    )


def _machine(run: Mapping[str, Any]) -> str:
    machine, rate = run["machine"], run["matrix_product"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    policy = f"OMP_WAIT_POLICY={machine['wait_policy']}, " if "wait_policy" in machine else ""
    return (
        f"{machine['cpu']}, {machine['threads']} threads on both sides; {policy}{versions}. "
        f"Medians of {run['repeats']} rounds. Peak: {rate['flops_per_second'] / 1e9:.0f} GFLOP/s, "
        f"measured with a float32 matrix product of size {rate['size']:.0f}."
    )


def _ways(case: Mapping[str, Any]) -> list[list[str]]:
    """Every way of PyTorch's, and its time or the reason why it was not compiled."""
    times = {way: _seconds(found["median"]) for way, found in case["theirs"].items()}
    # The ways of runs before any was compiled have no reasons.
    reasons = {
        way: f"failed, {reason}".replace("|", r"\|")
        for way, reason in case.get("not_compiled", {}).items()
    }
    title = f"{case['kind']}, {case['workload']}"
    return [[title, way, found] for way, found in (times | reasons).items()]


def render(results: Mapping[str, Any]) -> str:
    """The whole report: machine, cases, and every PyTorch way."""
    parts = [
        "# Benchmark",
        f"{_machine(results)} Both sides in turn, float32. PyTorch / ours is the median "
        "of the rounds' ratios, with their quartiles. Best rounds compares each side's fastest "
        "round, which other work on the machine disturbs least.",
    ]
    parts += [
        f"Kept from an earlier run: {', '.join(run['names'])}. {_machine(run)}"
        for run in results.get("earlier", [])
    ]
    if results["quick"]:
        parts.append("**A quick run on tiny batches: it shows that it works, not how fast.**")
    if results["cases"]:
        ways = [row for case in results["cases"] for row in _ways(case)]
        parts += [
            markdown_table(_HEADER, [_case_row(case) for case in results["cases"]]),
            "## Every PyTorch way",
            markdown_table(("case", "way", "time"), ways),
        ]
    parts += [f"**{name}: not timed, {reason}**" for name, reason in results["failed"].items()]
    if "streamed" in results:
        parts += _streamed(results["streamed"])
    if "growth" in results:
        parts += _growth(results["growth"])
    return "\n\n".join(parts) + "\n"
