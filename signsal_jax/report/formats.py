"""Tables in Markdown, CSV, LaTeX and Parquet, from one description of their columns.

Markdown and LaTeX are for readers: titles, numbers rounded as a column says, an interval in a
column of its own. CSV and Parquet are for programs: keys, full precision, one number per column.
"""

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from signsal_jax import _checks, _files
from signsal_jax._extras import extra
from signsal_jax.metrics import Interval

_BOUNDS = ("mean", "low", "high")
_TEX = re.compile(r"[\\&%$#_{}~^]")
_TEX_NAMES = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}


class Column(NamedTuple):
    """A column of a table.

    Attributes:
      key: its name in CSV and Parquet; with intervals `key_mean`, `key_low` and `key_high`.
      values: one per row: text, a number, None for an empty cell, or an interval: an `Interval`
        of scalars or a mapping with `mean`, `low` and `high`.
      title: its name in Markdown and LaTeX; None for a column that is only for programs.
      form: of its numbers in Markdown and LaTeX, as `format` takes it, such as "+.3f".
    """

    key: str
    values: Sequence[Any]
    title: str | None = None
    form: str = ""


def format_table(columns: Sequence[Column], kind: str) -> str:
    r"""Formats a table as text.

    Args:
      columns: of equal length.
      kind: "md", "csv" or "tex". LaTeX is a `tabular` that needs the package booktabs.

    Returns:
      The text, ended by a newline; special characters in titles and cells are escaped.

    Raises:
      ValueError: another kind, columns of different lengths, none at all, or two of one key.

    >>> from signsal_jax import report
    >>> auc = [{"mean": 0.13, "low": 0.12, "high": 0.14}, None]
    >>> columns = [report.Column("map", ["active", "rest"], "map"),
    ...            report.Column("auc", auc, "AUC", ".2f")]
    >>> print(report.format_table(columns, "md"), end="")
    | map | AUC | 95 % interval |
    | --- | --- | --- |
    | active | 0.13 | 0.12 to 0.14 |
    | rest |  |  |
    >>> print(report.format_table(columns, "csv"), end="")
    map,auc_mean,auc_low,auc_high
    active,0.13,0.12,0.14
    rest,,,
    """
    _checks.check_member("kind", kind, tuple(_FORMATS))
    _check(columns)
    return _FORMATS[kind](columns)


def write_table(columns: Sequence[Column], path: Path) -> Path:
    """Writes a table, atomically, in the format that the file's suffix names.

    Args:
      columns: as `format_table`.
      path: ends in .md, .csv, .tex or .parquet (extra `parquet`).

    Returns:
      `path`.

    Raises:
      ImportError: Parquet without the extra.
      ValueError: another suffix, or as `format_table`.

    >>> import tempfile
    >>> from pathlib import Path
    >>> from signsal_jax import report
    >>> path = Path(tempfile.mkdtemp(), "table.tex")
    >>> report.write_table([report.Column("map", ["active_margin"], "map")], path).name
    'table.tex'
    >>> path.read_text().splitlines()[4]
    'active\\\\_margin \\\\\\\\'
    """
    path = Path(path)
    kind = path.suffix.removeprefix(".")
    _checks.check_member("suffix", kind, (*_FORMATS, "parquet"))
    if kind != "parquet":
        return _files.write_text(path, format_table(columns, kind))
    _check(columns)
    arrow, parquet = extra("pyarrow", "parquet"), extra("pyarrow.parquet", "parquet")
    table = arrow.table(dict(_numbers(columns)))
    return _files.write_atomically(path, lambda file: parquet.write_table(table, file))


def _check(columns: Sequence[Column]) -> None:
    lengths = {column.key: len(column.values) for column in columns}
    if not columns or len(set(lengths.values())) > 1:
        raise ValueError(f"columns: expected some, all of the same length, got {lengths}")
    if len(lengths) < len(columns):
        keys = [column.key for column in columns]
        raise ValueError(f"columns: expected each key once, got {keys}")


def _bounds(value: Any) -> Mapping[str, Any] | None:
    """The parts of an interval; None for anything else."""
    if isinstance(value, Interval):
        return value._asdict()
    return value if isinstance(value, Mapping) else None


def _plain(value: Any) -> Any:
    """A scalar of NumPy or JAX as Python's own."""
    return value.item() if hasattr(value, "dtype") and np.ndim(value) == 0 else value


def _numbers(columns: Sequence[Column]) -> Iterator[tuple[str, list[Any]]]:
    """Keys and values, an interval as three columns."""
    for column in columns:
        found = [_bounds(value) for value in column.values]
        if not any(found):
            yield column.key, [_plain(value) for value in column.values]
            continue
        for bound in _BOUNDS:
            values = [None if one is None else _plain(one[bound]) for one in found]
            yield f"{column.key}_{bound}", values


def _texts(columns: Sequence[Column]) -> Iterator[tuple[str, list[str], bool]]:
    """Titles, cells, and whether they are numbers; an interval as two columns."""
    for column in columns:
        if column.title is None:
            continue
        found = [_bounds(value) for value in column.values]
        means = [
            value if one is None else one["mean"]
            for value, one in zip(column.values, found, strict=True)
        ]
        numeric = not any(isinstance(value, str) for value in means)
        yield column.title, [_text(value, column.form) for value in means], numeric
        if any(found):
            cells = [
                "" if one is None else " to ".join(_text(one[b], column.form) for b in _BOUNDS[1:])
                for one in found
            ]
            yield "95 % interval", cells, True


def _text(value: Any, form: str) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else format(_plain(value), form)


def markdown_rows(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table of text that is written already."""
    lines = [titles, ["---"] * len(titles), *rows]
    return "".join("| " + " | ".join(map(_cell, line)) + " |\n" for line in lines)


def _markdown(columns: Sequence[Column]) -> str:
    titles, cells, _ = zip(*_texts(columns), strict=True)
    return markdown_rows(titles, zip(*cells, strict=True))


def _cell(text: str) -> str:
    return " ".join(text.replace("|", r"\|").splitlines())


def _csv(columns: Sequence[Column]) -> str:
    keys, values = zip(*_numbers(columns), strict=True)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(keys)
    writer.writerows(zip(*values, strict=True))
    return text.getvalue()


def _latex(columns: Sequence[Column]) -> str:
    titles, cells, numeric = zip(*_texts(columns), strict=True)
    lines = [
        " & ".join(map(_escaped, line)) + r" \\" for line in (titles, *zip(*cells, strict=True))
    ]
    aligned = "".join("r" if number else "l" for number in numeric)
    rows = [rf"\begin{{tabular}}{{{aligned}}}", r"\toprule", lines[0], r"\midrule", *lines[1:]]
    return "\n".join([*rows, r"\bottomrule", r"\end{tabular}"]) + "\n"


def _escaped(text: str) -> str:
    one_line = " ".join(text.splitlines())
    return _TEX.sub(lambda match: _TEX_NAMES.get(match[0], f"\\{match[0]}"), one_line)


_FORMATS: dict[str, Callable[[Sequence[Column]], str]] = {
    "md": _markdown,
    "csv": _csv,
    "tex": _latex,
}
