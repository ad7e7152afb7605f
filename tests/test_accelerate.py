"""Users' own networks with the fast layers: the same values and derivatives as without."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import signsal_jax
from tests import toys


class UsersNetwork(nnx.Module):
    """Flax's own layers: SAME padding, strides, groups, jit and checkpoint inside."""

    def __init__(self, rngs):
        self.stem = nnx.Conv(3, 8, (7, 7), strides=2, padding=3, rngs=rngs)
        self.same = nnx.Conv(8, 8, (3, 3), strides=2, rngs=rngs)
        self.depthwise = nnx.Conv(8, 8, (3, 3), feature_group_count=8, rngs=rngs)
        self.flat = nnx.Conv(8, 8, (1, 3), rngs=rngs)
        self.dilated = nnx.Conv(8, 8, (3, 3), kernel_dilation=2, rngs=rngs)
        self.norm = nnx.BatchNorm(8, use_running_average=True, rngs=rngs)
        self.head = nnx.Linear(8, 4, rngs=rngs)

    def __call__(self, x):
        x = nnx.max_pool(nnx.relu(self.stem(x)), (3, 3), strides=(2, 2), padding="SAME")
        x = jax.jit(lambda x: nnx.gelu(self.norm(self.depthwise(x))))(x)
        x = jax.checkpoint(lambda x: nnx.relu(self.dilated(self.flat(x))))(x)
        x = nnx.max_pool(self.same(x), (2, 2))
        return self.head(x.mean((1, 2)))


@pytest.fixture(scope="module")
def users_network():
    return signsal_jax.from_nnx(UsersNetwork(nnx.Rngs(0)))


def images(*shape):
    return jnp.asarray(np.random.default_rng(0).random(shape), jnp.float32)


def assert_close(actual, expected):
    for a, e in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert a.dtype == e.dtype
        np.testing.assert_allclose(a, e, rtol=0, atol=1e-5 * float(jnp.abs(e).max()))


def test_logits_jacobian_and_weight_gradients_are_the_same(users_network):
    apply_fn, variables = users_network
    fast = signsal_jax.accelerate(apply_fn)
    pixels = images(2, 30, 26, 3)

    def everything(apply_fn):
        loss = jax.grad(lambda v: jnp.sin(apply_fn(v, pixels)).sum())
        jacobian = signsal_jax.signed_jacobian(apply_fn, variables, pixels)
        return jax.jit(lambda: (jacobian, loss(variables)))()

    assert_close(everything(fast), everything(apply_fn))


def channels_first(kernels, pixels):
    """A network in torch's layout, with a convolution that crops."""
    x = jax.lax.conv_general_dilated(pixels, kernels[0], (2, 2), [(1, 2), (-1, 0)])
    x = jax.lax.reduce_window(
        x, -jnp.inf, jax.lax.max, (1, 1, 3, 3), (1, 1, 2, 2), [(0, 0), (0, 0), (1, 1), (1, 1)]
    )
    return jax.lax.conv(x, kernels[1], (1, 1), "SAME").mean((2, 3))


def test_channels_first():
    kernels = [images(6, 3, 5, 5) - 0.5, images(4, 6, 3, 3) - 0.5]
    pixels = images(2, 3, 17, 14)
    fast = signsal_jax.accelerate(channels_first)

    def gradient(apply_fn):
        return jax.jit(jax.value_and_grad(lambda x: jnp.sin(apply_fn(kernels, x)).sum()))(pixels)

    assert_close(gradient(fast), gradient(channels_first))


def test_what_is_swapped(users_network):
    apply_fn, variables = users_network
    pixels = images(2, 32, 32, 3)

    def lowered(apply_fn, platform):
        jitted = jax.jit(lambda v, x: jax.vjp(lambda x: apply_fn(v, x), x)[1](jnp.ones((2, 4))))
        return jax.export.export(jitted, platforms=[platform])(variables, pixels).mlir_module()

    fast = signsal_jax.accelerate(apply_fn)
    assert "select_and_scatter" in lowered(apply_fn, "cpu")
    assert "select_and_scatter" not in lowered(fast, "cpu")
    for platform in ("cuda", "tpu"):
        for operation in ("= stablehlo.convolution(", '= "stablehlo.select_and_scatter"('):
            plain = lowered(apply_fn, platform).count(operation)
            assert lowered(fast, platform).count(operation) == plain > 0


def test_inside_jit_with_closed_over_weights(users_network):
    apply_fn, variables = users_network
    pixels = images(1, 32, 32, 3)

    @jax.jit
    def logits(variables):
        return signsal_jax.accelerate(lambda _, x: apply_fn(variables, x))((), pixels)

    assert_close(logits(variables), apply_fn(variables, pixels))


def test_precision_around_an_operation_is_kept():
    """A setting inside the user's function still reaches the operation on other platforms."""

    def apply_fn(kernel, pixels):
        with jax.default_matmul_precision("highest"):
            return jax.lax.conv(pixels, kernel, (1, 1), "SAME").mean((2, 3))

    kernel, pixels = images(4, 3, 3, 3), images(1, 3, 8, 8)
    for function in (apply_fn, signsal_jax.accelerate(apply_fn)):
        exported = jax.export.export(jax.jit(function), platforms=["tpu"])(kernel, pixels)
        assert "HIGHEST" in exported.mlir_module()


def test_only_functions():
    with pytest.raises(TypeError):
        signsal_jax.accelerate(3)


def test_keyword_arguments_are_handed_on():
    def apply_fn(variables, images, *, scale):
        return scale * toys.mlp(variables, images)

    variables, images = toys.mlp_variables(0, 3, 12), toys.random_images(1, (2, 2, 2, 3))
    fast = signsal_jax.accelerate(apply_fn)
    expected = apply_fn(variables, images, scale=2.0)
    np.testing.assert_allclose(fast(variables, images, scale=2.0), expected, rtol=1e-6)
    with pytest.raises(TypeError, match="scale"):
        fast(variables, images)


def test_variables_that_are_no_arrays():
    def apply_fn(variables, images):
        logits = variables["activation"](toys.mlp(variables["weights"], images))
        return logits[:, : variables["classes"]]

    variables = {"weights": toys.mlp_variables(0, 5, 12), "activation": jnp.tanh, "classes": 3}
    images = toys.random_images(1, (2, 2, 2, 3))
    fast = signsal_jax.accelerate(apply_fn)
    for chunk in (None, "auto"):
        found = signsal_jax.saliency_maps(fast, variables, images, class_chunk=chunk)
        expected = signsal_jax.saliency_maps(apply_fn, variables, images)
        toys.assert_close(found.logits, expected.logits)
        toys.assert_close(found.maps["active"], expected.maps["active"])
