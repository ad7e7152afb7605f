"""Every figure of the verdict's page is in the row that it names."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "guides" / "verdict.md").read_text()
# "+0.105 (row 3)" or "-0.009 (ResNet row 12, undecided)".
CITED = re.compile(r"([+-]?\d\.\d{3})\s+\((ResNet )?row (\d+)(, undecided)?")
TABLES = {"": "verdict-cnn-cifar10", "ResNet ": "verdict-cifar_resnet20"}


@pytest.mark.parametrize("network", list(TABLES))
def test_figures_are_in_their_rows(network):
    rows = json.loads((ROOT / "scripts" / "results" / f"{TABLES[network]}.json").read_text())[
        "rows"
    ]
    found = [cited for cited in CITED.findall(PAGE) if cited[1] == network]
    assert found
    for figure, _, number, undecided in found:
        row = rows[int(number) - 1]
        shown = {f"{row['difference']:+.3f}", f"{row['mean']:.3f}"}
        assert figure in shown, (number, row["evaluation"], row["map"])
        assert row["decided"] == (not undecided), (number, row["evaluation"], row["map"])
