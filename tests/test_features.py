"""Class extrema through the features are those through the scores."""

import functools
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import signsal_jax
from signsal_jax import gradients, models, sharding
from signsal_jax.gradients import _through, sharded_extrema
from signsal_jax.models.cifar_resnet import CifarResNet
from tests import toys

CLASSES = 100
IMAGES = toys.random_images(1, (2, 12, 11, 3))


def encoder(variables, images):
    """The toy network up to its features, 12 of them."""
    x = toys.cnn(variables | {"head": jnp.eye(12)}, images)
    return x.astype(images.dtype)


def two_layers(variables, images):
    hidden = jnp.tanh(encoder(variables, images) @ variables["middle"])
    return jax.nn.log_softmax(hidden @ variables["top"])


def zero_shot(variables, images):
    features = encoder(variables, images)
    features = features / jnp.linalg.norm(features, axis=-1, keepdims=True)
    prompts = variables["head"] / jnp.linalg.norm(variables["head"], axis=0, keepdims=True)
    return 100 * features @ prompts


def shortcut(variables, images):
    x = jax.nn.relu(toys._conv(images, variables["stem"], 2))
    x = x + jax.nn.relu(toys._conv(x, variables["conv"], 1))
    return x.mean((1, 2)) @ variables["head"]


def toy_variables():
    rng = np.random.default_rng(5)
    return toys.cnn_variables(0, CLASSES, 3, width=12) | {
        "middle": jnp.asarray(rng.normal(size=(12, 7)), jnp.float32),
        "top": jnp.asarray(rng.normal(size=(7, CLASSES)), jnp.float32),
    }


def cifar_resnet():
    rngs = nnx.Rngs(params=jax.random.key(3))
    return models.from_nnx(CifarResNet(CLASSES, depth=8, rngs=rngs))


NETWORKS = {
    "linear head": lambda: (toys.cnn, toy_variables()),
    "two layers and log-softmax": lambda: (two_layers, toy_variables()),
    "zero-shot": lambda: (zero_shot, toy_variables()),
    "shortcut": lambda: (shortcut, toy_variables()),
    "residual network": cifar_resnet,
}
AFFINE = ("linear head", "shortcut", "residual network")
WIDTHS = {"two layers and log-softmax": 7, "residual network": 64}


@functools.partial(
    jax.jit, static_argnums=(0, 1), static_argnames=("output", "contrasts", "rivals")
)
def extrema(apply_fn, through, variables, images, **settings):
    return signsal_jax.class_extrema(apply_fn, variables, images, through=through, **settings)


def as_double(tree):
    def cast(leaf):
        return leaf.astype(jnp.float64) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf

    return jax.tree.map(cast, tree)


def assert_same(apply_fn, variables, images, **settings):
    """In double precision to 1e-10; in single precision the same classes and masks."""
    with jax.enable_x64(True):
        given = as_double((variables, images))
        exact, found = (
            extrema(apply_fn, through, *given, **settings) for through in ("scores", "features")
        )
        for name in ("logits", "gradient", "highest", "lowest"):
            toys.assert_close(getattr(found, name), getattr(exact, name), 1e-10)
        for name in ("target", "highest_class", "lowest_class"):
            np.testing.assert_array_equal(getattr(found, name), getattr(exact, name))
    by_scores, found = (
        extrema(apply_fn, through, variables, images, **settings)
        for through in ("scores", "features")
    )
    rounding = 1e-5 * float(np.abs(np.asarray(exact.gradient)).max())
    for name in ("highest", "lowest"):
        same = np.asarray(getattr(found, name + "_class") == getattr(by_scores, name + "_class"))
        assert same.mean() >= 0.9999
        gap = np.abs(np.asarray(getattr(found, name) - getattr(by_scores, name)))
        assert (gap < rounding).all()
    for sign, name in ((1, "highest"), (-1, "lowest")):
        margins = [sign * (one.gradient - getattr(one, name)) for one in (by_scores, found)]
        differ = (margins[0] > 0) != (margins[1] > 0)
        assert (np.abs(np.asarray(margins[0]))[np.asarray(differ)] < rounding).all()
    return found


@pytest.mark.parametrize("name", NETWORKS)
def test_features_give_what_scores_give(name):
    if name == "residual network" and not os.environ.get("SIGNSAL_SLOW_TESTS"):
        pytest.skip("takes a minute: set SIGNSAL_SLOW_TESTS=1")
    apply_fn, variables = NETWORKS[name]()
    cut = gradients.narrowest_cut(apply_fn, variables, IMAGES)
    assert (cut.width, cut.classes) == (WIDTHS.get(name, 12), CLASSES)
    assert cut.affine == (name in AFFINE)
    assert_same(apply_fn, variables, IMAGES)


@pytest.mark.parametrize(
    "estimator",
    [
        signsal_jax.smooth_grad(jax.random.key(0), samples=3),
        signsal_jax.mean_of(
            signsal_jax.integrated_gradients(0.0, 2), signsal_jax.gradient_x_input(0.5)
        ),
    ],
)
def test_estimators_that_are_linear(estimator):
    assert_same(toys.cnn, toy_variables(), IMAGES, estimator=estimator)


def test_a_normalization_before_the_head_belongs_to_the_body_of_an_average():
    """Equally narrow before and after it, but only after it is the rest of the network affine."""

    def normalized(variables, images):
        features = encoder(variables, images)
        return (features / (1 + jnp.abs(features))) @ variables["head"]

    variables = toy_variables()
    near, far = (
        gradients.narrowest_cut(normalized, variables, IMAGES, near_images=near)
        for near in (True, False)
    )
    assert (near.width, near.affine, far.width, far.affine) == (12, False, 12, True)
    smooth = signsal_jax.smooth_grad(jax.random.key(0), samples=2)
    assert gradients.resolve_through(
        "features", normalized, variables, IMAGES, estimator=smooth
    ) == ("features")


def test_targets_rivals_and_contrasts():
    variables = toy_variables()

    @functools.partial(jax.jit, static_argnums=0)
    def everything(through, variables):
        find = functools.partial(
            signsal_jax.class_extrema, toys.cnn, variables, IMAGES, through=through
        )
        return (
            find(target=[3, 97], contrasts=("weighted", "max")),
            find(target=5, rivals=30, output="log_softmax"),
            find(rivals=[7, 3, 99]),
        )

    one, other = everything("scores", variables), everything("features", variables)
    jax.tree.map(functools.partial(toys.assert_close, tolerance=2e-5), other, one)


@pytest.mark.parametrize("class_devices", [2, 8])
def test_features_split_over_devices(class_devices):
    """Also where neither features (12) nor pixels (396) are a multiple of the devices."""
    images = np.concatenate([IMAGES, 1 - IMAGES])
    variables = toy_variables()
    expected = extrema(toys.cnn, "scores", variables, jnp.asarray(images))
    mesh = sharding.make_mesh(jax.devices()[:8], class_devices=class_devices)

    @jax.jit
    def run(variables, images):
        return sharded_extrema(toys.cnn, variables, images, mesh=mesh, through="features")

    given = sharding.replicate(mesh, variables), sharding.place(mesh, images)
    found = run(*given)
    for name in ("logits", "gradient", "highest", "lowest"):
        toys.assert_close(getattr(found, name), getattr(expected, name))
    for name in ("target", "highest_class", "lowest_class"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    text = run.lower(*given).as_text()
    assert text.count("all_to_all") == 1
    assert "all_gather" not in text


def test_equal_classes_have_bit_equal_gradients():
    """So that they tie, and the lowest index wins, as through the scores."""
    variables = toy_variables()
    variables["head"] = jnp.tile(variables["head"][:, :1], (1, CLASSES))
    found = extrema(toys.cnn, "features", variables, IMAGES, target=2)
    assert found.gradient.any()
    np.testing.assert_array_equal(found.highest, found.gradient)
    np.testing.assert_array_equal(found.lowest, found.gradient)
    assert not found.highest_class.any()


def test_images_that_do_not_fit_together_are_computed_in_groups(monkeypatch):
    images = jnp.concatenate([IMAGES, 1 - IMAGES, IMAGES / 2])
    given = toys.cnn, toy_variables(), images
    whole = extrema(toys.cnn, "scores", *given[1:], target=np.arange(6))
    cut = gradients.narrowest_cut(*given)
    two_images = 2 * _through.feature_bytes(cut, images)
    monkeypatch.setattr(_through, "FEATURE_BYTES", two_images)
    assert _through.group_size(cut, images, signsal_jax.plain()) == 2
    found = signsal_jax.class_extrema(*given, target=np.arange(6), through="features")
    jax.tree.map(functools.partial(toys.assert_close, tolerance=2e-5), found, whole)
    # A baseline for each image cannot be divided.
    baselines = signsal_jax.integrated_gradients(images, 2)
    assert _through.group_size(cut, images, baselines) == 6


def test_auto_counts_cost_and_memory(monkeypatch):
    variables = toy_variables()
    resolve = functools.partial(gradients.resolve_through, "auto", toys.cnn)
    assert resolve(variables, IMAGES) == "features"
    assert resolve(variables, IMAGES, rivals=5) == "scores"
    assert resolve(variables, IMAGES, estimator=signsal_jax.occlusion(4)) == "scores"
    few = variables | {"head": variables["head"][:, :20]}
    assert resolve(few, IMAGES) == "scores"
    # For a single matrix the product costs as much as the pullbacks.
    mlp = toys.mlp_variables(0, CLASSES, 396, width=40)
    assert gradients.resolve_through("auto", toys.mlp, mlp, IMAGES) == "scores"
    monkeypatch.setattr(_through, "FEATURE_BYTES", 1000)
    assert resolve(variables, IMAGES) == "scores"


def test_what_has_no_features_is_named():
    variables = toy_variables()
    resolve = functools.partial(gradients.resolve_through, "features")
    few = variables | {"head": variables["head"][:, :5]}
    with pytest.raises(ValueError, match="features that are fewer than the scores, got 5 numbers"):
        resolve(toys.cnn, few, IMAGES)
    smooth = signsal_jax.smooth_grad(jax.random.key(0), samples=2)
    with pytest.raises(ValueError, match="affine function of the features, which smooth_grad"):
        resolve(two_layers, variables, IMAGES, estimator=smooth)
    with pytest.raises(ValueError, match='linear in the class scores, which through="features"'):
        resolve(toys.cnn, variables, IMAGES, estimator=signsal_jax.guided_backprop())
    with pytest.raises(ValueError, match="through: expected one of auto, scores, features"):
        signsal_jax.saliency_maps(toys.cnn, variables, IMAGES, through="logits")


def by_number_of_images(variables, images):
    for _ in range(len(images)):
        images = images + 0.1
    return toys.cnn(variables, images)


def images_last(variables, images):
    """Features with the images as their last axis, the scores with them as the first."""
    return (encoder(variables, images).T + 1).T @ variables["head"]


def with_its_own_vjp(variables, images):
    @jax.custom_vjp
    def head(features):
        return features @ variables["head"]

    head.defvjp(lambda x: (head(x), None), lambda _, ct: (ct @ variables["head"].T,))
    return head(encoder(variables, images))


def test_programs_that_cannot_be_cut_or_only_elsewhere():
    variables = toy_variables()
    assert gradients.narrowest_cut(by_number_of_images, variables, IMAGES) is None
    assert gradients.narrowest_cut(with_its_own_vjp, variables, IMAGES) is None
    assert gradients.narrowest_cut(images_last, variables, IMAGES).width == 12
    jitted = jax.jit(jax.jit(toys.cnn))
    assert gradients.narrowest_cut(jitted, variables, IMAGES).width == 12


def test_one_forward_pass():
    apply_fn, counts = toys.counted(toys.cnn)
    step = jax.jit(functools.partial(signsal_jax.class_extrema, apply_fn, through="features"))
    for _ in range(2):
        jax.block_until_ready(step(toy_variables(), IMAGES))
        jax.effects_barrier()
    assert counts[1] == 2


def test_never_the_gradients_of_all_classes():
    variables = toy_variables()
    images = toys.random_images(2, (1, 32, 32, 3))
    variables["head"] = jnp.ones((12, 5000))
    program = extrema.lower(toys.cnn, "features", variables, images).compile()
    needed = program.memory_analysis().temp_size_in_bytes
    assert needed < 5000 * images.nbytes / 5


def test_composes_with_vmap_and_grad():
    variables = toy_variables()

    def total(scale, through):
        found = signsal_jax.class_extrema(toys.cnn, variables, IMAGES * scale, through=through)
        return (found.highest * found.gradient).sum()

    slope = jax.jit(jax.grad(total), static_argnums=1)
    slopes = [slope(1.0, through) for through in ("scores", "features")]
    np.testing.assert_allclose(slopes[1], slopes[0], rtol=1e-4)
    one = functools.partial(extrema, toys.cnn, "features", variables)
    mapped = jax.vmap(lambda image: one(image[None]))(IMAGES)
    toys.assert_close(mapped.highest[:, 0], one(IMAGES).highest)
