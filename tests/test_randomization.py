"""Model randomization: the order of layers, what is shuffled, and scores against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from signsal_jax.evaluations import model_randomization
from signsal_jax.evaluations._layers import layer_numbers, randomized
from tests import toys

KEY = jax.random.key(0)
IMAGES = np.random.default_rng(0).random((4, 6, 6, 1), np.float32)


@pytest.fixture(scope="module")
def variables():
    return toys.cnn_variables(0, 3, 1)


def test_layers_are_numbered_in_the_order_of_use(variables):
    found = zip(sorted(variables), layer_numbers(toys.cnn, variables, IMAGES), strict=True)
    assert dict(found) == {"conv": 1, "head": 2, "stem": 0}


def test_a_layer_under_jit_in_a_loop_or_beside_its_bias_has_its_number():
    def apply_fn(variables, images):
        x = images.reshape(len(images), -1)
        # Turned round before it is used, which does not count as use.
        late = variables["a_late"].T
        x = jax.jit(lambda x: x @ variables["z_early"] + variables["bias"][None])(x)
        x, _ = jax.lax.scan(lambda x, _: (jnp.tanh(x @ variables["loop"]), None), x, length=2)
        return x @ late

    variables = {
        "a_late": jnp.ones((3, 5)),
        "bias": jnp.ones(5),
        "loop": jnp.ones((5, 5)),
        "unused": jnp.ones((2, 2)),
        "z_early": jnp.ones((36, 5)),
    }
    assert layer_numbers(apply_fn, variables, IMAGES) == [2, 0, 1, -1, 0]


def test_shuffles_go_down_from_the_top(variables):
    layers = layer_numbers(toys.cnn, variables, IMAGES)
    for top, shuffled in enumerate(({}, {"head"}, {"head", "conv"}, {"head", "conv", "stem"})):
        found = randomized(variables, layers, KEY, top)
        for name, leaf in variables.items():
            assert (found[name] != leaf).any() == (name in shuffled)
            np.testing.assert_array_equal(np.sort(found[name].ravel()), np.sort(leaf.ravel()))


def entropy(values):
    counts = np.histogram(values, bins=100)[0]
    return stats.entropy(counts)


def test_scores_are_what_numpy_says(variables):
    rng = np.random.default_rng(3)
    mixing = rng.standard_normal((4, 6, 6, 6)).astype(np.float32)

    def explain(variables):
        return {"mixed": jnp.asarray(mixing) @ variables["head"], "zeros": jnp.zeros(IMAGES.shape)}

    ones = variables | {"head": jnp.ones((6, 2))}
    found = model_randomization(explain, toys.cnn, ones, IMAGES, key=KEY)
    np.testing.assert_allclose(found["mixed"].correlation, 1, atol=1e-5)
    variables = variables | {"head": jnp.asarray(rng.standard_normal((6, 2)), jnp.float32)}
    found = model_randomization(explain, toys.cnn, variables, IMAGES, key=KEY)
    layers = layer_numbers(toys.cnn, variables, IMAGES)
    after = explain(randomized(variables, layers, KEY, 1))["mixed"]
    before = explain(variables)["mixed"]
    for b in range(4):
        for score, change in enumerate((np.asarray, np.abs)):
            expected = stats.spearmanr(change(before[b]).ravel(), change(after[b]).ravel())
            np.testing.assert_allclose(
                found["mixed"].correlation[b, 0, score], expected.statistic, atol=1e-5
            )
        rise = entropy(after[b]) / entropy(before[b]) - 1
        np.testing.assert_allclose(found["mixed"].entropy_rise[b], rise, atol=0.02)
    assert (found["zeros"].correlation == 0).all()
    assert jnp.isnan(found["zeros"].entropy_rise).all()


def test_random_numbers_are_at_chance(variables):
    """New random numbers for each network: no correlation, and the same entropy."""
    images = np.random.default_rng(0).random((200, 6, 6, 1), np.float32)

    def explain(variables):
        seed = jax.lax.bitcast_convert_type(variables["head"].ravel() @ jnp.arange(18.0), jnp.int32)
        return {"random": jax.random.normal(jax.random.fold_in(KEY, seed), images.shape)}

    found = model_randomization(explain, toys.cnn, variables, images, key=KEY)["random"]
    for scores in (found.correlation.reshape(200, -1), found.entropy_rise[:, None]):
        error = np.asarray(scores.std(0)) / np.sqrt(200)
        assert (np.abs(scores.mean(0)) < 4 * error).all()
