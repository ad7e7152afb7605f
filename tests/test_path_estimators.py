"""Estimators that multiply or average gradients, by their definitions over the oracle."""

import functools
import itertools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

import signsal_jax
from signsal_jax import gradients
from tests import toys
from tests.everywhere import assert_same_everywhere

KEY = jax.random.key(5)
BASELINES = toys.random_images(7, (3, 4, 4, 2))
ESTIMATORS = {
    "input": signsal_jax.gradient_x_input(1.0),
    "path": signsal_jax.path_gradient(0.25, steps=3),
    "expected": signsal_jax.expected_gradients(KEY, BASELINES, samples=4),
    "blur": signsal_jax.blur_integrated_gradients(max_sigma=2.0, steps=3),
    "squared": signsal_jax.smooth_grad_squared(KEY, samples=4, noise=0.2),
    "variance": signsal_jax.var_grad(KEY, samples=4, noise=0.2),
    "both": gradients.named_estimator("integrated_gradients_black_white", steps=3),
}
each_estimator = pytest.mark.parametrize("estimator", ESTIMATORS.values(), ids=ESTIMATORS)


@pytest.fixture(scope="module")
def model():
    return toys.mlp_variables(0, 5, 32), toys.random_images(1, (8, 4, 4, 2))


jacobian_at = functools.partial(toys.oracle_jacobian, toys.mlp)


def found(model, estimator):
    run = jax.jit(
        lambda estimator, variables, images: signsal_jax.signed_jacobian(
            toys.mlp, variables, images, estimator=estimator
        )[1]
    )
    return np.asarray(run(estimator, *model))


def along(model, baseline, steps):
    variables, images = model
    places = [(step + 0.5) / steps for step in range(steps)]
    return sum(jacobian_at(variables, baseline + p * (images - baseline)) for p in places) / steps


def test_gradient_x_input(model):
    variables, images = model
    expected = (images - 1.0)[:, None] * jacobian_at(variables, images)
    toys.assert_close(found(model, ESTIMATORS["input"]), expected)


def test_the_path_gradient_has_no_factor(model):
    toys.assert_close(found(model, ESTIMATORS["path"]), along(model, 0.25, 3))
    itself = signsal_jax.path_gradient(model[1], steps=2)
    toys.assert_close(found(model, itself), jacobian_at(*model))


def test_second_moments_under_the_noise_of_smooth_grad(model):
    variables, images = model
    noise = signsal_jax.smooth_grad(KEY, samples=4, noise=0.2).places(images).values
    samples = np.stack([jacobian_at(variables, images + offset) for offset in noise])
    toys.assert_close(found(model, ESTIMATORS["squared"]), (samples**2).mean(0))
    toys.assert_close(found(model, ESTIMATORS["variance"]), samples.var(0), 1e-4)


def test_what_has_no_sign_gives_no_map_by_sign(model):
    variance = ESTIMATORS["variance"]
    vanilla = signsal_jax.saliency_maps(toys.mlp, *model, methods=["vanilla"], estimator=variance)
    assert vanilla.valid.all()
    message = "expected vanilla alone with var_grad, whose values have no sign, got active_margin"
    with pytest.raises(ValueError, match=message):
        signsal_jax.saliency_maps(toys.mlp, *model, methods=["active_margin"], estimator=variance)


def test_a_mean_has_a_sign_if_all_its_parts_have():
    parts = ESTIMATORS["path"], ESTIMATORS["variance"]
    assert gradients.has_sign(signsal_jax.mean_of(parts[0], parts[0]))
    assert not gradients.has_sign(signsal_jax.mean_of(*parts))


def test_black_and_white_together(model):
    ends = [(model[1] - end)[:, None] * along(model, end, 3) for end in (0.0, 1.0)]
    toys.assert_close(found(model, ESTIMATORS["both"]), sum(ends) / 2)


def test_expected_gradients_are_the_mean_over_the_draws(model):
    variables, images = model
    (chosen, places), weigh = (
        getattr(ESTIMATORS["expected"].places(images), name) for name in ("values", "weigh")
    )
    assert ((np.asarray(places) * 4).astype(int) == np.arange(4)).all()
    total = 0
    for index, place in zip(chosen, places, strict=True):
        difference = images - BASELINES[index][None]
        here = images - (1 - place) * difference
        total += difference[:, None] * jacobian_at(variables, here)
        np.testing.assert_array_equal(weigh((index, place), jnp.ones_like(images)), difference)
    toys.assert_close(found(model, ESTIMATORS["expected"]), total / 4)
    assert len(np.unique(chosen)) > 1


def test_expected_gradients_add_up_to_the_mean_difference(model):
    many = signsal_jax.expected_gradients(KEY, BASELINES, samples=3000)
    total = found(model, many).sum((2, 3, 4))
    logits = np.asarray(toys.mlp(*model))
    difference = logits - np.asarray(toys.mlp(model[0], BASELINES)).mean(0)
    np.testing.assert_allclose(total, difference, atol=0.05 * np.abs(difference).max())


def test_blur_integrated_gradients_by_scipy(model):
    variables, images = model
    sigmas, total = np.linspace(0, 2.0, 4), 0

    def blurred(sigma):
        spread = (0, sigma, sigma, 0)
        return ndimage.gaussian_filter(np.asarray(images, float), spread, mode="constant")

    for sharp, soft in itertools.pairwise(sigmas):
        step = blurred(sharp) - blurred(soft)
        at = jacobian_at(variables, jnp.asarray(blurred(sharp), jnp.float32))
        total = total + step[:, None] * at
    toys.assert_close(found(model, ESTIMATORS["blur"]), total)


def test_attributions_are_complete_as_far_as_steps_go(model):
    variables, images = model
    score = toys.mlp(variables, images)[:, 2]

    def gap(estimator, baseline_score):
        attributions = jnp.asarray(found(model, estimator)[:, 2])
        return np.asarray(gradients.completeness_gap(attributions, score, baseline_score))

    black = toys.mlp(variables, jnp.zeros_like(images))[:, 2]
    assert gap(signsal_jax.integrated_gradients(0.0, steps=32), black).max() < 0.01
    assert gap(signsal_jax.plain(), black).max() > 0.1
    zeros = jnp.zeros((1, 1, 1, 1))
    assert gradients.completeness_gap(zeros, jnp.ones(1), 1.0).tolist() == [0.0]
    assert gradients.completeness_gap(zeros + 1, jnp.ones(1), 1.0).tolist() == [np.inf]


@each_estimator
def test_one_estimator_gives_the_same_everywhere(model, estimator):
    assert_same_everywhere(toys.mlp, estimator, *model, found(model, estimator), 2e-6)


@each_estimator
def test_a_description_is_json(estimator):
    described = gradients.describe(estimator)
    assert json.loads(json.dumps(described)) == described
    assert described["name"] == estimator.name


def test_a_mean_of_estimators_describes_them():
    described = gradients.describe(ESTIMATORS["both"])
    assert [one["baseline"] for one in described["estimators"]] == [0.0, 1.0]


@pytest.mark.usefixtures("no_typecheck")
@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: signsal_jax.mean_of(), ValueError, "estimators: expected at least one"),
        (lambda: signsal_jax.mean_of(signsal_jax.plain), TypeError, "estimator: expected"),
        (
            lambda: gradients.named_estimator("gradient_x_input", steps=3),
            ValueError,
            "steps: expected with the estimator integrated_gradients or .*, got gradient_x_input",
        ),
    ],
)
def test_what_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.usefixtures("no_typecheck")
def test_baselines_of_another_size(model):
    expected = signsal_jax.expected_gradients(KEY, BASELINES[:, :3], samples=2)
    with pytest.raises(ValueError, match=r"baselines: expected \[n, h, w, c\] like the images"):
        signsal_jax.signed_jacobian(toys.mlp, *model, estimator=expected)
