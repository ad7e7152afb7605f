"""The precision study on networks whose gradients are known in every dtype."""

import jax.numpy as jnp
import numpy as np

from scripts import precision_study
from signsal_jax import models


def test_a_linear_network_has_the_rounded_weights_as_gradients():
    """1 + 2⁻¹⁰ is 1 in bfloat16: the tie with the other class is no longer active."""
    weights = jnp.asarray([[1.0, 1 + 2**-10], [-2.0, 3.0]])

    def apply_fn(variables, images):
        return jnp.einsum("bhwc,wk->bk", images, variables)

    model = models.Model(apply_fn, weights, ("a", "b"), (1, 2, 1), {})
    images = np.full((1, 1, 2, 1), 0.5, np.float32)
    exact = precision_study.gradients_in("float64", model, images)
    np.testing.assert_array_equal(exact.gradient.ravel(), [1 + 2**-10, 3])
    assert exact.active.all()
    rounded = precision_study.gradients_in("bfloat16", model, images, np.asarray([1]))
    np.testing.assert_array_equal(rounded.gradient.ravel(), [1, 3])
    assert rounded.active.ravel().tolist() == [False, True]
    found = precision_study.study(model, images, batch_size=1)
    assert found["bfloat16"]["active_changed"] == 0.5
    assert found["bfloat16"]["active_pixels_changed"] == 0.5
    assert found["bfloat16"]["signs_flipped"] == 0
    assert set(found["float32"].values()) == {0, found["float32"]["active_share"]}


def test_float64_is_computed_in_float64():
    """The float32 weight 0.3, divided by 3 with the rounding of each dtype."""

    def apply_fn(variables, images):
        return jnp.concatenate([images * variables / 3, images], axis=3).sum((1, 2))

    model = models.Model(apply_fn, jnp.full((1, 1, 1, 1), 0.3), ("a", "b"), (1, 1, 1), {})
    images, target = np.full((1, 1, 1, 1), 0.5, np.float32), np.asarray([0])
    exact = float(np.float32(0.3)) / 3
    errors = {
        dtype: abs(precision_study.gradients_in(dtype, model, images, target).gradient - exact)
        for dtype in ("float64", "float32", "bfloat16")
    }
    assert errors["float64"] < 1e-16
    assert 1e-10 < errors["float32"] < 1e-8
    assert 1e-5 < errors["bfloat16"] < 1e-3


def test_counts():
    def gradients(values, active):
        array = np.asarray(values, float).reshape(1, 1, 2, 2)
        places = np.asarray(active).reshape(array.shape)
        return precision_study.Gradients(array, places, places, np.asarray([0]))

    exact = gradients([1, -1, 2, 4], [True, False, False, False])
    rounded = gradients([1, 1, 2, 4], [False, True, True, False])
    found = precision_study.shares(precision_study.differences(exact, rounded))
    assert found == {
        "predictions_changed": 0,
        "signs_flipped": 1 / 4,
        "signs_flipped_by_magnitude": 1 / 8,
        "active_share": 1 / 4,
        "active_changed": 3 / 4,
        "active_pixels_changed": 1 / 2,
        "inactive_share": 1 / 4,
        "inactive_changed": 3 / 4,
        "inactive_pixels_changed": 1 / 2,
    }
