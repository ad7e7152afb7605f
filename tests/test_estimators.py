"""Gradient estimators: closed forms, their trivial settings, and how each composes."""

import dataclasses
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import signsal_jax
from signsal_jax import gradients, sharding, statistics
from signsal_jax.gradients import sharded_extrema
from signsal_jax.study import StudyConfig, study_step
from tests import toys

KEY = jax.random.key(3)
ESTIMATORS = {
    "smooth": signsal_jax.smooth_grad(KEY, samples=3, noise=0.3),
    "path": signsal_jax.integrated_gradients(0.25, steps=3),
}
each_estimator = pytest.mark.parametrize("estimator", ESTIMATORS.values(), ids=ESTIMATORS)


@pytest.fixture(scope="module")
def model():
    return toys.mlp_variables(0, 5, 24), toys.random_images(1, (8, 3, 4, 2))


def jacobian_of(apply_fn, variables, images, estimator, **options):
    def run(estimator, variables, images):
        return signsal_jax.signed_jacobian(
            apply_fn, variables, images, estimator=estimator, **options
        )[1]

    return jax.jit(run)(estimator, variables, images)


def assert_same_bits(actual, expected):
    """Equal, and zeros of the same sign."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    np.testing.assert_array_equal(actual.view(np.int32), expected.view(np.int32))


def path_oracle(variables, images, baseline, steps):
    """The definition: the midpoint rule over the oracle's Jacobian."""
    places = [(step + 0.5) / steps for step in range(steps)]
    along = [
        toys.oracle_jacobian(toys.mlp, variables, baseline + place * (images - baseline))
        for place in places
    ]
    return (images - baseline)[:, None] * sum(along) / steps


def test_smooth_grad_of_linear_scores_is_their_weights():
    weights, images = toys.random_images(0, (3, 4, 4, 2)), toys.random_images(1, (2, 4, 4, 2))
    found = jacobian_of(toys.linear, (weights, jnp.zeros(3)), images, ESTIMATORS["smooth"])
    toys.assert_close(found, jnp.broadcast_to(weights, found.shape), 1e-6)


def test_smooth_grad_has_the_same_noise_for_every_class_and_image():
    """Of quadratic scores it is w (x + m), where m is the mean of the noise."""
    weights = toys.random_images(0, (3, 8, 8, 3)) + 0.5
    images = toys.random_images(1, (2, 8, 8, 3))
    noisy = signsal_jax.smooth_grad(KEY, samples=16, noise=0.4)
    found = jacobian_of(toys.quadratic, weights, images, noisy)
    mean = np.asarray(found / weights[None] - images[:, None])
    np.testing.assert_allclose(mean, np.broadcast_to(mean[:1, :1], mean.shape), atol=1e-5)
    # 192 pixels, each the mean of 16 draws: within five standard errors of what is said.
    assert abs(mean[0, 0].mean()) < 5 * 0.1 / 192**0.5
    assert abs(mean[0, 0].std() - 0.1) < 5 * 0.1 / (2 * 192) ** 0.5


@pytest.mark.parametrize("steps", [1, 4])
@pytest.mark.parametrize("shape", [(), (2,), (3, 4, 2), (2, 3, 4, 2)])
def test_integrated_gradients_in_closed_form(shape, steps):
    """Of quadratic scores it is w (x² - b²) / 2, where the midpoint rule is exact."""
    weights, images = toys.random_images(0, (3, 3, 4, 2)), toys.random_images(1, (2, 3, 4, 2))
    baseline = toys.random_images(2, shape)
    path = signsal_jax.integrated_gradients(baseline, steps)
    found = jacobian_of(toys.quadratic, weights, images, path)
    filled = np.broadcast_to(np.asarray(baseline), images.shape)
    toys.assert_close(found, weights[None] * ((images**2 - filled**2) / 2)[:, None])


@pytest.mark.parametrize("output", ["logits", "log_softmax", "softmax"])
def test_integrated_gradients_are_complete(output):
    variables, images = toys.cnn_variables(0, 4, 2), toys.random_images(1, (4, 9, 8, 2))
    baseline = jnp.full_like(images, 0.1)
    path = signsal_jax.integrated_gradients(0.1, steps=32)

    @jax.jit
    def attribution(images):
        return signsal_jax.class_extrema(
            toys.cnn, variables, images, target=1, output=output, estimator=path
        ).gradient

    def score(images):
        logits = toys.cnn(variables, images)
        return (logits if output == "logits" else getattr(jax.nn, output)(logits))[:, 1]

    difference = np.asarray(score(images) - score(baseline))
    assert (np.abs(difference) > 1e-3).all()
    total = np.asarray(attribution(images).sum((1, 2, 3)))
    np.testing.assert_allclose(total, difference, rtol=0.01)


@pytest.mark.parametrize("class_chunk", [None, 1])
def test_the_trivial_settings_are_plain_bit_for_bit(class_chunk):
    variables, images = toys.cnn_variables(0, 3, 2), toys.random_images(1, (2, 9, 8, 2))
    variables["head"] = variables["head"].at[:, 0].set(0)  # zeros have a sign to keep, too
    jacobian = functools.partial(jacobian_of, toys.cnn, variables, class_chunk=class_chunk)
    plain = jacobian(images, signsal_jax.plain())
    assert_same_bits(jacobian(images, signsal_jax.smooth_grad(KEY, samples=1, noise=0.0)), plain)
    halfway = jacobian(0.5 * images, signsal_jax.plain())
    path = jacobian(images, signsal_jax.integrated_gradients(0.0, steps=1))
    assert_same_bits(path, images[:, None] * halfway)


def test_integrated_gradients_one_away_from_linear_scores_is_plain_bit_for_bit():
    images = jnp.round(toys.random_images(1, (2, 3, 4, 2)) * 256) / 256
    variables = toys.random_images(0, (3, 3, 4, 2)) - 0.5, jnp.zeros(3)
    path = signsal_jax.integrated_gradients(images - 1, steps=4)
    assert_same_bits(
        jacobian_of(toys.linear, variables, images, path),
        jacobian_of(toys.linear, variables, images, signsal_jax.plain()),
    )


@each_estimator
def test_one_estimator_gives_the_same_everywhere(model, estimator):
    """Jacobian, extrema, maps, sharded over 8 devices, in chunks, padded: one set of numbers."""
    variables, images = model
    jacobian = np.asarray(jacobian_of(toys.mlp, variables, images, estimator))
    chunked = jacobian_of(toys.mlp, variables, images, estimator, class_chunk=1)
    toys.assert_close(chunked, jacobian, 2e-6)
    padded = jnp.concatenate([images[:3], jnp.zeros_like(images[:2])])
    toys.assert_close(jacobian_of(toys.mlp, variables, padded, estimator)[:3], jacobian[:3], 2e-6)
    others = jacobian[:, [0, 1, 3, 4]]
    mesh = sharding.make_mesh(jax.devices()[:8], class_devices=2)

    @jax.jit
    def everything(estimator, variables, images):
        settings = {"target": 2, "estimator": estimator}
        return (
            signsal_jax.class_extrema(toys.mlp, variables, images, **settings),
            sharded_extrema(toys.mlp, variables, images, mesh=mesh, class_chunk=2, **settings),
            signsal_jax.saliency_maps(
                toys.mlp, variables, images, methods=["positive"], normalize=False, **settings
            ),
            statistics.jacobian_statistics(
                toys.mlp, variables, images, mesh=mesh, estimator=estimator, class_chunk=2
            ),
        )

    one, sharded, maps, found = everything(estimator, variables, images)
    for extrema in (one, sharded):
        toys.assert_close(extrema.logits, toys.mlp(variables, images))
        toys.assert_close(extrema.gradient, jacobian[:, 2], 2e-6)
        toys.assert_close(extrema.highest, others.max(1), 2e-6)
        toys.assert_close(extrema.lowest, others.min(1), 2e-6)
    toys.assert_close(maps.maps["positive"], np.maximum(jacobian[:, 2], 0).max(-1), 2e-6)
    rows = jacobian.reshape(8, 5, -1)
    toys.assert_close(found["norm"], np.linalg.norm(rows, axis=2))
    toys.assert_close(found["gram"], rows @ rows.transpose(0, 2, 1))


def test_integrated_gradients_are_the_oracles_also_differentiated(model):
    variables, images = model[0], model[1][:2]

    def penalty(jacobian):
        return lambda variables: (jacobian(variables) ** 2).sum()

    def found(variables):
        path = signsal_jax.integrated_gradients(0.25, steps=3)
        return signsal_jax.signed_jacobian(toys.mlp, variables, images, estimator=path)[1]

    def expected(variables):
        return path_oracle(variables, images, 0.25, 3)

    toys.assert_close(jax.jit(found)(variables), expected(variables))
    jax.tree.map(
        toys.assert_close,
        jax.jit(jax.grad(penalty(found)))(variables),
        jax.jit(jax.grad(penalty(expected)))(variables),
    )


def test_vmap_over_keys(model):
    """Noise of each image's own."""
    variables, images = model[0], model[1][:2]
    keys = jax.random.split(KEY, 2)

    def one(key, image):
        smooth = signsal_jax.smooth_grad(key, samples=2, noise=0.5)
        return signsal_jax.signed_jacobian(toys.mlp, variables, image[None], estimator=smooth)[1]

    together = jax.jit(jax.vmap(one))(keys, images)
    for index in range(2):
        toys.assert_close(together[index], jax.jit(one)(keys[index], images[index]))
    assert not np.allclose(together[0], jax.jit(one)(keys[1], images[0]))


@pytest.mark.parametrize("make", [
    lambda count: signsal_jax.smooth_grad(KEY, samples=count),
    lambda count: signsal_jax.integrated_gradients(steps=count),
], ids=ESTIMATORS)  # fmt: skip
def test_memory_depends_neither_on_classes_nor_on_places(make):
    def temporary_bytes(num_classes, count):
        variables = toys.mlp_variables(0, num_classes, 48 * 48 * 3)
        images = toys.random_images(1, (4, 48, 48, 3))
        step = jax.jit(
            lambda estimator, v, x: signsal_jax.class_extrema(
                toys.mlp, v, x, class_chunk=10, estimator=estimator, through="scores"
            )
        )
        lowered = step.lower(make(count), variables, images)
        return lowered.compile().memory_analysis().temp_size_in_bytes

    few = temporary_bytes(50, 4)
    assert temporary_bytes(500, 4) < 1.05 * few
    # The noise itself is kept, one image for each sample and no more.
    assert temporary_bytes(50, 40) < 1.05 * few + 2 * 36 * 48 * 48 * 3 * 4


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Squared:
    """Not linear: the squared gradient."""

    name = "squared"
    linear = False

    def __call__(self, apply_fn, variables, images, /, **settings):
        logits, pullback = signsal_jax.plain()(apply_fn, variables, images, **settings)
        return logits, lambda cotangent: pullback(cotangent) ** 2


def test_an_estimator_that_is_not_linear(model):
    variables, images = model
    found = jacobian_of(toys.mlp, variables, images, Squared())
    toys.assert_close(found, toys.oracle_jacobian(toys.mlp, variables, images) ** 2)
    mesh = sharding.make_mesh(jax.devices()[:1])
    options = {"mesh": mesh, "estimator": Squared()}
    norm = statistics.jacobian_statistics(
        toys.mlp, variables, images, statistics=["norm", "sign_agreement"], **options
    )["norm"]
    toys.assert_close(norm, np.linalg.norm(np.asarray(found).reshape(8, 5, -1), axis=2))
    message = "estimator: expected one that is linear .* which gram needs.* squared"
    with pytest.raises(ValueError, match=message):
        statistics.jacobian_statistics(toys.mlp, variables, images, **options)
    config = StudyConfig("none", store=("gram",))
    with pytest.raises(ValueError, match=message):
        study_step(toys.mlp, variables, images, jnp.zeros(8, int), config=config, **options)


def test_the_study_step_takes_an_estimator(model):
    variables, images = model
    mesh = sharding.make_mesh(jax.devices()[:8], class_devices=2)
    config = StudyConfig("none", store=("maps",), methods=("vanilla", "active"), storage="float32")
    labels = jnp.zeros(8, jnp.int32)

    @jax.jit
    def step(estimator, variables, images):
        return study_step(
            toys.mlp, variables, images, labels, config=config, mesh=mesh, estimator=estimator
        )

    path = ESTIMATORS["path"]
    found = step(path, variables, images)
    expected = signsal_jax.saliency_maps(toys.mlp, variables, images, estimator=path)
    for method in config.methods:
        toys.assert_close(found[f"map_{method}"], expected.maps[method])


@each_estimator
def test_a_description_is_json_and_tells_estimators_apart(estimator):
    described = gradients.describe(estimator)
    assert json.loads(json.dumps(described)) == described
    assert described["name"] in ("smooth_grad", "integrated_gradients")
    others = [
        signsal_jax.smooth_grad(KEY, samples=4, noise=0.3),
        signsal_jax.smooth_grad(jax.random.key(4), samples=3, noise=0.3),
        signsal_jax.integrated_gradients(np.full((8, 8, 1), 0.25), steps=3),
        signsal_jax.integrated_gradients(np.full((8, 8, 1), 0.26), steps=3),
    ]
    assert len({json.dumps(gradients.describe(other)) for other in [estimator, *others]}) == 5


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: signsal_jax.smooth_grad(0), TypeError, "key: expected one key from jax.random"),
        (lambda: signsal_jax.smooth_grad(jax.random.split(KEY)), TypeError, r"key: .* \(2,\)"),
        (lambda: signsal_jax.smooth_grad(KEY, samples=0), ValueError, "samples: .* got 0"),
        (lambda: signsal_jax.smooth_grad(KEY, samples=2.0), TypeError, "integer"),
        (lambda: signsal_jax.smooth_grad(KEY, noise=-0.1), ValueError, "noise: .* got -0.1"),
        (lambda: signsal_jax.smooth_grad(KEY, noise=np.nan), ValueError, "noise: .* got nan"),
        (lambda: signsal_jax.integrated_gradients(steps=0), ValueError, "steps: .* got 0"),
        (lambda: signsal_jax.integrated_gradients("gray"), TypeError, "baseline: .* got <U4"),
        (
            lambda: signsal_jax.integrated_gradients(np.zeros((4, 4))),
            ValueError,
            r"baseline: .* got shape \(4, 4\)",
        ),
    ],
)
@pytest.mark.usefixtures("no_typecheck")
def test_bad_settings_are_refused_at_once(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.usefixtures("no_typecheck")
def test_a_baseline_that_does_not_fit_the_images(model):
    path = signsal_jax.integrated_gradients(np.zeros((4, 3, 2)))
    with pytest.raises(ValueError, match=r"baseline: .* images \(8, 3, 4, 2\), got shape \(4, 3,"):
        signsal_jax.signed_jacobian(toys.mlp, *model, estimator=path)


@pytest.mark.usefixtures("no_typecheck")
@pytest.mark.parametrize("wrong", [signsal_jax.plain, None, "plain", Squared])
def test_what_is_not_an_estimator_is_refused(model, wrong):
    with pytest.raises(TypeError, match="estimator: expected a callable with the attributes name"):
        signsal_jax.saliency_maps(toys.mlp, *model, estimator=wrong)


def test_an_attribution_of_another_shape_is_refused(model):
    class Summed(Squared):
        def __call__(self, *args, **settings):
            logits, pullback = signsal_jax.plain()(*args, **settings)
            return logits, lambda cotangent: pullback(cotangent).sum(-1)

    with pytest.raises(ValueError, match=r"expected squared to give .* got \(8, 3, 4\)"):
        signsal_jax.signed_jacobian(toys.mlp, *model, estimator=Summed())
