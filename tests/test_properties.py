"""Properties that hold for every input, searched for counterexamples."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra import numpy as st_numpy

import signsal_jax
from tests import toys

SHAPE = (2, 2, 1)
# Small integers: ties and zeros are frequent, and every sum is exact.
SMALL = st.integers(-2, 2)


@functools.cache
def compiled_extrema(chunk):
    """One program per chunk and shape, whatever the gradients are."""
    return jax.jit(
        lambda variables, images, target: signsal_jax.class_extrema(
            toys.linear, variables, images, target=target, class_chunk=chunk
        )
    )


@st.composite
def gradients_and_target(draw):
    classes = draw(st.sampled_from([2, 3, 5]))
    gradients = draw(st_numpy.arrays(np.float32, (classes, *SHAPE), elements=SMALL.map(float)))
    return gradients, draw(st.integers(0, classes - 1))


@given(gradients_and_target(), st.sampled_from([None, 1, 2, 4]))
def test_extrema_of_any_chunk_are_those_of_numpy(gradients_and_target, chunk):
    gradients, target = gradients_and_target
    classes = len(gradients)
    variables = (jnp.asarray(gradients), jnp.zeros(classes))
    images = jnp.full((1, *SHAPE), 0.5)
    extrema = compiled_extrema(chunk)(variables, images, jnp.asarray([target]))

    others = np.delete(gradients, target, axis=0)
    indices = np.delete(np.arange(classes), target)
    np.testing.assert_array_equal(extrema.gradient[0], gradients[target])
    np.testing.assert_array_equal(extrema.highest[0], others.max(0))
    np.testing.assert_array_equal(extrema.lowest[0], others.min(0))
    # NumPy's argmax takes the first at a tie, too.
    np.testing.assert_array_equal(extrema.highest_class[0], indices[others.argmax(0)])
    np.testing.assert_array_equal(extrema.lowest_class[0], indices[others.argmin(0)])


def deleted_by_paper(ranked, fraction):
    """The paper's rule, pixel by pixel."""
    descending = sorted(ranked.ravel().tolist(), reverse=True)
    position = round(fraction * ranked.size)
    threshold = descending[position] if position < ranked.size else -np.inf
    return np.asarray([[v > threshold and v != 0 for v in row] for row in ranked.tolist()])


def deleted_exactly(ranked, fraction):
    """The highest values first, at a tie in reading order."""
    order = sorted(range(ranked.size), key=lambda place: (-ranked.ravel()[place], place))
    mask = np.zeros(ranked.size, bool)
    mask[order[: round(fraction * ranked.size)]] = True
    return mask.reshape(ranked.shape)


def deleted_in_a_random_order(ranked, fraction):
    """The highest values first, at a tie in the one order that is drawn for this size."""
    turn = np.argsort(np.random.default_rng(0).permutation(ranked.size))
    order = sorted(range(ranked.size), key=lambda place: (-ranked.ravel()[place], turn[place]))
    mask = np.zeros(ranked.size, bool)
    mask[order[: round(fraction * ranked.size)]] = True
    return mask.reshape(ranked.shape)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("paper", deleted_by_paper),
        ("exact", deleted_exactly),
        ("completed", deleted_in_a_random_order),
    ],
)
@given(
    ranked=st_numpy.arrays(
        np.float32, (3, 4), elements=st.sampled_from([0.0, 0.25, 0.5, 1.0, 1e-30])
    ),
    fractions=st.tuples(*[st.floats(0, 1)] * 3),
)
def test_deletion_masks_are_those_of_numpy(rule, expected, ranked, fractions):
    masks = signsal_jax.deletion_masks(ranked[None], fractions=fractions, rule=rule)
    for mask, fraction in zip(np.asarray(masks)[:, 0], fractions, strict=True):
        np.testing.assert_array_equal(mask, expected(ranked, fraction))


def test_active_and_inactive_are_what_every_contrast_agrees_on():
    """Active lies in {w > 0} and inactive in {w < 0} for w = g_t - sum_s a_s g_s, a convex."""
    rng = np.random.default_rng(0)
    cases, classes = 10_000, 5
    gradients = rng.integers(-8, 9, (cases, classes)).astype(np.float64)
    # Convex weights in 1/64: everything below is exact.
    counts = np.stack([rng.multinomial(64, p) for p in rng.dirichlet(np.ones(classes - 1), cases)])
    contrast = gradients[:, 0] - (counts / 64 * gradients[:, 1:]).sum(1)
    rivals = gradients[:, 1:]

    def as_images(values):
        return jnp.asarray(values.reshape(cases, 1, 1, 1), jnp.float32)

    def kept(method):
        places = signsal_jax.kept_gradient(
            method,
            # A gradient of zero is kept as zero: one on top of it tells what was kept.
            as_images(gradients[:, 0] + 100),
            as_images(rivals.max(1) + 100),
            as_images(rivals.min(1) + 100),
        )
        return np.asarray(places).ravel() != 0

    assert 0 < kept("active").sum() < (contrast > 0).sum()
    assert 0 < kept("inactive").sum() < (contrast < 0).sum()
    assert (contrast[kept("active")] > 0).all()
    assert (contrast[kept("inactive")] < 0).all()
