"""Every lowering of `nn` against XLA's own operation, values and two derivatives."""

import functools

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

from signsal_jax import nn
from signsal_jax.nn import _blocks, _choice, _own, _pullbacks, _winograd

# batch, height, width, channels, features, window, strides, padding, groups
CONVOLUTIONS = {
    "stem": (2, 14, 15, 3, 8, 7, 2, 3, 1),
    "stem of even size": (1, 16, 12, 3, 4, 7, 2, 3, 1),
    "small stem": (2, 9, 8, 3, 8, 3, 2, 1, 1),
    "wide stem": (1, 9, 131, 6, 4, 7, 2, 3, 1),
    "stem stride past the window": (1, 8, 11, 3, 4, 2, 3, 0, 1),
    "patches": (2, 8, 9, 3, 8, 4, 4, 0, 1),
    "stem without padding": (1, 11, 11, 1, 4, 5, 3, 0, 1),
    "dense 1x1": (3, 1, 1, 5, 6, 3, 1, 1, 1),
    "dense 2x2": (3, 2, 2, 5, 6, 3, 1, 1, 1),
    "dense strided": (3, 2, 2, 5, 6, 3, 2, 1, 1),
    "small map strided": (3, 4, 6, 32, 6, 3, 2, 1, 1),
    "dense not square": (3, 2, 3, 5, 6, 3, 1, 1, 1),
    "dense of padding alone": (2, 1, 1, 2, 3, 1, 5, 2, 1),
    "small map strided past the window": (1, 8, 8, 32, 8, 2, 3, 0, 1),
    "small map strided past a window of 1": (1, 4, 4, 32, 3, 1, 2, 1, 1),
    "pointwise": (2, 5, 6, 7, 8, 1, 1, 0, 1),
    "pointwise strided": (2, 5, 6, 7, 8, 1, 2, 0, 1),
    "winograd": (3, 11, 9, 32, 33, 3, 1, 1, 1),
    "winograd of low images": (8, 3, 9, 33, 32, 3, 1, 1, 1),
    "depthwise": (2, 8, 7, 4, 4, 5, 1, 2, 4),
    "depthwise strided": (2, 9, 8, 4, 4, 3, 2, 1, 4),
    "depthwise stride past the window": (2, 9, 8, 4, 4, 1, 2, 0, 4),
    "grouped": (2, 6, 6, 4, 8, 3, 1, 1, 2),
    "ordinary": (2, 9, 9, 16, 8, 3, 1, 1, 1),
    "ordinary of few channels": (2, 9, 14, 5, 6, 3, 1, 1, 1),
    "ordinary even": (2, 9, 8, 4, 8, 2, 1, 1, 1),
    "ordinary wide": (2, 9, 8, 4, 5, 5, 1, 3, 1),
    "ordinary padded beyond the window": (2, 5, 6, 3, 4, 2, 1, 2, 1),
    "pointwise padded": (2, 5, 6, 7, 8, 1, 1, 1, 1),
    "ordinary strided": (2, 9, 9, 32, 8, 3, 2, 1, 1),
}
POOLS = {
    "paper": ((2, 9, 8, 3), 3, 2, 1),
    "even": ((2, 8, 8, 3), 2, 2, 0),
    "rows cut off": ((1, 9, 7, 2), 2, 2, 0),
    "overlapping": ((1, 6, 5, 2), 3, 1, 1),
    "gaps": ((1, 7, 7, 2), 2, 3, 0),
    "global": ((2, 13, 12, 2), 12, 12, 0),
}


# The form that the case is there for: of the forward pass, and of the tangents of the images.
FORMS = {
    "stem": ("space_to_depth", "images_by_blocks"),
    "stem without padding": ("convolve", "images_by_blocks"),
    "wide stem": ("space_to_depth", "images_by_blocks"),
    "dense 2x2": ("dense", "dense"),
    "small map strided": ("convolve", "images_by_products"),
    "pointwise": ("pointwise", "pointwise"),
    "winograd": ("conv3x3", "conv3x3"),
    "depthwise": ("depthwise", "depthwise"),
    "ordinary": ("direct", "direct"),
    "ordinary strided": ("convolve", "images_by_phases"),
    "grouped": (None, None),
}


def own_convolution(images, kernel, *, strides, padding, groups):
    return jax.lax.conv_general_dilated(
        images,
        kernel,
        (strides, strides),
        [(padding, padding)] * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
        precision="highest",
    )


def own_pool(images, *, window, strides, padding):
    sides = [(0, 0), (padding, padding), (padding, padding), (0, 0)]
    return jax.lax.reduce_window(
        images, -jnp.inf, jax.lax.max, (1, window, window, 1), (1, strides, strides, 1), sides
    )


def normal(seed, shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def derivatives(operation, arguments):
    """The operation's output, a gradient in each argument, and a Hessian-vector product."""
    shape = jax.eval_shape(operation, *arguments).shape
    weights, directions = normal(9, shape), tuple(normal(8, a.shape) for a in arguments)
    every = tuple(range(len(arguments)))

    def loss(*arguments):
        return (jnp.sin(operation(*arguments)) * weights).sum()

    def slope(*arguments):
        gradients = jax.grad(loss, every)(*arguments)
        return sum((g * d).sum() for g, d in zip(gradients, directions, strict=True))

    @jax.jit
    def compute(*arguments):
        return (
            operation(*arguments),
            jax.grad(loss, every)(*arguments),
            jax.grad(slope, every)(*arguments),
        )

    return compute(*arguments)


def assert_close(actual, expected, tolerance=1e-5):
    for a, e in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert a.shape == e.shape
        assert a.dtype == e.dtype
        np.testing.assert_allclose(a, e, rtol=0, atol=tolerance * float(jnp.abs(e).max()))


def convolution_case(case):
    batch, height, width, channels, features, window, strides, padding, groups = case
    images = normal(0, (batch, height, width, channels))
    kernel = normal(1, (window, window, channels // groups, features))
    kernel /= np.sqrt(window**2 * channels / groups)
    return images, kernel, {"strides": strides, "padding": padding, "groups": groups}


@pytest.mark.parametrize("case", CONVOLUTIONS.values(), ids=CONVOLUTIONS)
def test_convolution_and_two_derivatives_equal_xlas_own(case):
    images, kernel, settings = convolution_case(case)
    settings["exact_ties"] = settings["strides"] != 1  # Winograd's form is among those allowed
    actual = derivatives(lambda x, w: nn.conv2d(x, w, **settings), (images, kernel))
    del settings["exact_ties"]
    expected = derivatives(lambda x, w: own_convolution(x, w, **settings), (images, kernel))
    assert_close(actual, expected)


STREAMED = ("stem", "wide stem", "patches", "winograd", "ordinary wide", "ordinary strided")


@pytest.fixture
def small_cache(monkeypatch):
    """Lets small maps count as larger than the cache, so that images come one after the other."""
    monkeypatch.setattr(_choice, "_MIN_STREAMED_BYTES", 1)
    monkeypatch.setattr(_choice, "_MIN_STREAMED_PIXELS", 1)
    called, own = [], _pullbacks.kernel_by_images
    monkeypatch.setattr(
        _pullbacks, "kernel_by_images", lambda *a, **k: called.append(1) or own(*a, **k)
    )
    yield
    assert called


@pytest.mark.parametrize("name", STREAMED)
def test_kernels_from_one_image_after_the_other(small_cache, name):
    images, kernel, settings = convolution_case(CONVOLUTIONS[name])
    images = jnp.concatenate([images, 2 * images, -images])  # several on each device
    actual = derivatives(lambda x, w: nn.conv2d(x, w, **settings), (images, kernel))
    expected = derivatives(lambda x, w: own_convolution(x, w, **settings), (images, kernel))
    assert_close(actual, expected)


def test_kernels_from_one_image_after_the_other_inside_shard_map(small_cache):
    test_gradients_inside_shard_map("stem")
    test_gradients_inside_shard_map("ordinary")


@pytest.mark.parametrize(("name", "expected"), FORMS.items(), ids=FORMS)
def test_cases_take_the_form_they_are_there_for(monkeypatch, name, expected):
    called = set()

    def record(module, function):
        own = getattr(module, function)
        monkeypatch.setattr(module, function, lambda *a, **k: called.add(function) or own(*a, **k))

    for function in ("space_to_depth", "dense", "pointwise", "depthwise", "direct", "convolve"):
        record(_blocks, function)
    for function in ("images_by_blocks", "images_by_phases", "images_by_products"):
        record(_pullbacks, function)
    record(_winograd, "conv3x3")
    images, kernel, settings = convolution_case(CONVOLUTIONS[name])
    geometry = _own.Geometry(
        size=images.shape[1:3],
        window=kernel.shape[:2],
        channels=images.shape[3],
        exact_ties=name != "winograd",
        precision=None,
        **settings,
    )
    forms = _choice.forms(geometry, batch=len(images), features=kernel.shape[3], dtype=images.dtype)
    outputs = _own.outputs(images, kernel, geometry=geometry)
    for form, left, one in zip(forms, (images, outputs), expected, strict=False):
        called.clear()
        if form is not None:
            form(left, kernel)
        helpers = {"direct", "convolve"}
        assert called - helpers == {one} - {None, *helpers}
        assert (form is None) == (one is None)


@pytest.mark.parametrize("name", ["stem", "dense 2x2", "winograd", "ordinary", "depthwise"])
def test_gradients_inside_shard_map(name):
    images, kernel, settings = convolution_case(CONVOLUTIONS[name])
    stacked = jnp.concatenate([images * scale for scale in range(1, 9)])
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))

    def gradients(convolve, images, kernel):
        return jax.grad(lambda x, w: (convolve(x, w, **settings) ** 2).sum(), (0, 1))(
            images, kernel
        )

    split, whole = jax.sharding.PartitionSpec("data"), jax.sharding.PartitionSpec()
    sharded = jax.shard_map(
        functools.partial(gradients, nn.conv2d),
        mesh=mesh,
        in_specs=(split, whole),
        out_specs=(split, whole),
    )
    assert_close(jax.jit(sharded)(stacked, kernel), gradients(own_convolution, stacked, kernel))


@pytest.mark.parametrize("name", FORMS)
def test_an_empty_batch(name):
    images, kernel, settings = convolution_case(CONVOLUTIONS[name])
    total = jax.value_and_grad(lambda x, w: nn.conv2d(x, w, **settings).sum(), (0, 1))
    value, (in_images, in_kernel) = jax.jit(total)(images[:0], kernel)
    assert value == 0
    assert in_images.shape == (0, *images.shape[1:])
    assert not in_kernel.any()


def test_a_symbolic_batch_exports_with_its_pullbacks():
    kernels = [normal(1, (3, 3, 3, 32)), normal(2, (3, 3, 32, 32)), normal(3, (3, 3, 32, 4))]

    def network(kernels, images):
        x = nn.max_pool(nn.conv2d(images, kernels[0], strides=2, padding=1), window=2, strides=1)
        x = nn.conv2d(x, kernels[1], padding=1, exact_ties=False)
        return jnp.sin(nn.conv2d(x, kernels[2], strides=2, padding=1)).sum()

    gradients = jax.jit(jax.grad(network, (0, 1)))
    (batch,) = jax.export.symbolic_shape("b")
    images = normal(0, (2, 12, 12, 3))
    symbolic = jax.ShapeDtypeStruct((batch, *images.shape[1:]), images.dtype)
    exported = jax.export.export(gradients, platforms=["cpu"])(kernels, symbolic)
    assert_close(exported.call(kernels, images), gradients(kernels, images))


def test_an_explicit_mesh_keeps_its_types():
    mesh = jax.make_mesh((2,), ("data",), axis_types=(jax.sharding.AxisType.Explicit,))
    with jax.set_mesh(mesh):
        images = jax.device_put(normal(0, (4, 8, 8, 3)), jax.sharding.PartitionSpec("data"))
        pooled = nn.max_pool(
            nn.conv2d(images, normal(1, (3, 3, 3, 4)), strides=2, padding=1), window=2, strides=2
        )
        assert jax.typeof(pooled).sharding.spec[0] == "data"


@pytest.mark.parametrize("case", POOLS.values(), ids=POOLS)
@pytest.mark.parametrize("values", ["distinct", "ties"])
def test_pool_and_two_derivatives_equal_xlas_own(case, values):
    shape, window, strides, padding = case
    images = normal(0, shape)
    if values == "ties":
        images = jax.nn.relu(jnp.round(images))
    settings = {"window": window, "strides": strides, "padding": padding}
    actual = derivatives(lambda x: nn.max_pool(x, **settings), (images,))
    expected = derivatives(lambda x: own_pool(x, **settings), (images,))
    np.testing.assert_array_equal(actual[0], expected[0])
    assert_close(actual, expected)


def test_a_tie_goes_to_the_first_in_reading_order():
    for winner, others in (((0, 1), [(1, 0), (1, 1)]), ((1, 0), [(1, 1)])):
        images = jnp.zeros((1, 2, 2, 1))
        for row, column in (winner, *others):
            images = images.at[0, row, column, 0].set(1.0)
        gradient = jax.grad(lambda x: nn.max_pool(x, window=2, strides=2).sum())(images)
        assert gradient[0, :, :, 0].tolist() == [
            [float((row, column) == winner) for column in range(2)] for row in range(2)
        ]


def test_pool_lets_nan_and_infinity_through():
    images = jnp.asarray([1.0, np.nan, 2.0, np.inf, -np.inf, -np.inf]).reshape(1, 1, 6, 1)
    pooled = nn.max_pool(jnp.concatenate([images, images], 1), window=2, strides=2)
    np.testing.assert_array_equal(pooled[0, 0, :, 0], [np.nan, np.inf, -np.inf])


@pytest.mark.parametrize("name", ["wide stem", "dense 2x2", "winograd", "depthwise strided"])
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float64])
def test_other_precisions(name, dtype):
    with jax.enable_x64(dtype == jnp.float64):
        images, kernel, settings = convolution_case(CONVOLUTIONS[name])
        images, kernel = images.astype(dtype), kernel.astype(dtype)
        actual = jax.jit(lambda x, w: nn.conv2d(x, w, **settings))(images, kernel)
        expected = own_convolution(images, kernel, **settings)
        assert actual.dtype == expected.dtype
        assert_close(actual, expected, 1e-12 if dtype == jnp.float64 else 0)
        pooled = nn.max_pool(actual, window=2, strides=1)
        np.testing.assert_array_equal(pooled, own_pool(actual, window=2, strides=1, padding=0))


def test_winograd_rounds_at_most_thrice_as_much_as_the_direct_sum():
    images, kernel, settings = convolution_case((1, 8, 8, 128, 128, 3, 1, 1, 1))
    with jax.enable_x64(True):
        doubles = (array.astype(jnp.float64) for array in (images, kernel))
        exact = np.asarray(own_convolution(*doubles, **settings))
    winograd = jax.jit(_winograd.conv3x3)

    def spread(outputs):
        return float(np.sqrt(np.mean((np.asarray(outputs, np.float64) - exact) ** 2)))

    direct = spread(own_convolution(images, kernel, **settings))
    assert spread(winograd(images, kernel)) < 3 * direct


@pytest.mark.parametrize("name", ["stem", "dense 2x2", "winograd", "depthwise"])
def test_vmap_over_images_and_over_kernels(name):
    images, kernel, settings = convolution_case(CONVOLUTIONS[name])
    stacks = jnp.stack([images, 2 * images]), jnp.stack([kernel, -kernel])
    both = jax.jit(jax.vmap(lambda x, w: nn.conv2d(x, w, **settings)))(*stacks)
    expected = own_convolution(images, kernel, **settings)
    assert_close(both, jnp.stack([expected, -2 * expected]))


def test_scan_and_forward_mode():
    images, kernel, settings = convolution_case(CONVOLUTIONS["stem"])
    tangent = normal(5, images.shape)

    def body(carry, x):
        return carry, jax.jvp(lambda x: nn.conv2d(x, kernel, **settings), (x,), (tangent,))

    _, (values, slopes) = jax.jit(lambda x: jax.lax.scan(body, 0.0, x))(images[None])
    assert_close(values[0], own_convolution(images, kernel, **settings))
    assert_close(slopes[0], own_convolution(tangent, kernel, **settings))


@pytest.mark.parametrize("platform", ["cpu", "cuda", "tpu"])
def test_every_platform_lowers_and_only_cpu_leaves_xlas_convolution(platform):
    images, kernel, settings = convolution_case(CONVOLUTIONS["dense 2x2"])

    def gradient(images, kernel):
        def total(images):
            outputs = nn.conv2d(images, kernel, **settings)
            return nn.max_pool(outputs, window=3, strides=2, padding=1).sum()

        return jax.grad(total)(images)

    exported = jax.export.export(jax.jit(gradient), platforms=[platform])(images, kernel)
    text = exported.mlir_module()
    assert ("stablehlo.convolution" in text) == (platform != "cpu")
    assert ("stablehlo.select_and_scatter" in text) == (platform != "cpu")


def test_a_kernel_of_other_channels_is_refused():
    with pytest.raises(ValueError, match="conv_general_dilated"):
        nn.conv2d(jnp.ones((1, 4, 4, 3)), jnp.ones((3, 3, 2, 4)))
