"""The benchmark's results as Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

_HEADER = ("case", "ours", "theirs", "fastest way", "theirs / ours", "of peak", "compile")


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
        f"{case['share_of_peak']:.0%}",
        f"{case['compile_seconds']:.1f} s",
    ]


def render(results: Mapping[str, Any]) -> str:
    """The whole report: machine, cases, and every way of theirs."""
    machine, rate = results["machine"], results["matrix_product"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    parts = [
        "# Benchmark",
        f"{machine['cpu']}, {machine['threads']} threads on both sides; {versions}. Medians of "
        f"{results['repeats']} rounds, both sides in turn, float32; in brackets the quartiles of "
        f"the rounds' ratios. Peak: {rate['flops_per_second'] / 1e9:.0f} GFLOP/s, measured with "
        f"a float32 matrix product of size {rate['size']:.0f}.",
    ]
    if results["quick"]:
        parts.append("**A quick run on tiny batches: it shows that it works, not how fast.**")
    if results["cases"]:
        parts.append(markdown_table(_HEADER, [_case_row(case) for case in results["cases"]]))
        ways = [
            [f"{case['kind']}, {case['workload']}", name, _seconds(times["median"])]
            for case in results["cases"]
            for name, times in case["theirs"].items()
            if len(case["theirs"]) > 1
        ]
        if ways:
            parts += ["## Every way of theirs", markdown_table(("case", "way", "time"), ways)]
    return "\n\n".join(parts) + "\n"
