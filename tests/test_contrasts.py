"""Contrasts between classes against the whole Jacobian, and the facts that the module states."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import stats

import signsal_jax
from signsal_jax import contrasts, gradients, sharding
from tests import toys

SHAPE = (4, 3, 2)
CLASSES = 4


@pytest.fixture(scope="module")
def network():
    return toys.mlp_variables(1, CLASSES, int(np.prod(SHAPE))), toys.random_images(2, (3, *SHAPE))


def oracle(variables, images):
    """The logits and the Jacobian `[b, k, h, w, c]` by the definition."""
    one = jax.jacrev(lambda image: toys.mlp(variables, image[None])[0])
    return toys.mlp(variables, images), jax.vmap(one)(images)


def weights_by_hand(logits, target, against):
    weights = np.zeros(logits.shape)
    for row, (scores, own) in enumerate(zip(np.asarray(logits, np.float64), target, strict=True)):
        others = [s for s in range(CLASSES) if s != own]
        if against == "max":
            weights[row, max(others, key=lambda s: scores[s])] = 1
        elif against == "mean":
            weights[row, others] = 1 / (CLASSES - 1)
        else:
            weights[row, others] = np.exp(scores[others]) / np.exp(scores[others]).sum()
    return weights


@pytest.mark.parametrize("against", contrasts.CONTRASTS)
@pytest.mark.parametrize("strength", [1.0, 0.5])
def test_a_contrast_is_that_of_the_whole_jacobian(network, against, strength):
    logits, jacobian = oracle(*network)
    target = [2, 0, 3]
    weights = weights_by_hand(logits, target, against)
    rivals = np.einsum("bk,bkhwc->bhwc", weights, jacobian)
    expected = np.asarray(jacobian)[np.arange(3), target] - strength * rivals
    found = jax.jit(
        lambda v, x: signsal_jax.class_contrast(
            toys.mlp, v, x, target=np.asarray(target), against=against, strength=strength
        )
    )(*network)
    np.testing.assert_allclose(found.gradient, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.logits, logits, rtol=1e-6)


def test_log_softmax_is_the_weighted_contrast_times_one_minus_p(network, x64):
    variables, images = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), network)

    def log_p(image, own):
        return jax.nn.log_softmax(toys.mlp(variables, image[None])[0])[own]

    contrast = signsal_jax.class_contrast(toys.mlp, variables, images)
    p = jax.nn.softmax(contrast.logits)[jnp.arange(3), contrast.target]
    expected = jax.vmap(jax.grad(log_p))(images, contrast.target)
    found = (1 - p).reshape(-1, 1, 1, 1) * contrast.gradient
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_where_softmax_underflows_the_contrast_does_not():
    """Logits 200 apart: in float32 p_t is 1, and the gradients of p_t and log p_t are zero."""
    rng = np.random.default_rng(0)
    variables = (
        jnp.asarray(rng.standard_normal((3, 2, 2, 1)), jnp.float32),
        jnp.array([200.0, 0, 0]),
    )
    images = jnp.full((1, 2, 2, 1), 0.5)
    explain = {
        output: signsal_jax.saliency_maps(
            toys.linear, variables, images, methods=["vanilla"], output=output, normalize=False
        ).maps["vanilla"]
        for output in ("softmax", "log_softmax")
    }
    assert not explain["softmax"].any()
    assert not explain["log_softmax"].any()
    assert signsal_jax.class_contrast(toys.linear, variables, images).gradient.all()


def test_a_function_added_to_all_logits_changes_vanilla_and_no_contrast(network):
    variables, images = network

    def with_addition(variables, images):
        added = 10 * jnp.sin(20 * images).sum((1, 2, 3))
        return toys.mlp(variables, images) + added[:, None]

    for against in contrasts.CONTRASTS:
        plain, changed = (
            signsal_jax.class_contrast(fn, variables, images, against=against).gradient
            for fn in (toys.mlp, with_addition)
        )
        np.testing.assert_allclose(changed, plain, atol=1e-4)
    before, after = (
        signsal_jax.saliency_maps(fn, variables, images, methods=["vanilla"], normalize=False)
        for fn in (toys.mlp, with_addition)
    )
    assert (after.maps["vanilla"] > 10 * before.maps["vanilla"]).mean() > 0.9


def test_active_and_inactive_are_where_every_contrast_agrees(network):
    variables, images = network
    extrema = signsal_jax.class_extrema(toys.mlp, variables, images)
    margins = (extrema.gradient - extrema.highest, extrema.lowest - extrema.gradient)
    for against in contrasts.CONTRASTS:
        contrast = signsal_jax.class_contrast(toys.mlp, variables, images, against=against).gradient
        # Beyond rounding, which the exact cases of test_properties do without.
        active, inactive = (margin > 1e-5 for margin in margins)
        assert active.any()
        assert inactive.any()
        assert (contrast[active] > 0).all()
        assert (contrast[inactive] < 0).all()


def test_weights_carry_no_derivative(network):
    _, images = network

    def size(images):
        return jnp.square(signsal_jax.class_contrast(toys.linear, linear, images).gradient).sum()

    linear = (
        jnp.asarray(np.random.default_rng(3).standard_normal((4, *SHAPE)), jnp.float32),
        jnp.zeros(4),
    )
    # The gradient of a linear network is constant, and so is its contrast with constant weights.
    assert not jax.grad(size)(images).any()


def test_maps_of_a_contrast_are_those_of_its_signs(network):
    contrast = signsal_jax.class_contrast(toys.mlp, *network)
    saliency = signsal_jax.maps_from_extrema(
        contrast, methods=["positive", "negative"], normalize=False
    )
    np.testing.assert_array_equal(
        saliency.maps["negative"], np.maximum(-np.asarray(contrast.gradient), 0).max(-1)
    )
    assert saliency.valid.all()


def test_smooth_contrast_is_the_contrast_of_smooth_gradients(network):
    smooth = signsal_jax.smooth_grad(jax.random.key(0), samples=3, noise=0.2)
    _, rows = signsal_jax.signed_jacobian(toys.mlp, *network, estimator=smooth)
    found = signsal_jax.class_contrast(
        toys.mlp, *network, target=1, against="mean", estimator=smooth
    )
    others = [0, 2, 3]
    np.testing.assert_allclose(
        found.gradient, rows[:, 1] - rows[:, others].mean(1), rtol=1e-4, atol=1e-6
    )


def test_wrong_arguments(network):
    with pytest.raises(ValueError, match="against: expected one of weighted, mean, max; got 'all'"):
        signsal_jax.class_contrast(toys.mlp, *network, against="all")

    class Squared:
        name, linear = "squared", False

        def __call__(self, apply_fn, variables, images, /, *, output, precision):
            raise AssertionError("not reached")

    with pytest.raises(ValueError, match="which class_contrast needs, got squared"):
        signsal_jax.class_contrast(toys.mlp, *network, estimator=Squared())


def test_contrasts_and_margins_are_methods_of_saliency_maps(network):
    variables, images = network
    logits, jacobian = (np.asarray(x) for x in oracle(*network))
    target = [2, 0, 3]
    own = jacobian[np.arange(3), target]
    others = np.stack([np.delete(rows, t, 0) for rows, t in zip(jacobian, target, strict=True)])
    expected = {
        "active_margin": np.maximum(own - others.max(1), 0),
        "inactive_margin": np.minimum(own - others.min(1), 0),
    }
    for against in contrasts.CONTRASTS:
        weights = weights_by_hand(logits, target, against)
        contrast = own - np.einsum("bk,bkhwc->bhwc", weights, jacobian)
        expected[f"{against}_contrast"] = contrast
        expected[f"{against}_contrast_positive"] = np.maximum(contrast, 0)
        expected[f"{against}_contrast_negative"] = np.minimum(contrast, 0)
    methods = tuple(expected)
    assert {*methods} | {*signsal_jax.METHODS} == {*signsal_jax.ALL_METHODS}

    @jax.jit
    def explain(variables, images):
        return signsal_jax.saliency_maps(
            toys.mlp,
            variables,
            images,
            methods=methods,
            target=np.asarray(target),
            channel="none",
            normalize=False,
            class_chunk=1,
        )

    found = explain(variables, images)
    for method in methods:
        toys.assert_close(found.maps[method], expected[method])
    extrema = signsal_jax.class_extrema(toys.mlp, *network, target=np.asarray(target))
    for method in ("active", "inactive"):
        margin, rival = signsal_jax.runner_up(method, extrema)
        np.testing.assert_allclose(found.margin[f"{method}_margin"], margin, atol=1e-6)
        np.testing.assert_array_equal(found.runner_up[f"{method}_margin"], rival)


@pytest.mark.parametrize("class_devices", [None, 1, 2])
def test_hosted_contrasts_are_those_of_class_extrema(class_devices):
    pixels = int(np.prod(SHAPE))
    network = toys.mlp_variables(1, CLASSES, pixels), toys.random_images(2, (4, *SHAPE))
    mesh = class_devices and sharding.make_mesh(jax.devices()[:4], class_devices=class_devices)
    settings = {"contrasts": ("mean", "max"), "target": 1}
    hosted = gradients.HostedExtrema(toys.mlp, class_chunk=2, mesh=mesh, **settings)
    found = hosted(*network, lambda done: None).contrasts
    expected = signsal_jax.class_extrema(toys.mlp, *network, **settings).contrasts
    assert {*found} == {"mean", "max"}
    for against in found:
        toys.assert_close(found[against], expected[against])


def bilinear(jacobians, images):
    """Every image has a Jacobian of its own, `[b, k, h, w, c]`."""
    return jnp.einsum("bhwc,bkhwc->bk", images, jacobians)


def many_cases(seed, number=10_000):
    """Jacobians of small integers, so that ties and zeros are frequent and all sums exact."""
    rng = np.random.default_rng(seed)
    jacobians = rng.integers(-3, 4, (number, CLASSES, 1, 4, 1)).astype(float)
    images = rng.random((number, 1, 4, 1))
    return rng, jacobians, images, rng.integers(CLASSES, size=number)


def test_active_is_where_all_convex_weights_agree_in_ten_thousand_cases(x64):
    rng, jacobians, images, target = many_cases(0)
    saliency = jax.jit(
        lambda v, x, t: signsal_jax.saliency_maps(
            bilinear, v, x, target=t, methods=["active", "inactive"]
        )
    )(jacobians, images, target)
    own = np.take_along_axis(jacobians, target[:, None, None, None, None], 1)[:, 0]
    others = np.stack([np.delete(rows, t, 0) for rows, t in zip(jacobians, target, strict=True)])
    # Exact in binary; every other case puts all weight on one class.
    convex = rng.multinomial(16, rng.dirichlet(np.ones(CLASSES - 1), len(images))) / 16
    convex[::2] = np.eye(CLASSES - 1)[rng.integers(CLASSES - 1, size=len(convex[::2]))]
    contrast = own - np.einsum("bk,bkhwc->bhwc", convex, others)
    active, inactive = (
        np.asarray(saliency.margin[name])[..., None] > 0 for name in ("active", "inactive")
    )
    assert active.mean() > 0.05
    assert inactive.mean() > 0.05
    assert (contrast[active] > 0).all()
    assert (contrast[inactive] < 0).all()


def test_log_softmax_and_weighted_contrast_have_the_same_signs_in_ten_thousand_cases(x64):
    _, jacobians, images, target = many_cases(1)

    @jax.jit
    def both(variables, images, target):
        contrast = signsal_jax.class_contrast(bilinear, variables, images, target=target)
        saliency = signsal_jax.saliency_maps(
            bilinear,
            variables,
            images,
            target=target,
            methods=["vanilla"],
            output="log_softmax",
            channel="none",
            normalize=False,
        )
        return contrast.gradient, saliency.maps["vanilla"], contrast.logits

    contrast, gradient, logits = (np.asarray(x) for x in both(jacobians, images, target))
    p = np.asarray(jax.nn.softmax(logits))[np.arange(len(target)), target]
    np.testing.assert_allclose(gradient, (1 - p)[:, None, None, None] * contrast, atol=1e-14)
    # Where the contrast is zero, both are nothing but rounding.
    certain = np.abs(contrast) > 1e-12
    assert certain.mean() > 0.9
    np.testing.assert_array_equal(np.sign(gradient[certain]), np.sign(contrast[certain]))


SIDE = 12


def squares(key, count):
    """Noise with a square of which the color is the class: images, labels, the square's pixels."""
    keys = jax.random.split(key, 3)
    label = jax.random.randint(keys[0], (count,), 0, 3)
    corner = jax.random.randint(keys[1], (count, 2), 0, SIDE - 4)
    offset = jnp.arange(SIDE)[None, :, None] - corner[:, None, :]
    inside = (offset >= 0) & (offset < 4)
    square = inside[:, :, None, 0] & inside[:, None, :, 1]
    noise = 0.5 + 0.1 * jax.random.normal(keys[2], (count, SIDE, SIDE, 3))
    color = jax.nn.one_hot(label, 3)[:, None, None, :]
    return noise + 0.5 * square[..., None] * color, label, square


def convolutions(variables, images, activation):
    """Two convolutions: the features of the network, and those of the added function."""
    x = activation(10 * toys._conv(images - 0.5, variables["stem"], 1) - 2)
    return activation(toys._conv(x, variables["conv"], 2)).mean((1, 2)) @ variables["head"]


def scores(variables, images):
    return convolutions(variables, images, jax.nn.softplus)


def with_addition(both, images):
    """The same number is added to all scores of an image."""
    variables, added = both
    return scores(variables, images) + 1000 * convolutions(added, images, jnp.tanh)


def trained(loss, variables, key, steps):
    """The variables after that many steps of Adam."""
    optimizer = optax.adam(1e-2)

    @jax.jit
    def run(variables, key):
        def step(carry, key):
            variables, state = carry
            updates, state = optimizer.update(jax.grad(loss)(variables, *squares(key, 16)), state)
            return (optax.apply_updates(variables, updates), state), None

        start = (variables, optimizer.init(variables))
        return jax.lax.scan(step, start, jax.random.split(key, steps))[0][0]

    return run(variables, key)


def vanilla(apply_fn, variables, images, label):
    def target(images):
        return jnp.take_along_axis(apply_fn(variables, images), label[:, None], 1).sum()

    return jnp.abs(jax.grad(target)(images)).max(-1)


def share_inside(vanilla, square):
    return (vanilla * square).sum((1, 2)) / vanilla.sum((1, 2))


def cross_entropy(variables, images, label, square):
    found = scores(variables, images)
    return optax.softmax_cross_entropy_with_integer_labels(found, label).mean()


def seen(network, added, images, label, square):
    """How much vanilla with the addition resembles the one without, and shows of the square."""
    old = vanilla(scores, network, images, label)
    new = vanilla(with_addition, (network, added), images, label)
    logs = [jnp.log(found.reshape(len(found), -1) + 1e-4) for found in (old, new)]
    logs = [found - found.mean(1, keepdims=True) for found in logs]
    old_norm, new_norm = (jnp.sqrt((found**2).sum(1) + 1e-9) for found in logs)
    correlation = (logs[0] * logs[1]).sum(1) / (old_norm * new_norm)
    return 10 * (correlation**2).mean() + 3 * share_inside(new, square).mean()


def test_a_trained_addition_hides_the_object_from_vanilla_and_not_from_active():
    """Theorem (c): predictions and active stay as they are, pixel for pixel, on unseen images."""
    network = trained(cross_entropy, toys.cnn_variables(0, 3, 3), jax.random.key(0), 150)
    loss = functools.partial(seen, network)
    added = trained(loss, toys.cnn_variables(1, 1, 3), jax.random.key(1), 300)
    images, label, square = squares(jax.random.key(9), 64)

    with jax.enable_x64(True):
        network, added, images = jax.tree.map(
            lambda leaf: jnp.asarray(np.asarray(leaf, np.float64)), (network, added, images)
        )
        methods = ["vanilla", "active", "inactive", "weighted_contrast"]
        explain = functools.partial(
            signsal_jax.saliency_maps, methods=methods, channel="none", normalize=False
        )
        old = explain(scores, network, images)
        new = explain(with_addition, (network, added), images)
        for found in (old, new):
            np.testing.assert_array_equal(found.target, label)
        maps = [np.abs(found.maps["vanilla"]).max(-1) for found in (old, new)]
        ranks = [
            stats.spearmanr(before.ravel(), after.ravel()).statistic
            for before, after in zip(*maps, strict=True)
        ]
        assert np.abs(ranks).mean() < 0.1
        before, after = (share_inside(found, np.asarray(square)).mean() for found in maps)
        assert after < square.mean() / 3 < square.mean() < before

        for method in ("active", "inactive"):
            before, after = (np.asarray(found.margin[method]) for found in (old, new))
            np.testing.assert_array_equal(before > 0, after > 0)
            np.testing.assert_allclose(after, before, atol=1e-10)
        contrasts = [found.maps["weighted_contrast"] for found in (old, new)]
        np.testing.assert_allclose(*contrasts, atol=1e-10)


def test_wrong_combinations(network):
    variance = signsal_jax.var_grad(jax.random.key(0), samples=2)
    with pytest.raises(ValueError, match="linear in the class scores, which a contrast needs"):
        signsal_jax.class_extrema(toys.mlp, *network, contrasts=["mean"], estimator=variance)
    with pytest.raises(ValueError, match=r"output: expected logits, .* got 'softmax'"):
        signsal_jax.saliency_maps(toys.mlp, *network, methods=["mean_contrast"], output="softmax")
    with pytest.raises(ValueError, match="contrasts: expected one of weighted, mean, max; got 'a'"):
        signsal_jax.class_extrema(toys.mlp, *network, contrasts=["a"])
    extrema = signsal_jax.class_extrema(toys.mlp, *network, contrasts=["mean"])
    with pytest.raises(ValueError, match=r"'max' for max_contrast, got mean: class_extrema\("):
        signsal_jax.maps_from_extrema(extrema, methods=["max_contrast"])
