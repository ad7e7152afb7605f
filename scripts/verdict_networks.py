"""The verdict over several networks: the same comparisons side by side, corrected together.

    python scripts/verdict_networks.py --tables verdict-cnn-cifar10 verdict-cifar_resnet20

Reads the tables of scripts/verdict.py and writes verdict-networks.md: one row per
evaluation, map and reference that more than one network has, one column per network.
"""

import dataclasses
import json
from typing import Any

import tyro

from scripts.verdict import KEY, RESULTS, corrected
from signsal_jax import _files
from signsal_jax.report.formats import markdown_rows


@dataclasses.dataclass(frozen=True)
class Networks:
    """Put the tables of several networks side by side."""

    tables: tuple[str, ...]
    """Names of tables in scripts/results, without ending."""
    name: str = "verdict-networks"
    """Of the file written there."""


def pooled(tables: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """The rows of all networks, corrected together for their number.

    Args:
      tables: by network the rows of its table.

    Returns:
      The rows with their "network".
    """
    rows = [row | {"network": network} for network, rows in tables.items() for row in rows]
    return corrected(rows)


def side_by_side(rows: list[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """The head and the lines of the table: differences, "undecided" where 0 is in the interval."""
    networks = list(dict.fromkeys(row["network"] for row in rows))
    by_key: dict[tuple[str, ...], dict[str, Any]] = {}
    for row in rows:
        by_key.setdefault(tuple(row[key] for key in KEY), {})[row["network"]] = row
    shared = {key: found for key, found in by_key.items() if len(found) > 1}
    lines = [
        [str(number), *key, *(_cell(found.get(network)) for network in networks)]
        for number, (key, found) in enumerate(shared.items(), 1)
    ]
    return ["row", *KEY, *networks], lines


def _cell(row: dict[str, Any] | None) -> str:
    if row is None:
        return ""
    undecided = "" if row["decided"] else " (undecided)"
    return f"{row['difference']:+.3f} ({row['low']:+.3f} to {row['high']:+.3f}){undecided}"


def main(args: Networks) -> None:
    """Reads the tables and writes the one of all networks."""
    records = {
        name: json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
        for name in args.tables
    }
    rows = pooled({name.removeprefix("verdict-"): r["rows"] for name, r in records.items()})
    head, lines = side_by_side(rows)
    about = [
        f"- {name.removeprefix('verdict-')}: {record['rows'][0]['images']:,} images or fewer, "
        f"{record['note'].partition('. ')[0] or 'no note on the data'}."
        for name, record in records.items()
    ]
    text = (
        f"The verdict over {len(records)} networks: paired differences, positive where the map is "
        f"better, with intervals corrected together for {len(rows)} comparisons (Holm).\n\n"
        + "\n".join(about)
        + "\n\n"
        + markdown_rows(head, lines)
    )
    _files.write_text(RESULTS / f"{args.name}.md", text)
    print(text)


if __name__ == "__main__":
    main(tyro.cli(Networks, description=__doc__))
