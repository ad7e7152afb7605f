"""Tables in four formats: what is written is read back, also where cells are hostile."""

import csv
import io
import math
import shutil
import subprocess

import jax.numpy as jnp
import numpy as np
import pytest

from signsal_jax import report
from signsal_jax.metrics import Interval
from signsal_jax.report import Column

NAMES = ["active_margin", 'a | b\n"c", 100 % & $x^2$ #1 {~\\}', "rest"]
COLUMNS = [
    Column("name", NAMES, "map"),
    Column(
        "auc",
        [
            {"mean": 0.125, "low": -0.1, "high": 1 / 3},
            Interval(np.float32(0.5), np.float32(0.25), jnp.float32(0.75)),
            None,
        ],
        "AUC",
        "+.2f",
    ),
    Column("images", [10, 2**40, 3], "n", ","),
    Column("note", [None, "", "only for programs"]),
]


def test_markdown():
    lines = report.format_table(COLUMNS, "md").splitlines()
    assert lines == [
        "| map | AUC | 95 % interval | n |",
        "| --- | --- | --- | --- |",
        "| active_margin | +0.12 | -0.10 to +0.33 | 10 |",
        r"""| a \| b "c", 100 % & $x^2$ #1 {~\} | +0.50 | +0.25 to +0.75 | 1,099,511,627,776 |""",
        "| rest |  |  | 3 |",
    ]


def test_csv_is_read_back_in_full():
    rows = list(csv.DictReader(io.StringIO(report.format_table(COLUMNS, "csv"))))
    assert [row["name"] for row in rows] == NAMES
    assert [row["auc_high"] for row in rows] == [repr(1 / 3), "0.75", ""]
    assert [row["images"] for row in rows] == ["10", str(2**40), "3"]
    assert rows[2]["note"] == "only for programs"


def test_latex():
    lines = report.format_table(COLUMNS, "tex").splitlines()
    assert lines[0] == r"\begin{tabular}{lrrr}"
    assert lines[1:4:2] == [r"\toprule", r"\midrule"]
    assert lines[2] == r"map & AUC & 95 \% interval & n \\"
    assert lines[4] == r"active\_margin & +0.12 & -0.10 to +0.33 & 10 \\"
    escaped = (
        r"""a | b "c", 100 \% \& \$x\textasciicircum{}2\$ \#1 """
        r"\{\textasciitilde{}\textbackslash{}\}"
    )
    assert lines[5].split(" & +0.50")[0] == escaped
    assert lines[-2:] == [r"\bottomrule", r"\end{tabular}"]


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no LaTeX here")
def test_latex_compiles(tmp_path):
    body = report.format_table(COLUMNS, "tex")
    head = r"\documentclass{article}\usepackage{booktabs}\begin{document}"
    (tmp_path / "t.tex").write_text(head + body + r"\end{document}")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)


def test_parquet_is_read_back_in_full(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet", reason="extra `parquet` is not installed")
    found = parquet.read_table(report.write_table(COLUMNS, tmp_path / "t.parquet")).to_pydict()
    assert found == {
        "name": NAMES,
        "auc_mean": [0.125, 0.5, None],
        "auc_low": [-0.1, 0.25, None],
        "auc_high": [1 / 3, 0.75, None],
        "images": [10, 2**40, 3],
        "note": [None, "", "only for programs"],
    }


def test_not_finite_numbers_are_written_as_such():
    columns = [Column("x", [math.nan, math.inf], "x", ".2f")]
    assert report.format_table(columns, "md").splitlines()[2:] == ["| nan |", "| inf |"]
    assert report.format_table(columns, "csv") == "x\nnan\ninf\n"


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ([], "expected some, all of the same length, got {}"),
        ([Column("a", [1]), Column("b", [])], "got {'a': 1, 'b': 0}"),
        ([Column("a", [1]), Column("a", [1])], r"each key once, got \['a', 'a'\]"),
    ],
)
def test_bad_columns(columns, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        report.format_table(columns, "md")
    with pytest.raises(ValueError, match=message):
        report.write_table(columns, tmp_path / "t.csv")
    assert not list(tmp_path.iterdir())


def test_an_unknown_format(tmp_path):
    with pytest.raises(ValueError, match="expected one of md, csv, tex, parquet"):
        report.write_table(COLUMNS, tmp_path / "t.docx")
    with pytest.raises(ValueError, match="expected one of md, csv, tex"):
        report.format_table(COLUMNS, "parquet")
