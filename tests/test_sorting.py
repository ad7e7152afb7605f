"""Sorting by integer keys gives what JAX's own sort gives, to the bit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from signsal_jax._sorting import ascending, inverse_permutation

AWKWARD = [0.0, -0.0, 1.5, -1.5, 1.5, np.inf, -np.inf, np.nan, -np.nan, 1e-40, -1e-40, 3e4, -3e4]


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "float64", "int32", "uint8"])
def test_ascending_is_numpys_order(dtype, x64):
    rng = np.random.default_rng(0)
    rows = np.stack([rng.permutation(AWKWARD + list(rng.normal(size=50))) for _ in range(5)])
    if dtype in ("int32", "uint8"):
        rows = rng.integers(0, 200, rows.shape)
    values = jnp.asarray(rows).astype(dtype)
    found = jax.jit(ascending)(values)
    assert found.dtype == values.dtype
    wide = np.float64 if jnp.issubdtype(values.dtype, jnp.floating) else np.int64
    np.testing.assert_array_equal(found.astype(wide), np.sort(np.asarray(values, wide), axis=1))


def test_any_number_of_axes():
    values = jax.random.normal(jax.random.key(0), (2, 3, 7))
    np.testing.assert_array_equal(ascending(values), np.sort(values, axis=-1))
    np.testing.assert_array_equal(ascending(values[0, 0]), np.sort(values[0, 0]))


def test_inverse_permutation_leads_back():
    order = np.stack([np.random.default_rng(seed).permutation(9) for seed in range(4)])
    inverse = inverse_permutation(jnp.asarray(order))
    np.testing.assert_array_equal(np.take_along_axis(order, inverse, 1), [list(range(9))] * 4)
    np.testing.assert_array_equal(inverse, np.argsort(order, axis=1))
