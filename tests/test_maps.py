"""The five maps, margins and runner-ups worked out by hand; reductions, scaling and ties."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import signsal_jax
from tests import toys

# Gradients of three classes at four pixels (one row) with two channels; class 0 is explained.
WEIGHTS = np.asarray(
    [
        [(2, -1), (-3, 0.5), (1, 1), (-1, 0)],
        [(1, 0), (-2, 2), (1, -2), (-4, 1)],
        [(0, -3), (-1, 1), (0, 3), (-2, 2)],
    ],
    np.float32,
)[:, None]
# By hand, before scaling. Active: 2 > 1, 0 at the first pixel; nothing at the second; at the
# third 1 ties with class 1; at the fourth -1 > -4, -2, kept although negative. Inactive: at the
# second pixel -3 < -2, -1 and 0.5 < 2, 1; at the fourth 0 < 1, 2, which keeps the value 0.
RAW = {
    "vanilla": [2, 3, 1, 1],
    "positive": [2, 0.5, 1, 0],
    "negative": [1, 3, 0, 1],
    "active": [2, 0, 0, 1],
    "inactive": [0, 3, 0, 0],
}
SCALED = {
    "vanilla": [0.5, 1, 0, 0],
    "positive": [1, 0.25, 0.5, 0],
    "negative": [1 / 3, 1, 0, 1 / 3],
    "active": [1, 0, 0, 0.5],
    "inactive": [0, 1, 0, 0],
}
# Channel by channel: active margins (1, -1) (-2, -1.5) (0, -2) (1, -2) over the classes
# (1 1) (2 1) (1 2) (2 2); inactive margins (-2, -2) (1, 0.5) (-1, -3) (-3, 1) over the classes
# (2 2) (1 2) (2 1) (1 1); the channel with the largest margin counts.
MARGIN = {"active": [1, -1.5, 0, 1], "inactive": [-2, 1, -1, 1]}
RUNNER_UP = {"active": [1, 1, 1, 2], "inactive": [2, 1, 2, 1]}
REDUCED = {
    ("vanilla", "sum"): [3, 3.5, 2, 1],
    ("vanilla", "l2"): [5**0.5, 9.25**0.5, 2**0.5, 1],
    ("positive", "sum"): [2, 0.5, 2, 0],
    ("negative", "sum"): [1, 3, 0, 1],
    ("inactive", "sum"): [0, 3.5, 0, 0],
    ("inactive", "l2"): [0, 9.25**0.5, 0, 0],
    ("vanilla", "none"): [[2, -1], [-3, 0.5], [1, 1], [-1, 0]],
    ("positive", "none"): [[2, 0], [0, 0.5], [1, 1], [0, 0]],
    ("negative", "none"): [[0, -1], [-3, 0], [0, 0], [-1, 0]],
    ("active", "none"): [[2, 0], [0, 0], [0, 0], [-1, 0]],
    ("inactive", "none"): [[0, 0], [-3, 0.5], [0, 0], [0, 0]],
}


@jax.jit
def class_extrema(variables, images, target="predicted"):
    return signsal_jax.class_extrema(toys.linear, variables, images, target=target)


@pytest.fixture(scope="module")
def extrema():
    # The bias makes class 0 the predicted one: logits 1.5, -3, 0.
    variables = (jnp.asarray(WEIGHTS), jnp.asarray([2.0, 0.0, 0.0]))
    return class_extrema(variables, jnp.ones((1, 1, 4, 2)))


maps = jax.jit(
    signsal_jax.maps_from_extrema, static_argnames=("methods", "channel", "normalize", "ties")
)


def row(array):
    return np.asarray(array)[0, 0]


def test_maps_by_hand(extrema):
    saliency = maps(extrema)
    assert saliency.target.tolist() == [0]
    assert saliency.logits.tolist() == [[1.5, -3, 0]]
    assert saliency.valid.tolist() == [True]
    assert set(saliency.maps) == set(signsal_jax.METHODS)
    for method in signsal_jax.METHODS:
        np.testing.assert_allclose(row(saliency.maps[method]), SCALED[method], rtol=1e-6)
        assert saliency.empty[method].tolist() == [False]
    for method in ("active", "inactive"):
        assert row(saliency.margin[method]).tolist() == MARGIN[method]
        assert row(saliency.runner_up[method]).tolist() == RUNNER_UP[method]


def test_raw_maps_by_hand(extrema):
    saliency = maps(extrema, normalize=False)
    for method, expected in RAW.items():
        assert row(saliency.maps[method]).tolist() == expected


def test_non_strict_ties_are_kept(extrema):
    saliency = maps(extrema, normalize=False, ties="non-strict")
    assert row(saliency.maps["active"]).tolist() == [2, 0, 1, 1]
    for method in ("vanilla", "positive", "negative", "inactive"):
        assert row(saliency.maps[method]).tolist() == RAW[method]


@pytest.mark.parametrize(("method", "channel"), REDUCED)
def test_channel_reductions_by_hand(extrema, method, channel):
    saliency = maps(extrema, methods=(method,), channel=channel, normalize=False)
    expected = REDUCED[method, channel]
    np.testing.assert_allclose(row(saliency.maps[method]), expected, rtol=1e-6)


def test_signed_maps_keep_zero_and_sign(extrema):
    saliency = maps(extrema, methods=("vanilla",), channel="none")
    expected = np.asarray(REDUCED["vanilla", "none"]) / 3
    np.testing.assert_allclose(row(saliency.maps["vanilla"]), expected, rtol=1e-6)


def test_margin_is_positive_exactly_where_something_is_kept():
    gradients = np.random.default_rng(0).integers(-2, 3, (4, 5, 7, 2)).astype(np.float32)
    variables = (jnp.asarray(gradients), jnp.zeros(4))
    extrema = class_extrema(variables, jnp.ones((4, 5, 7, 2)), jnp.arange(4))
    margins = {name: signsal_jax.runner_up(name, extrema)[0] for name in ("active", "inactive")}
    for target in range(4):
        others = np.delete(gradients, target, axis=0)
        active = (gradients[target] > others).all(0).any(-1)
        inactive = (gradients[target] < others).all(0).any(-1)
        np.testing.assert_array_equal(margins["active"][target] > 0, active)
        np.testing.assert_array_equal(margins["inactive"][target] > 0, inactive)


@pytest.mark.parametrize("channel", ["max", "none"])
@pytest.mark.parametrize("value", [0.0, 0.7, 1e-40])
def test_constant_maps_are_zeros_and_flagged(value, channel):
    gradient = jnp.full((2, 2, 3, 1), value)
    rival, index = jnp.zeros_like(gradient), jnp.ones(gradient.shape, jnp.int32)
    extrema = signsal_jax.ClassExtrema(
        jnp.zeros((2, 2)), jnp.zeros(2, jnp.int32), gradient, rival, index, rival, index
    )
    saliency = maps(extrema, channel=channel)
    for method in signsal_jax.METHODS:
        assert saliency.empty[method].tolist() == [True, True]
        assert not saliency.maps[method].any()
    assert saliency.valid.all()


@pytest.mark.parametrize("values", [[0, 1e-40], [1.5e-38, 1.6e-38], [3e38, 0], [1e-37, 3e-37]])
def test_scaling_extreme_numbers_gives_no_nan(values):
    for shape in ((1, 1, 2), (1, 1, 2, 1)):
        scaled, _ = jax.jit(signsal_jax.normalize_maps)(
            jnp.asarray(values, jnp.float32).reshape(shape)
        )
        assert jnp.isfinite(scaled).all()
        assert scaled.min() >= 0
        assert scaled.max() <= 1


def test_nan_stays_nan_when_scaled_or_reduced():
    values = jnp.asarray([[[1.0, jnp.nan]], [[1.0, 3.0]]])
    scaled, empty = signsal_jax.normalize_maps(values)
    assert jnp.isnan(scaled[0]).all()
    assert scaled[1].tolist() == [[0, 1]]
    assert empty.tolist() == [True, False]
    for channel in ("max", "sum", "l2"):
        reduced = signsal_jax.reduce_channels(values[..., None], channel)
        assert jnp.isnan(reduced[0, 0]).tolist() == [False, True]


@pytest.mark.parametrize("scale", [1e-25, 1.0, 1e25])
def test_l2_neither_underflows_nor_overflows(scale):
    kept = jnp.asarray([3.0, -4.0], jnp.float32).reshape(1, 1, 1, 2) * scale
    np.testing.assert_allclose(signsal_jax.reduce_channels(kept, "l2"), [[[5 * scale]]], rtol=1e-6)


@pytest.mark.parametrize("channel", ["max", "sum", "l2"])
def test_gradient_through_scaled_maps_is_finite(channel):
    """Pixels without gradient, an empty map and a constant one inside a loss."""
    weights = jnp.asarray([[0, 0, 2, 1], [0, 0, 1, 3]], jnp.float32).reshape(2, 1, 2, 2)

    def loss(images):
        saliency = signsal_jax.saliency_maps(
            toys.quadratic, weights, images, target=0, channel=channel
        )
        return sum((jnp.cos(m) * jnp.asarray([[[1.0, 2.0]]])).sum() for m in saliency.maps.values())

    images = jnp.asarray([[0.5, 0.5, 0.5, 0.25], [0, 0, 0, 0]]).reshape(2, 1, 2, 2)
    gradient = jax.jit(jax.grad(loss))(images)
    assert jnp.isfinite(gradient).all()


def test_gradient_of_the_l2_map_in_closed_form():
    kept = jnp.asarray([[3.0, -4.0], [0.0, 0.0]]).reshape(1, 1, 2, 2)
    gradient = jax.grad(lambda kept: signsal_jax.reduce_channels(kept, "l2").sum())(kept)
    np.testing.assert_allclose(row(gradient), [[0.6, -0.8], [0, 0]], rtol=1e-6)


@pytest.mark.usefixtures("no_typecheck")
class TestErrors:
    def test_unknown_method(self, extrema):
        paper = "vanilla, positive, negative, active, inactive"
        valid = f"expected one of {paper}.*; got 'gradcam'"
        with pytest.raises(ValueError, match=valid):
            signsal_jax.maps_from_extrema(extrema, methods=["vanilla", "gradcam"])
        with pytest.raises(ValueError, match=valid):
            signsal_jax.kept_gradient("gradcam", extrema.gradient)

    @pytest.mark.parametrize(
        ("methods", "error", "message"),
        [
            ("vanilla", TypeError, "expected a sequence of names, got the string 'vanilla'"),
            ([], ValueError, "expected at least one of vanilla, .*; got none"),
            (["vanilla", "vanilla"], ValueError, "expected each name once, got"),
        ],
    )
    def test_bad_methods(self, extrema, methods, error, message):
        with pytest.raises(error, match=message):
            signsal_jax.maps_from_extrema(extrema, methods=methods)

    def test_unknown_options(self, extrema):
        with pytest.raises(ValueError, match="channel: expected one of max, sum, l2, none; got"):
            signsal_jax.maps_from_extrema(extrema, channel="mean")
        with pytest.raises(ValueError, match="ties: expected one of strict, non-strict; got"):
            signsal_jax.maps_from_extrema(extrema, ties="loose")
        with pytest.raises(ValueError, match="method: expected one of active, inactive; got"):
            signsal_jax.runner_up("vanilla", extrema)

    def test_missing_extrema(self, extrema):
        alone = extrema._replace(highest=None, highest_class=None, lowest=None, lowest_class=None)
        with pytest.raises(ValueError, match="expected the extrema of all classes for active, got"):
            signsal_jax.maps_from_extrema(alone)
        with pytest.raises(ValueError, match=r"lowest: expected .* for inactive, got None"):
            signsal_jax.kept_gradient("inactive", alone.gradient, highest=alone.gradient)
        assert signsal_jax.maps_from_extrema(alone, methods=["vanilla"]).valid.all()


def test_small_float16_gradients_are_scaled():
    # One over their range is more than float16 can hold.
    maps = jnp.asarray([[[0.0, 1e-6, 2e-6, 3e-6]]], jnp.float16)
    scaled, empty = signsal_jax.normalize_maps(maps)
    assert scaled.dtype == jnp.float16
    expected = np.asarray(maps, np.float64) / float(maps.max())
    np.testing.assert_allclose(scaled, expected, atol=1e-3)
    assert not empty.any()


@pytest.mark.usefixtures("no_typecheck")
def test_integers_are_scaled_as_numbers():
    scaled, _ = signsal_jax.normalize_maps(np.asarray([[[0, 1, 2, 4]]], np.uint8))
    assert scaled.tolist() == [[[0, 0.25, 0.5, 1]]]


@pytest.mark.usefixtures("no_typecheck")
def test_maps_of_another_rank():
    with pytest.raises(ValueError, match=r"maps: expected .* got shape \(2, 2\): add a batch axis"):
        signsal_jax.normalize_maps(jnp.asarray([[1.0, 2.0], [3.0, 7.0]]))


def test_nobody_competes_where_an_image_is_not_valid():
    variables, images = toys.mlp_variables(0, 3, 12), toys.random_images(1, (2, 2, 2, 3))
    target = jnp.asarray([0, 7])
    saliency = signsal_jax.saliency_maps(toys.mlp, variables, images, target=target)
    assert saliency.valid.tolist() == [True, False]
    for method in ("active", "inactive"):
        assert np.isfinite(saliency.margin[method][0]).all()
        assert np.isnan(saliency.margin[method][1]).all()
        assert (saliency.runner_up[method][0] > 0).all()
        assert (saliency.runner_up[method][1] == -1).all()


def test_jit_keeps_the_order_of_the_methods():
    variables, images = toys.mlp_variables(0, 3, 12), toys.random_images(1, (2, 2, 2, 3))
    methods = ("vanilla", "inactive", "positive", "active")
    explain = jax.jit(lambda v, x: signsal_jax.saliency_maps(toys.mlp, v, x, methods=methods))
    saliency = explain(variables, images)
    assert tuple(saliency.maps) == tuple(saliency.empty) == methods
    assert tuple(saliency.margin) == tuple(saliency.runner_up) == ("inactive", "active")
    curves = jax.jit(
        lambda v, x, maps: signsal_jax.evaluate_deletion(
            toys.mlp, v, x, maps, curves=[("white", "vanilla"), ("black", "active")]
        )
    )(variables, images, saliency.maps)
    assert list(curves) == [("white", "vanilla"), ("black", "active")]
