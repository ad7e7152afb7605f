"""What the results tables say of maps that do not beat vanilla."""

from scripts.reproduce_paper import verdict


def curve(name, high, end, deleted):
    return {
        "fill": "black",
        "map": name,
        "auc_minus_vanilla": {"high": high},
        "fidelity": [1.0, end],
        "deleted": [0.0, deleted],
    }


def results(*signed):
    return {"fractions": [0.0, 0.9], "curves": [curve("vanilla", 0.0, 0.2, 0.9), *signed]}


def test_every_map_is_better():
    kept = {"test": results(curve("positive", -0.01, 0.1, 0.8), curve("active", -0.02, 0.2, 0.3))}
    assert verdict(kept).endswith("below vanilla, also by the interval of the paired difference.")


def test_an_interval_that_holds_zero_is_no_improvement():
    better, worse = curve("positive", -0.01, 0.1, 0.8), curve("active", 0.0, 0.1, 0.3)
    kept = {"test": results(better, worse), "train": results(worse, better)}
    assert verdict(kept) == (
        "Not shown to be better than vanilla: active (black, test), active (black, train)."
    )


def test_the_end_of_a_curve_is_told():
    kept = {"test": results(curve("active", -0.01, 0.3, 0.25))}
    assert verdict(kept).endswith(
        "where 90% is to be deleted and sparse maps delete less, vanilla's fidelity is below that "
        "of active (black, test: 25% deleted)."
    )
