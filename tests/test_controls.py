"""The controls against NumPy, and their curves through a study against `deletion_curve`."""

import jax
import numpy as np
import pytest

from signsal_jax import data, deletion_curve, models, report, study
from signsal_jax.evaluations import control_maps, control_names
from tests import toys

FRACTIONS = (0.0, 0.2, 0.5, 0.9)
SHAPE = (6, 5, 4, 3)


@pytest.fixture(scope="module")
def linear():
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, SHAPE, np.uint8)
    pixels[0] = 7  # flat
    weights = generator.standard_normal((3, *SHAPE[1:]), np.float32)
    return pixels, (weights, np.zeros(3, np.float32))


def test_maps_are_what_numpy_says(linear):
    pixels, (weights, _) = linear
    images = pixels / np.float32(255)
    gradient = weights[np.array([0, 1, 2, 0, 1, 2])]
    found = control_maps(jax.random.key(0), images, gradient, orders=3)
    laplace = np.zeros(SHAPE)
    for y in range(SHAPE[1]):
        for x in range(SHAPE[2]):
            for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0)):
                row, column = np.clip(y + dy, 0, 4), np.clip(x + dx, 0, 3)
                laplace[:, y, x] += images[:, y, x] - images[:, row, column]
    np.testing.assert_allclose(found["laplace"], np.abs(laplace).max(3), atol=1e-6)
    times = np.einsum("bhwc,bhwc->bhw", gradient, images)
    np.testing.assert_allclose(found["gradient_x_input"], times, atol=1e-5)
    np.testing.assert_allclose(found["gradient_x_inverse"], times - gradient.sum(3), atol=1e-5)
    orders = [np.asarray(found[f"random_{index}"]) for index in range(3)]
    for order in orders:
        assert (order == order[:1]).all()
        np.testing.assert_array_equal(np.sort(order[0].ravel()), np.arange(1, 21))
    assert (orders[0] != orders[1]).any()
    assert (orders[1] != orders[2]).any()


def test_a_study_has_the_curves_of_the_controls(linear, tmp_path):
    pixels, variables = linear
    source = data.Arrays(pixels, np.arange(6) % 3)
    dataset = data.Dataset("noise", "test", ("a", "b", "c"), SHAPE[1:], source)
    model = models.Model(toys.linear, variables, dataset.class_names, SHAPE[1:], {})
    store = study.evaluate(
        model,
        dataset,
        tmp_path / "study",
        chunk=8,
        fractions=FRACTIONS,
        store=("logits", "deletion", "controls"),
        control_seed=5,
        control_orders=2,
    )
    images = pixels / np.float32(255)
    predicted = np.asarray(toys.linear(variables, images)).argmax(1)
    maps = control_maps(jax.random.key(5), images, variables[0][predicted], orders=2)
    curves = [(fill, name) for fill in ("black", "white") for name in control_names(2, fill)]
    names, stored = store.manifest["names"]["control_curve"], store.arrays()
    assert names == [" ".join(curve) for curve in curves]
    for index, (fill, name) in enumerate(curves):
        curve = deletion_curve(
            toys.linear, variables, images, maps[name], fill=fill, fractions=FRACTIONS
        )
        np.testing.assert_array_equal(stored["control_agreement"][:, index], curve.agreement)
        np.testing.assert_allclose(stored["control_deleted"][:, index], curve.deleted, rtol=1e-6)
    summary = report.summarize(store)
    assert [(row["fill"], row["map"]) for row in summary["controls"]] == curves
    for fill in ("black", "white"):
        rows = [row for row in summary["controls"] if row["fill"] == fill]
        random = np.mean([row["auc"]["mean"] for row in rows if "random" in row["map"]])
        for row in [*rows, *(row for row in summary["curves"] if row["fill"] == fill)]:
            difference = row["auc"]["mean"] - random
            assert row["auc_minus_random"]["mean"] == pytest.approx(difference, abs=1e-6)
