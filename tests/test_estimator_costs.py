"""The table of what gradient methods cost: all of them, in the columns that were measured."""

from scripts import estimator_costs
from signsal_jax import gradients


def test_every_estimator_is_measured_with_as_many_samples():
    made = estimator_costs.estimators(3)
    assert set(made) == set(gradients.NAMES)
    for name in ("smooth_grad", "var_grad"):
        assert made[name].samples == 3
    assert made["path_gradient"].steps == 3


def test_the_table():
    rows = {
        "plain": {"cnn 128×32×32": 1.0, "MiB, 10": 80.4, "MiB, 1000": 80.4},
        "var_grad": {"cnn 128×32×32": 31.256, "MiB, 10": 1200.0, "MiB, 1000": 1201.0},
    }
    assert estimator_costs.render({"rows": rows}).splitlines() == [
        "| estimator | cnn 128×32×32, time | MiB, 10 classes | MiB, 1000 classes |",
        "|---|---|---|---|",
        "| `plain` | 1.00 | 80 | 80 |",
        "| `var_grad` | 31.26 | 1,200 | 1,201 |",
    ]
