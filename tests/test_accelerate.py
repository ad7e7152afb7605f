"""Users' own networks with the fast layers: the same values and derivatives as without."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import signsal_jax
from signsal_jax.nn._ties import compared_convolutions
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


@jax.custom_jvp
def _unknown(x):
    return x


_unknown.defjvps(lambda tangent, _, x: tangent)


def _shifted(x):
    return jnp.maximum(x[:, 1:], x[:, :-1]).mean((1, 2))


# What follows a convolution, and whether it may compare positions of its outputs.
BEHIND = {
    "average": (lambda x: x.mean((1, 2)), False),
    "activations": (lambda x: jax.nn.silu(jax.nn.relu(x) + jax.nn.gelu(x)).sum((1, 2)), False),
    "best class": (lambda x: jnp.argmax(jax.jit(lambda x: x.mean((1, 2)))(x), -1), False),
    "best channel": (lambda x: x.max(-1).mean((1, 2)), False),
    "checkpoint": (lambda x: jax.checkpoint(lambda x: jnp.tanh(x).mean((1, 2)))(x), False),
    "average pool": (lambda x: nnx.avg_pool(x, (2, 2)).mean((1, 2)), False),
    "channels first": (lambda x: jnp.transpose(x, (0, 3, 1, 2)).mean((2, 3)), False),
    "max-pool": (lambda x: nnx.max_pool(x, (2, 2)).mean((1, 2)), True),
    "largest": (lambda x: x.max((1, 2)), True),
    "sorted": (lambda x: jnp.sort(x, 1).mean((1, 2)), True),
    "jitted max-pool": (lambda x: jax.jit(nnx.max_pool, static_argnums=1)(x, (2, 2)).sum(), True),
    "flat": (lambda x: x.reshape(len(x), -1).max(-1), True),
    "shifted": (_shifted, True),
    "mirrored": (lambda x: jnp.maximum(x, x.swapaxes(1, 2)).mean((1, 2)), True),
    "instance norm": (lambda x: jax.nn.relu(x - x.mean((1, 2), keepdims=True)).sum((1, 2)), True),
    "unknown derivative": (lambda x: _unknown(x).mean((1, 2)), True),
    "loop": (lambda x: jax.lax.fori_loop(0, 2, lambda _, x: x.mean() + x, x).sum(), True),
    "branch": (lambda x: jax.lax.cond(True, jnp.abs, jnp.negative, x).mean((1, 2)), True),
    "positions": (lambda x: x, True),
}


@pytest.mark.parametrize(("follow", "expected"), BEHIND.values(), ids=BEHIND)
def test_after_which_convolutions_positions_may_be_compared(follow, expected):
    def program(kernel, pixels):
        x = jax.lax.conv_general_dilated(
            pixels, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        convolve = nnx.Conv(4, 4, (3, 3), rngs=nnx.Rngs(0))
        return follow(convolve(jax.nn.relu(x)))

    traced = jax.make_jaxpr(program)(images(3, 3, 3, 4), images(2, 6, 6, 3))
    assert len(compared_convolutions(traced)) == (2 if expected else 0)
