"""`saliency_maps`: targets, outputs, what is flagged instead of raised, and how it composes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

import signsal_jax
from tests import toys


@pytest.fixture(scope="module")
def model():
    return toys.mlp_variables(0, 4, 24), toys.random_images(1, (3, 3, 4, 2))


@functools.partial(jax.jit, static_argnames=("methods", "output", "channel", "normalize"))
def explain(variables, images, **options):
    return signsal_jax.saliency_maps(toys.mlp, variables, images, **options)


def numpy_maps(jacobian, target):
    """The paper's table, image by image, from the whole Jacobian `[b, k, h, w, c]`."""
    maps = {method: [] for method in signsal_jax.METHODS}
    for image, index in zip(np.asarray(jacobian), target, strict=True):
        gradient, others = image[index], np.delete(image, index, axis=0)
        kept = {
            "vanilla": gradient,
            "positive": np.maximum(gradient, 0),
            "negative": np.maximum(-gradient, 0),
            "active": np.where((gradient > others).all(0), gradient, 0),
            "inactive": np.where((gradient < others).all(0), gradient, 0),
        }
        for method, values in kept.items():
            reduced = np.abs(values).max(-1)
            maps[method].append((reduced - reduced.min()) / (reduced.max() - reduced.min()))
    return {method: np.stack(values) for method, values in maps.items()}


@pytest.mark.parametrize("output", ["logits", "log_softmax", "softmax"])
def test_maps_are_the_papers_table(model, output):
    variables, images = model

    def scores(variables, images):
        logits = toys.mlp(variables, images)
        return logits if output == "logits" else getattr(jax.nn, output)(logits)

    saliency = explain(variables, images, output=output)
    logits = toys.mlp(variables, images)
    target = np.asarray(logits).argmax(1)
    toys.assert_close(saliency.logits, logits)
    np.testing.assert_array_equal(saliency.target, target)
    expected = numpy_maps(toys.oracle_jacobian(scores, variables, images), target)
    for method in signsal_jax.METHODS:
        toys.assert_close(saliency.maps[method], expected[method])
    assert saliency.valid.all()
    assert not any(flags.any() for flags in saliency.empty.values())


def test_masks_of_log_softmax_are_those_of_logits(model):
    """One value added to all class gradients changes what is kept not at all, only the values."""
    options = {"channel": "none", "normalize": False, "target": 2}
    of_logits = explain(*model, **options)
    of_log_softmax = explain(*model, **options, output="log_softmax")
    for method in ("active", "inactive"):
        kept, shifted = of_logits.maps[method], of_log_softmax.maps[method]
        assert kept.any()
        np.testing.assert_array_equal(kept != 0, shifted != 0)
        assert not jnp.allclose(kept, shifted)
        np.testing.assert_array_equal(of_logits.runner_up[method], of_log_softmax.runner_up[method])
        toys.assert_close(of_logits.margin[method], of_log_softmax.margin[method])


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (2, [2, 2, 2]),
        (np.int64(3), [3, 3, 3]),
        ([3, 0, 1], [3, 0, 1]),
        (np.asarray([3, 0, 1], np.uint8), [3, 0, 1]),
        (jnp.asarray([3, 0, 1]), [3, 0, 1]),
    ],
)
def test_targets(model, target, expected):
    variables, images = model
    saliency = signsal_jax.saliency_maps(
        toys.mlp, variables, images, target=target, methods=["vanilla"], normalize=False
    )
    assert saliency.target.tolist() == expected
    jacobian = toys.oracle_jacobian(toys.mlp, variables, images)
    gradient = jacobian[jnp.arange(3), jnp.asarray(expected)]
    toys.assert_close(saliency.maps["vanilla"], jnp.abs(gradient).max(-1))


def test_only_what_is_asked_for(model):
    saliency = explain(*model, methods=("negative", "active"))
    assert set(saliency.maps) == set(saliency.empty) == {"negative", "active"}
    assert list(saliency.margin) == list(saliency.runner_up) == ["active"]
    everything = explain(*model)
    for method in ("negative", "active"):
        toys.assert_close(saliency.maps[method], everything.maps[method], 1e-6)


@pytest.mark.parametrize(
    ("methods", "pullbacks"), [(("vanilla", "positive", "negative"), 1), (signsal_jax.METHODS, 5)]
)
def test_pullbacks_are_counted(model, methods, pullbacks):
    """One class needs one pullback; all five maps share one a class and a single forward."""
    _, images = model
    variables = toys.mlp_variables(0, 5, images[0].size)  # an odd number: none is padding
    count = []

    @jax.custom_vjp
    def tracked(images):
        return images

    def backward(_, cotangent):
        jax.debug.callback(lambda: count.append(1))
        return (cotangent,)

    tracked.defvjp(lambda images: (images, None), backward)
    apply_fn, forwards = toys.counted(lambda variables, x: toys.mlp(variables, tracked(x)))
    step = jax.jit(lambda v, x: signsal_jax.saliency_maps(apply_fn, v, x, methods=methods))
    jax.block_until_ready(step(variables, images))
    jax.effects_barrier()
    assert len(count) == pullbacks
    jax.block_until_ready(step(variables, images / 2))
    jax.effects_barrier()
    # Where all classes take part, a trace of its own finds the network's narrowest place.
    assert forwards == [1 if pullbacks == 1 else 2, 2]


class TestFlagsInsideJit:
    """Nothing raises inside jit; what went wrong is flagged, and the other images are untouched."""

    def assert_only_second_is_invalid(self, saliency, clean):
        assert saliency.valid.tolist() == [True, False, True]
        for method, maps in saliency.maps.items():
            assert jnp.isnan(maps[1]).all()
            assert not saliency.empty[method][1]
            for index in (0, 2):
                np.testing.assert_array_equal(maps[index], clean.maps[method][index])

    @pytest.mark.parametrize("value", [np.nan, np.inf])
    def test_pixel(self, model, value):
        variables, images = model
        broken = images.at[1, 2, 0, 1].set(value)
        self.assert_only_second_is_invalid(explain(variables, broken), explain(variables, images))

    def test_nan_pixel_that_the_classifier_swallows(self, model):
        variables, images = model

        @jax.jit
        def explain(images):
            def apply_fn(variables, images):
                return toys.mlp(variables, jnp.where(images > 0.1, images, 0))

            return signsal_jax.saliency_maps(apply_fn, variables, images)

        broken = images.at[1, 2, 0, 1].set(jnp.nan)
        assert jnp.isfinite(explain(broken).logits).all()
        self.assert_only_second_is_invalid(explain(broken), explain(images))

    @pytest.mark.parametrize("methods", [("vanilla", "negative"), signsal_jax.METHODS])
    @pytest.mark.parametrize("target", [4, -1])
    def test_target_out_of_range(self, model, target, methods):
        variables, images = model
        saliency = explain(variables, images, target=jnp.asarray([0, target, 2]), methods=methods)
        clean = explain(variables, images, target=jnp.asarray([0, 1, 2]), methods=methods)
        self.assert_only_second_is_invalid(saliency, clean)

    def test_logit(self, model):
        variables, images = model

        @jax.jit
        def explain(images, value):
            def apply_fn(variables, images):
                second = jnp.asarray([[False], [True], [False]])
                return toys.mlp(variables, images) + jnp.where(second, value, 0)

            return signsal_jax.saliency_maps(apply_fn, variables, images, target=0)

        self.assert_only_second_is_invalid(explain(images, jnp.nan), explain(images, 0.0))

    def test_gradient_of_another_class(self, model):
        """Finite logits whose class 3 has an infinite derivative where a pixel is exactly 1."""
        variables, images = model

        @jax.jit
        def explain(images):
            def apply_fn(variables, images):
                logits = toys.mlp(variables, images)
                root = jnp.sqrt(1 - images).mean((1, 2, 3))
                return logits.at[:, 3].add(root)

            return signsal_jax.saliency_maps(apply_fn, variables, images, target=0)

        broken = images.at[1, 0, 0, 0].set(1)
        assert jnp.isfinite(explain(broken).logits).all()
        self.assert_only_second_is_invalid(explain(broken), explain(images))


class TestComposition:
    def test_gradient_in_the_weights(self, model):
        """Inside grad inside jit, against the same loss written on the oracle's Jacobian."""
        variables, images = model
        target = jnp.asarray([1, 0, 3])

        def loss(variables):
            saliency = signsal_jax.saliency_maps(
                toys.mlp, variables, images, target=target, normalize=False, channel="sum"
            )
            return sum((maps**2).sum() for maps in saliency.maps.values())

        def oracle(variables):
            jacobian = toys.oracle_jacobian(toys.mlp, variables, images)
            gradient = jacobian[jnp.arange(3), target][:, None]
            own = jnp.arange(4)[None] == target[:, None]
            own = own[:, :, None, None, None]
            kept = (
                gradient,
                jax.nn.relu(gradient),
                jax.nn.relu(-gradient),
                gradient * ((gradient > jacobian) | own).all(1, keepdims=True),
                gradient * ((gradient < jacobian) | own).all(1, keepdims=True),
            )
            return sum((jnp.abs(values).sum(-1) ** 2).sum() for values in kept)

        found, expected = jax.jit(jax.grad(loss))(variables), jax.jit(jax.grad(oracle))(variables)
        jax.tree.map(toys.assert_close, found, expected)

    def test_scaled_maps_differentiate_twice(self, model):
        variables, images = model

        def loss(images):
            maps = signsal_jax.saliency_maps(toys.mlp, variables, images, channel="l2").maps
            return sum((values**3).sum() for values in maps.values())

        slope = jax.grad(loss)
        curvature = jax.jit(jax.grad(lambda x: (slope(x) ** 2).sum()))(images)
        assert jnp.isfinite(curvature).all()
        assert curvature.any()

    def test_vmap_over_batches(self, model):
        variables, images = model
        batches = jnp.stack([images, images[::-1]])
        together = jax.vmap(lambda x: explain(variables, x))(batches)
        for method, maps in explain(variables, images).maps.items():
            toys.assert_close(together.maps[method][0], maps)
            toys.assert_close(together.maps[method][1], maps[::-1])

    def test_shard_map(self):
        variables, images = toys.mlp_variables(0, 4, 24), toys.random_images(2, (8, 3, 4, 2))
        mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
        data, replicated = PartitionSpec("data"), PartitionSpec()
        sharded = jax.shard_map(explain, mesh=mesh, in_specs=(replicated, data), out_specs=data)
        found, expected = jax.jit(sharded)(variables, images), explain(variables, images)
        np.testing.assert_array_equal(found.target, expected.target)
        for method in signsal_jax.METHODS:
            assert len(found.maps[method].sharding.device_set) == 8
            toys.assert_close(found.maps[method], expected.maps[method])

    @pytest.mark.parametrize("chunk", [1, 2])
    def test_any_chunk(self, model, chunk):
        expected = explain(*model)
        found = jax.jit(lambda v, x: signsal_jax.saliency_maps(toys.mlp, v, x, class_chunk=chunk))(
            *model
        )
        for method in signsal_jax.METHODS:
            toys.assert_close(found.maps[method], expected.maps[method])

    def test_padding_changes_no_image(self, model):
        variables, images = model
        padded = jnp.concatenate([images, jnp.zeros((2, *images.shape[1:]))])
        found, expected = explain(variables, padded), explain(variables, images)
        for method in signsal_jax.METHODS:
            toys.assert_close(found.maps[method][:3], expected.maps[method])
