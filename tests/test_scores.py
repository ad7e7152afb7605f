"""What a report and a verdict say of stored evaluations, against NumPy."""

import numpy as np
import pytest
from scipy import stats

from scripts import verdict, verdict_networks
from signsal_jax import report, study

IMAGES, MAPS = 60, ["vanilla", "active"]
FRACTIONS = [0.0, 0.5, 0.9]
NAMES = {
    "curve": ["black vanilla", "black active"],
    "control_curve": ["black random_0", "black random_1", "black laplace"],
    "imputed_curve": ["linear vanilla", "linear random_0", "linear random_1"],
    "fraction": FRACTIONS,
    "step_map": MAPS,
    "step_way": ["along", "against", "random_signs", "random_pixels"],
    "step_score": ["logit", "margin", "probability"],
    "epsilon": [1 / 255, 4 / 255],
    "sensitivity_map": MAPS,
    "method": MAPS,
}


@pytest.fixture(scope="module")
def arrays():
    rng = np.random.default_rng(0)
    found = {
        "agreement": rng.random((IMAGES, 2, 3)) > 0.5,
        "control_agreement": rng.random((IMAGES, 3, 3)) > 0.5,
        "imputed_agreement": rng.random((IMAGES, 3, 3)) > 0.5,
        "step_change": rng.standard_normal((IMAGES, 2, 4, 2, 3)),
        "sensitivity": rng.random((IMAGES, 2)),
        "sparsity": rng.random((IMAGES, 2)),
    }
    found["sensitivity"][3, 1] = np.nan
    found["valid"] = np.arange(IMAGES) != 5
    return {name: np.asarray(array) for name, array in found.items()}


class InMemory(study.Store):
    """A study that was never on disk."""

    def __init__(self, arrays):
        self._in_memory, self.manifest = arrays, {"names": NAMES}

    def available(self):
        return np.arange(IMAGES)

    def arrays(self):
        return self._in_memory


@pytest.fixture(scope="module")
def scores(arrays):
    return {score.name: score for score in report.image_scores(InMemory(arrays))}


def test_scores_are_of_valid_images_that_have_one(arrays, scores):
    kept = np.delete(np.arange(IMAGES), 5)
    weights = np.asarray([0.25, 0.45, 0.2])
    controls = arrays["control_agreement"][kept] @ weights
    deletion = scores["deletion, black"]
    np.testing.assert_allclose(deletion.values["random"], controls[:, :2].mean(1), rtol=1e-6)
    np.testing.assert_allclose(deletion.values["laplace"], controls[:, 2], rtol=1e-6)
    np.testing.assert_allclose(
        deletion.values["active"], arrays["agreement"][kept, 1] @ weights, rtol=1e-6
    )
    assert list(scores["deletion, linear"].values) == ["vanilla", "random"]
    change = arrays["step_change"][kept, 1, :, 1, 0]
    step = scores["step 4/255, sign, logit"].values["active"]
    np.testing.assert_allclose(step, (change[:, 0] - change[:, 1]) / 2)
    step = scores["step 4/255, pixels, logit"].values["active"]
    np.testing.assert_allclose(step, change[:, 0] - change[:, 3])
    for values in scores["max-sensitivity"].values.values():
        assert len(values) == IMAGES - 2


def test_rows_are_paired(scores):
    rows = report.score_rows(list(scores.values()))
    row = next(r for r in rows if (r["evaluation"], r["map"]) == ("deletion, black", "active"))
    values = scores["deletion, black"].values
    for part, other in (("minus_random", "random"), ("minus_vanilla", "vanilla")):
        difference = values["active"] - values[other]
        assert row[part]["mean"] == pytest.approx(difference.mean(), rel=1e-5)
        half = 1.96 * difference.std() / np.sqrt(len(difference))
        assert row[part]["high"] - row[part]["low"] == pytest.approx(2 * half, rel=0.15)
    row = next(r for r in rows if r["evaluation"] == "max-sensitivity")
    assert row["minus_random"] is None
    table = report.scores_table(rows).splitlines()
    assert len(table) == len(rows) + 2
    assert {line.count("|") for line in table} == {8}


def test_a_verdict_corrects_for_the_number_of_comparisons(scores):
    rows = verdict.corrected(verdict.comparisons(list(scores.values())))
    assert "sparsity (Gini)" not in {row["evaluation"] for row in rows}
    row = next(
        r
        for r in rows
        if (r["evaluation"], r["map"], r["reference"]) == ("deletion, black", "active", "vanilla")
    )
    values = scores["deletion, black"].values
    # Lower areas are better, so that a positive difference means better here too.
    expected = stats.ttest_rel(values["vanilla"], values["active"])
    assert row["difference"] == pytest.approx((values["vanilla"] - values["active"]).mean())
    assert row["p"] == pytest.approx(expected.pvalue, rel=1e-3)
    # Holm's rule, once more: no p-value larger than its share of the level before it.
    ordered = sorted(rows, key=lambda row: row["p"])
    going = True
    for left, row in zip(range(len(rows), 0, -1), ordered, strict=True):
        going = going and row["p"] * left < 0.05
        assert row["decided"] == going
        assert (row["low"] > 0 or row["high"] < 0) >= row["decided"]
        assert row["effect_low"] < row["effect"] < row["effect_high"]
    assert "| 1 | deletion, black (lower is better) | 59 |" in verdict.table(rows)


def test_a_map_that_is_its_own_reference_is_undecided():
    same = report.Score("s", 1, {"vanilla": np.ones(9), "active": np.ones(9)})
    (row,) = verdict.corrected(verdict.comparisons([same]))
    assert not row["decided"]
    assert row["difference"] == row["effect"] == 0


def test_the_matrix_is_drawn(tmp_path, scores):
    rows = verdict.corrected(verdict.comparisons(list(scores.values())))
    assert verdict.draw(rows, tmp_path / "matrix.png", "t").stat().st_size > 10_000


def test_networks_stand_side_by_side_corrected_together(scores):
    rows = verdict.comparisons([scores["deletion, black"]])
    alone = verdict.corrected(rows)
    pooled = verdict_networks.pooled({"first": alone, "second": alone})
    assert len(pooled) == 2 * len(rows)
    # Twice as many comparisons: no interval is shorter than alone, and no adjusted value smaller.
    for row, before in zip(pooled, [*alone, *alone], strict=True):
        assert row["p_holm"] >= before["p_holm"]
        assert row["high"] - row["low"] >= before["high"] - before["low"] - 1e-12
    head, lines = verdict_networks.side_by_side(pooled)
    assert head[-2:] == ["first", "second"]
    assert [line[1:4] for line in lines] == [
        [row["evaluation"], row["map"], row["reference"]] for row in rows
    ]
    assert all(line[4] for line in lines)
    # What only one network has is left out.
    assert not verdict_networks.side_by_side([row for row in pooled if row["network"] == "first"])[
        1
    ]


def test_a_table_is_extended_in_place(scores):
    rows = verdict.comparisons([scores["deletion, black"]])
    more = verdict.comparisons([scores["deletion, black"], scores["max-sensitivity"]])
    found = verdict.added(verdict.corrected(rows), more)
    assert [row["map"] for row in found[: len(rows)]] == [row["map"] for row in rows]
    assert len(found) == len(more)
    again = verdict.corrected(found)
    for row, fresh in zip(again, verdict.corrected(more), strict=True):
        assert row["p_holm"] == pytest.approx(fresh["p_holm"])
