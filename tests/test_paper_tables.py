"""The paper's table beside ours: what it says of differences, orders, seeds and absent columns."""

import json

import pytest

from scripts import paper_tables
from scripts.reproduce_paper import COLUMNS, PAPER_CURVES, RESULTS

NAME = "cifar10-cnn"


def content(shifts=None, note=""):
    """Results equal to the paper's, but for these shifts of the areas."""
    paper = COLUMNS[NAME].paper or {}
    curves = []
    for fill, method in PAPER_CURVES:
        mean = paper[fill, method] + (shifts or {}).get((fill, method), 0.0)
        area = {"mean": mean, "low": mean - 0.01, "high": mean + 0.01}
        curves.append({"fill": fill, "map": method, "auc": area})
    return {
        "dataset": {"name": "cifar10:3.0.2", "note": note},
        "network": {"train_images": 50_000, "epochs": 20},
        "results": {"images": 100, "accuracy": 0.65, "curves": curves},
    }


def keep(folder, name, kept):
    (folder / f"{name}-test.json").write_text(json.dumps(kept))


def cells(text, title):
    return [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in text.splitlines()
        if line.startswith(f"| {title}")
    ]


def test_figures_differences_and_conditions(tmp_path):
    keep(tmp_path, NAME, content({("black", "active"): -0.02}, note="JPEG."))
    results = paper_tables.read(tmp_path)
    text = paper_tables.markdown(results, tmp_path)
    assert cells(text, "black AUC, active: paper")[0][1] == "0.15"
    ours, differences = cells(text, "ours (95 % interval)"), cells(text, "ours - paper")
    assert ours[3][1:3] == ["0.1300 (0.1200 to 0.1400)", "not run"]
    assert differences[3][1:3] == ["-0.020", ""]
    assert differences[0][1] == "+0.0193"
    # Wilson's interval of 65 in 100.
    assert ours[0][1] == "0.6500 (0.5525 to 0.7364)"
    assert cells(text, "epochs")[0][1] == "20"
    assert cells(text, "training images")[0][1] == "50,000"
    assert "- CIFAR-10, Basic CNN, data: JPEG." in text
    assert "ConvNeXt-Tiny pretrained: not run: no ImageNet weights were available" in text


def test_another_order_than_the_papers_is_said():
    assert paper_tables.order(NAME, content()) == []
    swapped = content({("black", "active"): -0.02})
    [line] = paper_tables.order(NAME, swapped)
    assert "black: the paper has positive below active (0.14, 0.15)" in line
    assert "here it is above (0.1400, 0.1300)" in line


@pytest.mark.parametrize(("shift", "verdict"), [(0.004, "is larger"), (0.02, "is not larger")])
def test_seeds(tmp_path, shift, verdict):
    keep(tmp_path, NAME, content())
    assert paper_tables.seeds(tmp_path) is None
    keep(tmp_path, f"{NAME}-seed43", content({("black", "positive"): shift}))
    said = paper_tables.seeds(tmp_path) or ""
    assert f"seeds 42, 43: black AUC, positive 0.1400 to {0.14 + shift:.4f}" in said
    assert f"0.01, {verdict} than the largest between two seeds, {shift:.4f}" in said


def test_the_tables_kept_are_those_of_the_results_kept():
    results = paper_tables.read(RESULTS)
    for name, made in (("md", paper_tables.markdown), ("tex", paper_tables.latex)):
        assert (RESULTS / f"paper_table.{name}").read_text() == made(results, RESULTS)


def test_latex_has_the_same_cells(tmp_path):
    keep(tmp_path, NAME, content())
    text = paper_tables.latex(paper_tables.read(tmp_path), tmp_path)
    lines = [line for line in text.splitlines() if line.endswith(r"\\")]
    rows = paper_tables.rows(paper_tables.read(tmp_path))
    assert [line.count("&") for line in lines] == [6] * len(rows)
    assert lines[2].startswith(r"ours (95 \% interval) & 0.6500")
    assert text.count(r"\midrule") == 8
