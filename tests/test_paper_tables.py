"""The paper's tables beside ours: differences, orders, seeds, absent and unlike networks."""

import csv
import json
import re

import pytest

from scripts.reproduce_paper import RESULTS
from signsal_jax import PAPER_CURVES, PAPER_FRACTIONS, cli, report
from signsal_jax.report.published import PUBLISHED

NAME = "cifar10-cnn"


def content(shifts=None, note="", seed=42):
    """Results equal to the paper's, but for these shifts of the areas."""
    paper = PUBLISHED[NAME].figures
    curves = []
    for fill, method in PAPER_CURVES:
        mean = paper[fill, method] + (shifts or {}).get((fill, method), 0.0)
        area = {"mean": mean, "low": mean - 0.01, "high": mean + 0.01}
        curves.append({"fill": fill, "map": method, "auc": area})
    return {
        "configuration": {"rule": "paper"},
        "dataset": {"name": "cifar10:3.0.2", "split": "test", "note": note},
        "network": {"model": "cnn", "train_images": 50_000, "epochs": 20, "seed": seed},
        "results": {
            "images": 100,
            "accuracy": 0.65,
            "curves": curves,
            "fractions": [*PAPER_FRACTIONS],
        },
    }


def keep(folder, name, kept):
    path = folder / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(kept))
    return path


def rows(path):
    return list(csv.DictReader(path.read_text().splitlines()))


def test_the_command_writes_ours_the_papers_and_the_difference(tmp_path, capsys):
    evaluation, out = tmp_path / "evaluation", tmp_path / "out"
    keep(evaluation, "results", content({("black", "active"): -0.02}, note="JPEG."))
    assert cli.main(["report", str(evaluation), "--paper", "--out", str(out)]) == 0
    black = rows(out / "paper_black.csv")
    assert len(rows(out / "paper_white.csv")) == len(black) == 3 * len(PUBLISHED)
    active = next(row for row in black if row["map"] == "active")
    found = [float(active[key]) for key in ("paper", "ours_low", "ours_high")]
    assert found == pytest.approx([0.15, 0.12, 0.14])
    assert float(active["ours_minus_paper"]) == pytest.approx(-0.02)
    assert (active["epochs"], active["train_images"], active["seed"]) == ("20", "50000", "42")
    missing = next(row for row in black if row["network"].startswith("Imagenette"))
    assert (missing["ours_mean"], missing["ours_minus_paper"]) == ("", "")
    text = (out / "paper.md").read_text()
    # Wilson's interval of 65 in 100.
    assert "Basic CNN | 0.6307 | 0.6500 | 0.5525 to 0.7364 | +0.0193 | 100 | 50,000 | 20" in text
    assert "| CIFAR-10, Basic CNN | active | 0.15 | 0.1300 | 0.1200 to 0.1400 | -0.020 |" in text
    assert "- Data of CIFAR-10, Basic CNN: JPEG." in text
    assert "ConvNeXt-Tiny pretrained." in text
    assert r"0.1200 to 0.1400 & -0.020 \\" in (out / "paper_black.tex").read_text()
    assert text in capsys.readouterr().out


def test_another_order_than_the_papers_is_said():
    assert len(report.paper_notes([report.Evaluated(NAME, content())])) == 1
    swapped = report.Evaluated(NAME, content({("black", "active"): -0.02}))
    line = report.paper_notes([swapped])[-1]
    assert "black: the paper has positive below active (0.14, 0.15)" in line
    assert "here it is above (0.1400, 0.1300)" in line


@pytest.mark.parametrize(("shift", "verdict"), [(0.004, "is larger"), (0.02, "is not larger")])
def test_seeds(tmp_path, shift, verdict):
    keep(tmp_path, "b", content({("black", "positive"): shift}, seed=43))
    keep(tmp_path, "c", content())
    keep(tmp_path, "d", {"other": 1})
    evaluated, left_out = report.read_evaluations([tmp_path])
    assert [one.title for one in evaluated][1:] == ["CIFAR-10, Basic CNN (seed 43)"]
    assert not left_out
    said = report.paper_notes(evaluated)[-1]
    assert f"seeds 42, 43: black AUC, positive 0.1400 to {0.14 + shift:.4f}" in said
    assert f"0.01, {verdict} than the largest between two trainings, {shift:.4f}" in said


@pytest.mark.parametrize(
    ("part", "change", "reason"),
    [
        ("dataset", {"split": "train"}, "split: expected one that was not trained on, got train"),
        ("dataset", {"name": "mnist"}, "expected a network and data set of the paper, got cnn on"),
        ("configuration", {"rule": "exact"}, "rule: expected paper, got exact"),
        ("network", {"freeze": True}, "frozen weights: expected False, got True"),
        ("results", {"fractions": [0.0, 0.5]}, "got [0.0, 0.5]"),
        ("results", {"complete": False}, "complete: expected True, got False"),
        ("results", {"curves": content()["results"]["curves"][1:]}, "none of black vanilla"),
    ],
)
def test_what_cannot_be_compared_is_left_out(tmp_path, part, change, reason):
    unlike = content()
    unlike[part] |= change
    other, alike = keep(tmp_path, "other", unlike), keep(tmp_path, "alike", content())
    evaluated, left_out = report.read_evaluations([alike, other])
    assert (len(evaluated), len(left_out)) == (1, 1)
    assert left_out[0].startswith("other.json: ")
    assert reason in left_out[0]
    with pytest.raises(ValueError, match="--paper: expected results of a network of the paper"):
        report.read_evaluations([other])


def test_no_results_at_all(tmp_path):
    for path in (tmp_path, tmp_path / "missing", keep(tmp_path, "a", [1])):
        with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: expected results of "):
            report.read_evaluations([path])


def test_the_tables_kept_are_those_of_the_results_kept(tmp_path):
    for path in report.write_paper(report.read_evaluations([RESULTS])[0], tmp_path):
        assert path.read_text() == (RESULTS / path.name).read_text(), "run scripts/paper_tables.py"
