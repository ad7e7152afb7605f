"""Fidelity and areas in closed form; bootstrap intervals against the normal approximation."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import signsal_jax

KEY = jax.random.key(0)


def test_fidelity_by_hand():
    agreement = np.asarray([[True, True, False], [True, False, False], [True, True, True]])
    np.testing.assert_allclose(signsal_jax.fidelity(agreement), [1, 2 / 3, 1 / 3], rtol=1e-6)
    np.testing.assert_allclose(signsal_jax.fidelity(agreement[:, 1]), 2 / 3, rtol=1e-6)
    mask = np.asarray([True, True, False])
    assert signsal_jax.fidelity(agreement, mask).tolist() == [1, 0.5, 0]
    assert jnp.isnan(signsal_jax.fidelity(agreement, np.zeros(3, bool))).all()


def test_auc_by_hand():
    # Trapezoids of width 0.1, 0.3 and 0.5: 0.1·0.9 + 0.3·0.6 + 0.5·0.2.
    area = signsal_jax.auc([1.0, 0.8, 0.4, 0.0], [0.0, 0.1, 0.4, 0.9])
    np.testing.assert_allclose(area, 0.09 + 0.18 + 0.1, rtol=1e-6)


def test_auc_of_the_papers_fractions():
    fractions = np.asarray(signsal_jax.PAPER_FRACTIONS)
    np.testing.assert_allclose(signsal_jax.auc(np.ones(13), fractions), 0.9, rtol=1e-6)
    # The trapezoid rule is exact for a line: the integral of 1 - f from 0 to 0.9.
    np.testing.assert_allclose(signsal_jax.auc(1 - fractions, fractions), 0.495, rtol=1e-6)


def test_area_of_the_mean_is_the_mean_of_the_areas():
    agreement = np.random.default_rng(0).random((50, 13)) < 0.4
    areas = signsal_jax.auc(agreement, signsal_jax.PAPER_FRACTIONS)
    assert areas.shape == (50,)
    mean = signsal_jax.auc(signsal_jax.fidelity(agreement), signsal_jax.PAPER_FRACTIONS)
    np.testing.assert_allclose(areas.mean(), mean, rtol=1e-6)
    expected = np.trapezoid(agreement.mean(0), signsal_jax.PAPER_FRACTIONS)
    np.testing.assert_allclose(mean, expected, rtol=1e-6)


def test_same_key_same_interval():
    values = np.random.default_rng(0).random((40, 2))
    first, again, other = (
        signsal_jax.bootstrap_interval(key, values, num_resamples=100)
        for key in (KEY, KEY, jax.random.key(1))
    )
    jax.tree.map(np.testing.assert_array_equal, first, again)
    assert (first.low != other.low).all()
    np.testing.assert_array_equal(first.mean, other.mean)


@pytest.mark.parametrize(("confidence", "deviations"), [(0.95, 1.96), (0.8, 1.2816)])
def test_interval_is_the_normal_one_for_many_images(confidence, deviations):
    values = np.random.default_rng(0).standard_normal((2000, 2)) * [1, 10] + [0, 5]
    interval = signsal_jax.bootstrap_interval(
        KEY, values, confidence=confidence, num_resamples=2000
    )
    half_width = deviations * values.std(0) / np.sqrt(2000)
    np.testing.assert_allclose(interval.mean, values.mean(0), atol=1e-5)
    # 2000 resamples fix a 97.5 % quantile to about 3 standard errors of 3 % of the half width.
    for bound, sign in ((interval.low, -1), (interval.high, 1)):
        np.testing.assert_allclose((bound - values.mean(0)) * sign, half_width, rtol=0.1)


def test_coverage_of_the_true_mean():
    """Of 300 samples of 60 images each, about 95 % have the true mean in their interval."""
    agreements = jnp.asarray(np.random.default_rng(0).random((300, 60)) < 0.3)
    bootstrap = functools.partial(signsal_jax.bootstrap_interval, num_resamples=400)
    intervals = jax.jit(jax.vmap(bootstrap))(jax.random.split(KEY, 300), agreements)
    covered = jnp.mean((intervals.low <= 0.3) & (intervals.high >= 0.3))
    # Three standard errors of a share of 95 % in 300 are 3.8 %.
    assert 0.91 <= covered <= 0.99


def test_paired_difference_is_narrower_than_unpaired():
    """Two methods on the same images: what images have in common cancels."""
    rng = np.random.default_rng(0)
    common, noise = rng.standard_normal(500), rng.standard_normal(500)
    first, second = common + 0.1 * noise, common + 0.05
    paired = signsal_jax.paired_difference(KEY, first, second)
    expected = signsal_jax.bootstrap_interval(KEY, first - second)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), paired, expected)
    assert paired.high < 0
    half_width = 1.96 * 0.1 * noise.std() / np.sqrt(500)
    np.testing.assert_allclose(paired.high - paired.low, 2 * half_width, rtol=0.15)


def test_paired_difference_of_agreements():
    first, second = np.asarray([True, False, True, False]), np.asarray([False, True, True, True])
    assert signsal_jax.paired_difference(KEY, first, second).mean == -0.25
    same = signsal_jax.paired_difference(KEY, first, first)
    assert (float(same.low), float(same.high)) == (0, 0)


@pytest.mark.usefixtures("no_typecheck")
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: signsal_jax.fidelity(np.ones((3, 2), bool), np.ones(2, bool)),
            r"mask: expected shape \(3,\), got \(2,\)",
        ),
        (
            lambda: signsal_jax.auc([1.0, 0.5], [0.0, 1.5]),
            r"fractions: expected numbers in \[0, 1\], got 1.5",
        ),
        (
            lambda: signsal_jax.auc([1.0, 0.5], [0.5, 0.5]),
            r"fractions: expected at least two, increasing; got \[0.5 0.5\]",
        ),
        (
            lambda: signsal_jax.auc([1.0, 0.5, 0.1], [0.0, 0.5]),
            r"curve: expected 2 points along its last axis, got \(3,\)",
        ),
        (
            lambda: signsal_jax.bootstrap_interval(KEY, np.zeros((0, 2))),
            r"values: expected shape \[n, ...\] with n >= 1, got \(0, 2\)",
        ),
        (
            lambda: signsal_jax.bootstrap_interval(KEY, np.ones(3), confidence=95),
            r"confidence: expected a number in \(0, 1\), got 95",
        ),
        (
            lambda: signsal_jax.bootstrap_interval(KEY, np.ones(3), num_resamples=0),
            r"num_resamples: expected an integer in \[1, \d+\], got 0",
        ),
        (
            lambda: signsal_jax.paired_difference(KEY, np.ones(3), np.ones(4)),
            r"second: expected the shape of first, \(3,\), got \(4,\)",
        ),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_booleans_under_strict_promotion():
    agreement = np.random.default_rng(0).random((20, 3)) < 0.5
    expected = signsal_jax.bootstrap_interval(jax.random.key(0), agreement)
    area = signsal_jax.auc(agreement, [0.0, 0.5, 0.9])
    with jax.numpy_dtype_promotion("strict"):
        strict = signsal_jax.bootstrap_interval(jax.random.key(0), agreement)
        np.testing.assert_array_equal(strict.low, expected.low)
        np.testing.assert_array_equal(signsal_jax.auc(agreement, [0.0, 0.5, 0.9]), area)


@pytest.mark.usefixtures("no_typecheck")
def test_a_mask_of_numbers():
    with pytest.raises(TypeError, match="mask: expected booleans, got float"):
        signsal_jax.fidelity(np.ones((2, 3), bool), np.array([1, 0.5]))
