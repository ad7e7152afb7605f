"""Active and inactive among some of the other classes, against the oracle of those alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import signsal_jax
from tests import toys


@pytest.fixture(scope="module")
def model():
    return toys.mlp_variables(0, 30, 24), toys.random_images(1, (4, 3, 4, 2))


def assert_among(extrema, jacobian, target, rivals):
    for image, (own, others) in enumerate(zip(target, rivals, strict=True)):
        compared = sorted(set(np.asarray(others).tolist()) - {own})
        rows = jacobian[image, compared]
        toys.assert_close(extrema.gradient[image], jacobian[image, own])
        toys.assert_close(extrema.highest[image], rows.max(0))
        toys.assert_close(extrema.lowest[image], rows.min(0))
        np.testing.assert_array_equal(
            extrema.highest_class[image], np.asarray(compared)[rows.argmax(0)]
        )
        np.testing.assert_array_equal(
            extrema.lowest_class[image], np.asarray(compared)[rows.argmin(0)]
        )


@pytest.mark.parametrize("accelerator", [False, True])
@pytest.mark.parametrize(
    ("rivals", "chunk"), [(3, None), (20, None), (4, 2), ([7, 2, 11], None), ([2, 7], 1)]
)
def test_extrema_are_those_of_the_rivals_alone(monkeypatch, model, rivals, chunk, accelerator):
    if accelerator:
        monkeypatch.setattr(
            jax.lax, "platform_dependent", lambda *args, default, **_: default(*args)
        )
    variables, images = model
    target = np.asarray([2, 7, 0, 29])
    logits = np.array(toys.mlp(variables, images))
    logits[np.arange(4), target] = -np.inf
    chosen = np.argsort(-logits)[:, :rivals] if isinstance(rivals, int) else [rivals] * 4
    jacobian = np.asarray(toys.oracle_jacobian(toys.mlp, variables, images))
    found = jax.jit(
        lambda v, x: signsal_jax.class_extrema(
            toys.mlp, v, x, target=target, rivals=rivals, class_chunk=chunk
        )
    )(variables, images)
    assert_among(found, jacobian, target, chosen)


def test_only_rivals_and_target_are_pulled_back_and_recorded(model):
    variables, images = model
    count = []

    @jax.custom_vjp
    def tracked(images):
        return images

    def backward(_, cotangent):
        jax.debug.callback(lambda: count.append(1))
        return (cotangent,)

    tracked.defvjp(lambda images: (images, None), backward)
    saliency = jax.jit(
        lambda v, x: signsal_jax.saliency_maps(
            lambda v, x: toys.mlp(v, tracked(x)), v, x, target=5, rivals=[9, 5, 1]
        )
    )(variables, images)
    jax.block_until_ready(saliency)
    jax.effects_barrier()
    assert len(count) == 4  # the target's own place is one
    assert saliency.rivals.tolist() == [[1, 9, 30]] * 4
    assert set(np.unique(saliency.runner_up["active"])) <= {1, 9}
    assert saliency.valid.all()


def test_a_tie_goes_to_the_lowest_index():
    weights = jnp.asarray([1.0, 3.0, 2.0, 2.0, 2.0]).reshape(5, 1, 1, 1)
    variables = weights, jnp.asarray([9.0, -9.0, 1.0, 3.0, 2.0])
    extrema = signsal_jax.class_extrema(toys.linear, variables, jnp.ones((1, 1, 1, 1)), rivals=3)
    assert extrema.rivals.tolist() == [[2, 3, 4]]
    assert extrema.highest_class.ravel().tolist() == [2]
    assert extrema.highest.ravel().tolist() == [2.0]


@pytest.mark.usefixtures("no_typecheck")
@pytest.mark.parametrize(
    ("rivals", "error", "message"),
    [
        (0, ValueError, "rivals: expected from 1 to 29 other classes, got 0"),
        (30, ValueError, "got 30"),
        (True, TypeError, "rivals: expected integer"),
        ([], TypeError, "rivals: expected integer"),
        ([1, 1], ValueError, "distinct classes"),
        ([1, 30], ValueError, r"rivals: expected class indices in \[0, 29\], got 30"),
        ([1.5], TypeError, "rivals: expected integer"),
        ("most", ValueError, "rivals: expected one of all"),
    ],
)
def test_bad_rivals(model, rivals, error, message):
    with pytest.raises(error, match=message):
        signsal_jax.class_extrema(toys.mlp, *model, rivals=rivals)
