"""The signed small step against NumPy, in closed form, at chance, and through a study."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import signsal_jax
from signsal_jax import data, models, report, study
from signsal_jax.evaluations import EPSILONS, WAYS, claimed_signs, small_step
from tests import toys

SHAPE = (6, 5, 4, 3)
KEY = jax.random.key(3)


@pytest.fixture(scope="module")
def linear():
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((3, *SHAPE[1:]), np.float32)
    return (weights, np.zeros(3, np.float32)), rng.random(SHAPE, np.float32)


def gradients_of(linear, target):
    weights, others = linear[0][0], []
    for one in target:
        others.append(np.delete(weights, one, 0))
    return weights[target], np.stack(others).max(1), np.stack(others).min(1)


def test_the_claimed_signs(linear):
    target = np.asarray([0, 1, 2, 0, 1, 2])
    gradient, highest, lowest = gradients_of(linear, target)
    mean = gradient - (linear[0][0].sum(0)[None] - gradient) / 2
    expected = {
        "vanilla": np.sign(gradient),
        "positive": gradient > 0,
        "negative": -1 * (gradient < 0),
        "active": gradient > highest,
        "inactive": -1 * (gradient < lowest),
        "inactive_margin": -1 * (gradient < lowest),
        "mean_contrast_positive": mean > 0,
    }
    extrema = signsal_jax.class_extrema(toys.linear, *linear, target=target, contrasts=["mean"])
    for method, signs in expected.items():
        np.testing.assert_array_equal(claimed_signs(method, extrema), signs)


def test_on_a_linear_network_the_sign_is_true_and_its_opposite_as_bad(linear):
    """Every score of every step by NumPy, on the pixels that sorting chooses."""
    variables, images = linear
    target = np.asarray([0, 1, 2, 0, 1, 2])
    gradient = gradients_of(linear, target)[0]
    signs = np.sign(gradient).astype(np.int8)
    ranks = np.abs(gradient).max(-1)
    found = jax.jit(
        lambda v, x: small_step(
            toys.linear, v, x, ranks, signs, target, key=KEY, share=0.2, epsilons=(0.01, 0.1)
        )
    )(variables, images)
    assert found.valid.all()
    np.testing.assert_allclose(found.moved, 4 / 20)
    for b in range(len(images)):
        chosen = np.argsort(-ranks[b].ravel(), kind="stable")[:4]
        mask = np.zeros(20, bool)
        mask[chosen] = True
        move = signs[b] * mask.reshape(5, 4, 1)
        for way, factor in (("along", 1), ("against", -1)):
            for e, epsilon in enumerate((0.01, 0.1)):
                after = np.asarray(
                    toys.linear(variables, (images + factor * epsilon * move)[b : b + 1])
                )
                before = np.asarray(toys.linear(variables, images[b : b + 1]))
                expected = []
                for logits in (after[0].astype(float), before[0].astype(float)):
                    rest = np.delete(logits, target[b])
                    p = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
                    expected.append(
                        [logits[target[b]], logits[target[b]] - rest.max(), p[target[b]]]
                    )
                change = found.change[b, WAYS.index(way), e]
                np.testing.assert_allclose(change, np.subtract(*expected), atol=2e-5)
    logit = np.asarray(found.change[..., 0])
    exact = 0.01 * (
        np.abs(gradient) * (ranks >= np.sort(ranks.reshape(6, -1))[:, [-4]][..., None])[..., None]
    ).sum((1, 2, 3))
    np.testing.assert_allclose(logit[:, 0, 0], exact, rtol=1e-3)
    np.testing.assert_allclose(logit[:, 1, 0], -exact, rtol=1e-3)
    assert (np.abs(logit[:, 2, 0]) < exact).all()
    assert (logit[:, 3, 0] > 0).all()
    assert (logit[:, 3, 0] < exact).all()


def test_a_map_of_random_numbers_is_at_chance():
    """Random ranks and signs: the mean change is zero within its interval, over many images."""
    rng = np.random.default_rng(1)
    shape = (400, 6, 6, 1)
    variables = rng.standard_normal((3, *shape[1:])).astype(np.float32), np.zeros(3, np.float32)
    images, ranks = rng.random(shape, np.float32), rng.random(shape[:3], np.float32)
    signs = rng.choice([-1, 1], shape).astype(np.int8)
    target = rng.integers(3, size=400)
    found = jax.jit(
        lambda v, x: small_step(toys.linear, v, x, ranks, signs, target, key=KEY, share=0.2)
    )(variables, images)
    change = np.asarray(found.change[..., 0])[:, [0, 1, 3]]
    error = change.std(0) / np.sqrt(len(images))
    assert (np.abs(change.mean(0)) < 4 * error).all()


def test_pixels_without_a_sign_are_not_moved(linear):
    variables, images = linear
    signs = np.zeros(SHAPE, np.int8)
    signs[:, 0, :2] = 1
    ranks = np.ones(SHAPE[:3], np.float32)
    found = small_step(
        toys.linear, variables, images, ranks, signs, np.zeros(6, int), key=KEY, share=0.5
    )
    np.testing.assert_allclose(found.moved, 2 / 20)
    # Nothing is left to choose, so the pixels at random are the same.
    np.testing.assert_allclose(found.change[:, 3], found.change[:, 0], atol=1e-6)


def test_an_image_does_not_depend_on_its_batch(linear):
    variables, images = linear
    rng = np.random.default_rng(2)
    ranks, signs = rng.random(SHAPE[:3], np.float32), rng.choice([-1, 0, 1], SHAPE).astype(np.int8)
    target = np.arange(6) % 3

    def run(rows):
        arrays = (images[rows], ranks[rows], signs[rows], target[rows])
        return small_step(toys.linear, variables, *arrays, key=KEY)

    whole, part = run(slice(None)), run([4, 1])
    np.testing.assert_allclose(part.change, whole.change[jnp.asarray([4, 1])], atol=1e-6)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"share": 0.0}, "share: expected above 0 and at most 1, got 0.0"),
        ({"epsilons": ()}, "epsilons: expected at least one, each above 0"),
        ({"epsilons": (0.1, -0.1)}, "epsilons: expected at least one, each above 0"),
    ],
)
def test_wrong_arguments(linear, wrong, message):
    variables, images = linear
    given = {
        "ranks": np.ones(SHAPE[:3], np.float32),
        "signs": np.ones(SHAPE, np.int8),
        "target": np.zeros(6, int),
        "key": KEY,
        **wrong,
    }
    with pytest.raises(ValueError, match=message):
        small_step(toys.linear, variables, images, **given)


def test_a_study_stores_the_steps_of_every_map(tmp_path):
    rng = np.random.default_rng(3)
    pixels = rng.integers(0, 256, SHAPE, np.uint8)
    variables = toys.mlp_variables(0, 3, 60)
    dataset = data.Dataset(
        "noise", "test", ("a", "b", "c"), SHAPE[1:], data.Arrays(pixels, np.arange(6) % 3)
    )
    model = models.Model(toys.mlp, variables, dataset.class_names, SHAPE[1:], {})
    store = study.evaluate(
        model,
        dataset,
        tmp_path / "study",
        chunk=8,
        store=("logits", "deletion", "small_step"),
        control_seed=5,
        step_share=0.1,
    )
    images = jnp.asarray(pixels / np.float32(255))
    extrema = signsal_jax.class_extrema(toys.mlp, variables, images)
    saliency = signsal_jax.maps_from_extrema(extrema)
    stored = store.arrays()
    assert store.manifest["names"]["step_way"] == list(WAYS)
    assert store.manifest["names"]["epsilon"] == list(EPSILONS)
    for index, method in enumerate(signsal_jax.METHODS):
        expected = small_step(
            toys.mlp,
            variables,
            images,
            saliency.maps[method],
            claimed_signs(method, extrema),
            extrema.target,
            key=jax.random.key(5),
            share=0.1,
        )
        np.testing.assert_allclose(stored["step_change"][:, index], expected.change, atol=2e-6)
        np.testing.assert_allclose(stored["step_moved"][:, index], expected.moved)
    written = report.write_report(store, tmp_path / "report")
    rows = written.results["results"]["small_step"]
    assert len(rows) == len(signsal_jax.METHODS) * len(EPSILONS) * len(WAYS)
    row = next(r for r in rows if (r["map"], r["way"]) == ("active", "along"))
    change = stored["step_change"][:][:, 3, :, 0, 0]
    assert row["logit"]["mean"] == pytest.approx(change[:, 0].mean(), rel=1e-5)
    assert row["rose"] == (change[:, 0] > 0).mean()
    for index, other in enumerate(WAYS[1:], 1):
        difference = (change[:, 0] - change[:, index]).mean()
        assert row["minus"][other]["mean"] == pytest.approx(difference, rel=1e-4)
    table = (tmp_path / "report" / "small_step.md").read_text()
    assert f"| active | 1/255 | 0.100 | along | {row['logit']['mean']:+.3f} |" in table
