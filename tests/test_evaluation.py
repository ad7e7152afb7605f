"""The benchmark over a data set: every image as if alone, every figure as numpy works it out."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from signsal_jax import data, evaluation
from signsal_jax.evaluations.deletion import PAPER_CURVES
from signsal_jax.evaluations.perturbation import PAPER_FRACTIONS
from signsal_jax.maps import METHODS
from signsal_jax.models import Model
from tests import runs, toys

SHAPE, CLASSES, COUNT = (8, 6, 3), 4, 11
FRACTIONS = (0.0, 0.1, 0.5, 0.9)


def classifier(variables, images):
    """Sees gray as nothing, so that every deleted pixel may change its mind."""
    return toys.mlp(variables, 4 * (images - 0.5))


def toy_model(apply_fn=classifier, variables=None, classes=CLASSES, shape=SHAPE) -> Model:
    if variables is None:
        variables = toys.mlp_variables(3, classes, int(np.prod(shape)))
    names = tuple(f"class {label}" for label in range(classes))
    return Model(apply_fn, variables, names, shape, {"model": "toy"})


@pytest.fixture(scope="module")
def dataset():
    return runs.random_dataset(COUNT, SHAPE, CLASSES)


@pytest.fixture(scope="module")
def evaluated(dataset):
    """With a batch size that does not divide the number of images."""
    return evaluation.evaluate(toy_model(), dataset, batch_size=4, fractions=FRACTIONS)


def test_every_image_is_evaluated_as_if_alone(dataset, evaluated):
    model = toy_model()
    step = jax.jit(
        lambda variables, images: evaluation.evaluation_step(
            model.apply_fn, variables, images, fractions=FRACTIONS
        )
    )
    assert evaluated.agreement.shape == evaluated.deleted.shape == (COUNT, 6, len(FRACTIONS))
    assert evaluated.labels.tolist() == [row % CLASSES for row in range(COUNT)]
    for row in range(COUNT):
        image = dataset.source[row][0].astype(np.float32) / 255
        alone = jax.device_get(step(model.variables, image[None]))
        logits = model.apply_fn(model.variables, image[None])
        assert evaluated.predicted[row] == int(np.argmax(logits)) == alone.saliency.target[0]
        for place, name in enumerate(PAPER_CURVES):
            np.testing.assert_array_equal(
                evaluated.agreement[row, place], alone.curves[name].agreement[0]
            )
            np.testing.assert_allclose(
                evaluated.deleted[row, place], alone.curves[name].deleted[0], rtol=1e-6
            )
        for method in METHODS:
            assert evaluated.empty[method][row] == alone.saliency.empty[method][0]
    # The toy's curves do fall, or the comparison above would mean little.
    assert 0.2 < evaluated.agreement.mean() < 0.8


def test_the_paper_rule_by_hand(dataset, evaluated):
    """Fidelity under black deletion of the vanilla map, from PAPER's rule in numpy alone."""
    model = toy_model()
    jacobian = np.asarray(
        toys.oracle_jacobian(
            classifier,
            model.variables,
            np.stack([dataset.source[row][0] for row in range(COUNT)]).astype(np.float32) / 255,
        )
    )
    for row in range(COUNT):
        image = dataset.source[row][0].astype(np.float32) / 255
        predicted = int(evaluated.predicted[row])
        vanilla = np.abs(jacobian[row, predicted]).max(-1)
        vanilla = (vanilla - vanilla.min()) / (vanilla.max() - vanilla.min())
        descending = np.sort(vanilla.ravel())[::-1]
        for place, fraction in enumerate(FRACTIONS):
            threshold = descending[round(fraction * vanilla.size)]
            deleted = (vanilla > threshold) & (vanilla != 0)
            logits = classifier(model.variables, np.where(deleted[..., None], 0, image)[None])
            assert evaluated.agreement[row, 0, place] == (int(np.argmax(logits)) == predicted)
            np.testing.assert_allclose(evaluated.deleted[row, 0, place], deleted.mean(), rtol=1e-6)


@pytest.mark.parametrize("batch_size", [1, 64])
def test_the_batch_size_changes_nothing(dataset, evaluated, batch_size):
    other = evaluation.evaluate(toy_model(), dataset, batch_size=batch_size, fractions=FRACTIONS)
    for name in ("labels", "predicted", "agreement", "deleted"):
        np.testing.assert_array_equal(getattr(other, name), getattr(evaluated, name))
    for method in METHODS:
        np.testing.assert_array_equal(other.empty[method], evaluated.empty[method])


def test_the_exact_rule_deletes_what_the_fraction_says(dataset):
    exact = evaluation.evaluate(toy_model(), dataset, fractions=FRACTIONS, rule="exact")
    pixels = SHAPE[0] * SHAPE[1]
    expected = [round(fraction * pixels) / pixels for fraction in FRACTIONS]
    np.testing.assert_allclose(exact.deleted, np.broadcast_to(expected, exact.deleted.shape))


def test_the_defaults_are_the_papers(evaluated):
    assert inspect.signature(evaluation.evaluate).parameters["fractions"].default == PAPER_FRACTIONS
    assert evaluated.curves == (
        ("black", "vanilla"),
        ("black", "positive"),
        ("black", "active"),
        ("white", "vanilla"),
        ("white", "negative"),
        ("white", "inactive"),
    )


# What does not fit.


def test_another_number_of_classes(dataset):
    with pytest.raises(
        ValueError, match=r"noise:1\.0\.0: expected 3 classes like the network, got 4"
    ):
        evaluation.evaluate(toy_model(classes=3), dataset)


def test_another_number_of_channels(dataset):
    model = toy_model(shape=(8, 6, 1))
    with pytest.raises(ValueError, match="expected 1 channels like the network, got 3"):
        evaluation.evaluate(model, dataset)


@pytest.mark.parametrize("batch_size", [0, -1])
def test_batch_size(dataset, batch_size):
    with pytest.raises(ValueError, match=f"batch_size: expected at least 1, got {batch_size}"):
        evaluation.evaluate(toy_model(), dataset, batch_size=batch_size)


@pytest.mark.parametrize("fractions", [(0.0, 1.5), (-0.1, 0.5), (0.0, float("nan"))])
def test_fractions_outside_zero_and_one(dataset, fractions):
    with pytest.raises(ValueError, match=r"fractions: expected numbers in \[0, 1\]"):
        evaluation.evaluate(toy_model(), dataset, fractions=fractions)


def test_unknown_rule(dataset):
    with pytest.raises(ValueError, match="rule: expected one of paper, exact; got 'best'"):
        evaluation.evaluate(toy_model(), dataset, rule="best")


def test_an_empty_data_set():
    with pytest.raises(ValueError, match="expected at least one image"):
        evaluation.evaluate(toy_model(), runs.random_dataset(0, SHAPE, CLASSES))


def test_weights_that_are_no_numbers_name_the_image(dataset):
    variables = toys.mlp_variables(3, CLASSES, int(np.prod(SHAPE)))
    variables["head"] = variables["head"].at[2, 1].set(jnp.inf)
    with pytest.raises(ValueError, match=r"noise:1.0.0 test: expected finite.*at image 0"):
        evaluation.evaluate(toy_model(variables=variables), dataset, batch_size=4)


def test_the_image_named_is_the_one():
    """The eighth image, in the second batch, is white, which this network cannot stand."""

    def apply_fn(weights, images):
        return toys.linear((weights, jnp.zeros(2)), jnp.sqrt(0.9 - images))

    images = np.zeros((11, 2, 2, 1), np.uint8)
    images[7] = 255
    source = data.Arrays(images, np.zeros(11, np.int32))
    dataset = data.Dataset("dark:1.0.0", "train", ("a", "b"), (2, 2, 1), source)
    model = toy_model(apply_fn, np.ones((2, 2, 2, 1), np.float32), 2, (2, 2, 1))
    with pytest.raises(ValueError, match=r"dark:1.0.0 train: expected .* at image 7$"):
        evaluation.evaluate(model, dataset, batch_size=4)


# The figures.


def trapezoid(curve, fractions):
    return float(np.trapezoid(np.asarray(curve, np.float64), fractions))


@pytest.fixture(scope="module")
def summary(evaluated):
    return evaluation.summarize(evaluated, seed=0)


def test_counts_and_accuracy(evaluated, summary):
    assert summary["images"] == COUNT
    correct = sum(int(a == b) for a, b in zip(evaluated.labels, evaluated.predicted, strict=True))
    assert summary["accuracy"] == correct / COUNT
    assert summary["fractions"] == list(FRACTIONS)
    assert [(curve["fill"], curve["map"]) for curve in summary["curves"]] == list(PAPER_CURVES)
    for method in METHODS:
        assert summary["empty_maps"][method] == int(evaluated.empty[method].sum())


def test_curves_and_areas_against_numpy(evaluated, summary):
    areas = {}
    for place, curve in enumerate(summary["curves"]):
        agreement = evaluated.agreement[:, place].astype(np.float64)
        np.testing.assert_allclose(curve["fidelity"], agreement.mean(0), rtol=1e-12)
        np.testing.assert_allclose(
            curve["deleted"], evaluated.deleted[:, place].astype(np.float64).mean(0), rtol=1e-12
        )
        one_by_one = np.asarray([trapezoid(row, FRACTIONS) for row in agreement])
        areas[curve["fill"], curve["map"]] = one_by_one
        # The area of the mean curve is the mean of the areas.
        np.testing.assert_allclose(one_by_one.mean(), trapezoid(curve["fidelity"], FRACTIONS))
        np.testing.assert_allclose(curve["auc"]["mean"], one_by_one.mean(), rtol=1e-6)
        difference = one_by_one - areas[curve["fill"], "vanilla"]
        np.testing.assert_allclose(
            curve["auc_minus_vanilla"]["mean"], difference.mean(), rtol=1e-5, atol=1e-7
        )


def test_intervals_are_those_of_the_bootstrap(evaluated, summary):
    """Against the spread of the same mean under numpy's own resampling."""
    generator = np.random.default_rng(0)
    rows = generator.integers(0, COUNT, (20_000, COUNT))
    areas = np.trapezoid(evaluated.agreement.astype(np.float64), FRACTIONS, axis=-1)
    for place, curve in enumerate(summary["curves"]):
        baseline = areas[:, 0 if curve["fill"] == "black" else 3]
        for name, values in (
            ("auc", areas[:, place]),
            ("auc_minus_vanilla", areas[:, place] - baseline),
        ):
            low, high = np.quantile(values[rows].mean(1), [0.025, 0.975])
            # 1 000 resamples place a 2.5 % quantile within about 0.15 of a standard error.
            allowed = 0.3 * values.std() / np.sqrt(COUNT) + 1e-6
            assert abs(curve[name]["low"] - low) <= allowed
            assert abs(curve[name]["high"] - high) <= allowed


def test_vanilla_minus_itself_is_zero(summary):
    for curve in summary["curves"]:
        if curve["map"] == "vanilla":
            assert set(curve["auc_minus_vanilla"].values()) == {0.0}


def test_the_seed_decides_the_intervals_alone(evaluated, summary):
    other = evaluation.summarize(evaluated, seed=1)
    assert other != summary
    for one, two in zip(summary["curves"], other["curves"], strict=True):
        assert one["auc"]["mean"] == two["auc"]["mean"]
        assert one["fidelity"] == two["fidelity"]


# The examples of the figure.


def test_examples_are_the_first_correct_image_of_every_class():
    """A linear network whose logits are the four pixels: image i shows class `predicted[i]`."""
    predicted = [1, 0, 0, 2, 1, 1, 2, 0]
    labels = [0, 0, 0, 1, 1, 1, 2, 3]
    images = np.zeros((8, 2, 2, 1), np.uint8)
    for row, label in enumerate(predicted):
        images[row].reshape(-1)[label] = 200 + row
    source = data.Arrays(images, np.asarray(labels, np.int32))
    names = ("ant", "bee", "cat", "dog")
    dataset = data.Dataset("corners:1.0.0", "test", names, (2, 2, 1), source)
    weights = np.eye(4, dtype=np.float32).reshape(4, 2, 2, 1)
    model = Model(toys.linear, (weights, np.zeros(4, np.float32)), names, (2, 2, 1), {})
    result = evaluation.evaluate(model, dataset, fractions=FRACTIONS)
    assert result.predicted.tolist() == predicted
    rows = evaluation.examples(model, dataset, result)
    # Nothing of class dog was classified correctly.
    assert [row.title for row in rows] == ["ant", "bee", "cat"]
    for row, expected in zip(rows, (1, 4, 6), strict=True):
        np.testing.assert_array_equal(row.image, images[expected].astype(np.float32) / 255)
        label = labels[expected]
        # The gradient is 1 at the class's own pixel and 0 elsewhere.
        assert row.maps["vanilla"].ravel().tolist() == np.eye(4)[label].tolist()
        assert set(row.maps) == set(METHODS)


def test_no_examples_where_nothing_is_correct(dataset, evaluated):
    wrong = evaluated._replace(predicted=(evaluated.labels + 1) % CLASSES)
    assert evaluation.examples(toy_model(), dataset, wrong) == []
