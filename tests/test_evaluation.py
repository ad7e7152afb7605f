"""The benchmark over a data set: every image as if alone, every figure as numpy works it out."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import signsal_jax
from signsal_jax import data, report, sharding, study
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


def evaluate(folder, dataset, model=None, devices=1, **fields):
    """An evaluation's arrays by name, with a chunk that does not divide the number of images."""
    fields = {"fractions": FRACTIONS, "chunk": 4, **fields}
    mesh = sharding.make_mesh(jax.devices()[:devices])
    return study.evaluate(model or toy_model(), dataset, folder, mesh=mesh, **fields)


def arrays_of(store):
    found = {name: np.asarray(array[:]) for name, array in store.arrays().items()}
    return types.SimpleNamespace(**found)


@pytest.fixture(scope="module")
def dataset():
    return runs.random_dataset(COUNT, SHAPE, CLASSES)


@pytest.fixture(scope="module")
def store(dataset, tmp_path_factory):
    return evaluate(tmp_path_factory.mktemp("evaluation") / "study", dataset)


@pytest.fixture(scope="module")
def evaluated(store):
    return arrays_of(store)


def test_every_image_is_evaluated_as_if_alone(dataset, evaluated):
    model = toy_model()

    @jax.jit
    def step(variables, images):
        saliency = signsal_jax.saliency_maps(model.apply_fn, variables, images)
        return saliency, signsal_jax.evaluate_deletion(
            model.apply_fn, variables, images, saliency.maps, fractions=FRACTIONS
        )

    assert evaluated.agreement.shape == evaluated.deleted.shape == (COUNT, 6, len(FRACTIONS))
    assert evaluated.label.tolist() == [row % CLASSES for row in range(COUNT)]
    assert evaluated.valid.all()
    for row in range(COUNT):
        image = dataset.source[row][0].astype(np.float32) / 255
        saliency, curves = jax.device_get(step(model.variables, image[None]))
        logits = model.apply_fn(model.variables, image[None])
        assert evaluated.predicted[row] == int(np.argmax(logits)) == saliency.target[0]
        for place, name in enumerate(PAPER_CURVES):
            np.testing.assert_array_equal(
                evaluated.agreement[row, place], curves[name].agreement[0]
            )
            np.testing.assert_allclose(
                evaluated.deleted[row, place], curves[name].deleted[0], rtol=1e-6
            )
        for place, method in enumerate(METHODS):
            assert evaluated.empty[row, place] == saliency.empty[method][0]
    # The toy's curves do fall, or the comparison above would mean little.
    assert 0.2 < evaluated.agreement.mean() < 0.8


def test_the_paper_rule_by_hand(dataset, evaluated):
    """Fidelity under black deletion of the vanilla map, from PAPER's rule in numpy alone."""
    model = toy_model()
    images = np.stack([dataset.source[row][0] for row in range(COUNT)]).astype(np.float32) / 255
    jacobian = np.asarray(toys.oracle_jacobian(classifier, model.variables, images))
    for row, image in enumerate(images):
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


@pytest.mark.parametrize(("chunk", "devices"), [(64, 1), (5, 8)])
def test_neither_chunk_nor_devices_change_the_curves(
    dataset, store, evaluated, tmp_path, chunk, devices
):
    other = evaluate(tmp_path / "other", dataset, chunk=chunk, devices=devices)
    arrays = arrays_of(other)
    for name in ("label", "predicted", "agreement", "deleted", "empty"):
        np.testing.assert_array_equal(getattr(arrays, name), getattr(evaluated, name))
    assert report.summarize(other) == report.summarize(store)


def test_the_exact_rule_deletes_what_the_fraction_says(dataset, tmp_path):
    exact = arrays_of(evaluate(tmp_path / "exact", dataset, rule="exact"))
    pixels = SHAPE[0] * SHAPE[1]
    expected = [round(fraction * pixels) / pixels for fraction in FRACTIONS]
    np.testing.assert_allclose(exact.deleted, np.broadcast_to(expected, exact.deleted.shape))


def test_the_defaults_are_the_papers():
    config = study.StudyConfig()
    assert (config.fractions, config.rule, config.methods) == (PAPER_FRACTIONS, "paper", METHODS)
    assert config.curves == (
        ("black", "vanilla"),
        ("black", "positive"),
        ("black", "active"),
        ("white", "vanilla"),
        ("white", "negative"),
        ("white", "inactive"),
    )


# What does not fit.


@pytest.mark.parametrize(
    ("model", "fields", "message"),
    [
        (toy_model(classes=3), {}, r"noise:1\.0\.0: expected each class to be one of .* 3 classes"),
        (toy_model(shape=(8, 6, 1)), {}, "expected 1 channels like the network, got 3"),
        (toy_model(), {"chunk": 0}, "chunk: expected at least 1, got 0"),
        (toy_model(), {"fractions": (0.0, 1.5)}, r"fractions: expected numbers in \[0, 1\]"),
        (toy_model(), {"fractions": (0.0, np.nan)}, r"fractions: expected numbers in \[0, 1\]"),
        (
            toy_model(),
            {"rule": "best"},
            "rule: expected one of paper, exact, completed; got 'best'",
        ),
    ],
)
@pytest.mark.usefixtures("no_typecheck")
def test_what_does_not_fit_claims_no_folder(dataset, tmp_path, model, fields, message):
    with pytest.raises(ValueError, match=message):
        evaluate(tmp_path / "out", dataset, model, **fields)
    assert not (tmp_path / "out").exists()


def test_an_empty_data_set(tmp_path):
    with pytest.raises(ValueError, match="expected at least one image"):
        evaluate(tmp_path / "out", runs.random_dataset(0, SHAPE, CLASSES))


@pytest.fixture
def blinding():
    """The eighth and ninth of eleven images are white, which this network cannot stand."""

    def apply_fn(weights, images):
        return toys.linear((weights, jnp.zeros(2)), jnp.sqrt(0.9 - images))

    images = np.random.default_rng(0).integers(0, 200, (11, 2, 2, 1)).astype(np.uint8)
    images[7:9] = 255
    source = data.Arrays(images, np.zeros(11, np.int32))
    names = ("class 0", "class 1")
    weights = np.random.default_rng(1).random((2, 2, 2, 1), np.float32)
    return (
        toy_model(apply_fn, weights, 2, (2, 2, 1)),
        data.Dataset("dark:1.0.0", "train", names, (2, 2, 1), source),
    )


def test_invalid_images_are_named_counted_and_left_out(blinding, tmp_path):
    model, dataset = blinding
    # A white fill blinds it, too: only black ones are left.
    methods = ("positive", "active")
    store = evaluate(tmp_path / "all", dataset, model, methods=methods)
    summary = report.summarize(store)
    assert summary["invalid"] == {"count": 2, "numbers": [7, 8], "unreadable": []}
    assert summary["images"] == 9
    kept = [row for row in range(11) if row not in (7, 8)]
    source = data.Arrays(dataset.source.images[kept], np.zeros(9, np.int32))
    rest = data.Dataset("dark:1.0.0", "train", dataset.class_names, (2, 2, 1), source)
    without = report.summarize(evaluate(tmp_path / "rest", rest, model, methods=methods))
    for name in ("images", "accuracy", "curves", "empty_maps"):
        assert summary[name] == without[name]


def test_strict_makes_an_invalid_image_an_error(blinding, tmp_path):
    model, dataset = blinding
    with pytest.raises(ValueError, match=r"dark:1.0.0 train: expected .* at image 7$"):
        evaluate(tmp_path / "out", dataset, model, methods=("positive",), strict=True)


def test_an_evaluation_without_a_valid_image_has_no_figures(dataset, tmp_path):
    variables = toys.mlp_variables(3, CLASSES, int(np.prod(SHAPE)))
    variables["head"] = variables["head"].at[2, 1].set(jnp.inf)
    store = evaluate(tmp_path / "out", dataset, toy_model(variables=variables))
    with pytest.raises(ValueError, match="expected at least one valid image, got none of 11"):
        report.summarize(store)


# The figures.


def trapezoid(curve, fractions):
    return float(np.trapezoid(np.asarray(curve, np.float64), fractions))


@pytest.fixture(scope="module")
def summary(store):
    return report.summarize(store, seed=0)


def test_counts_and_accuracy(evaluated, summary):
    assert (summary["images"], summary["of"], summary["complete"]) == (COUNT, COUNT, True)
    assert summary["invalid"] == {"count": 0, "numbers": [], "unreadable": []}
    correct = sum(int(a == b) for a, b in zip(evaluated.label, evaluated.predicted, strict=True))
    assert summary["accuracy"] == correct / COUNT
    assert summary["fractions"] == list(FRACTIONS)
    assert [(curve["fill"], curve["map"]) for curve in summary["curves"]] == list(PAPER_CURVES)
    for place, method in enumerate(METHODS):
        assert summary["empty_maps"][method] == int(evaluated.empty[:, place].sum())


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


def test_the_seed_decides_the_intervals_alone(store, summary):
    other = report.summarize(store, seed=1)
    assert other != summary
    for one, two in zip(summary["curves"], other["curves"], strict=True):
        assert one["auc"]["mean"] == two["auc"]["mean"]
        assert one["fidelity"] == two["fidelity"]


# The examples of the figure.


def test_examples_are_the_first_correct_image_of_every_class(tmp_path):
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
    store = evaluate(tmp_path / "study", dataset, model)
    assert arrays_of(store).predicted.tolist() == predicted
    rows = report.compute_examples(store, model, [dataset])
    # Nothing of class dog was classified correctly.
    assert [row.title for row in rows] == ["ant", "bee", "cat"]
    for row, expected in zip(rows, (1, 4, 6), strict=True):
        np.testing.assert_array_equal(row.image, images[expected].astype(np.float32) / 255)
        label = labels[expected]
        # The gradient is 1 at the class's own pixel and 0 elsewhere.
        assert row.maps["vanilla"].ravel().tolist() == np.eye(4)[label].tolist()
        assert set(row.maps) == set(METHODS)


def test_no_examples_where_nothing_is_correct(tmp_path):
    noise = runs.random_dataset(3, SHAPE, CLASSES)
    # Every image is of class 3, every prediction is class 0.
    source = data.Arrays(noise.source.images, np.full(3, 3, np.int32))
    dataset = data.Dataset("noise", "test", noise.class_names, SHAPE, source)
    model = toy_model(lambda _, x: x.mean((1, 2, 3))[:, None] * jnp.asarray([[4.0, 3, 2, 1]]), ())
    store = evaluate(tmp_path / "study", dataset, model)
    assert report.compute_examples(store, model, [dataset]) == []


def test_no_examples_of_what_is_no_picture(tmp_path):
    """Two channels, such as of a radar: evaluated, but there is nothing to show."""
    shape = (4, 4, 2)
    dataset, model = runs.random_dataset(3, shape, CLASSES), toy_model(shape=shape)
    store = evaluate(tmp_path / "study", dataset, model)
    assert report.compute_examples(store, model, [dataset]) == []
    assert "maps.png" not in report.write_report(store, tmp_path / "report").files
