"""Rival, patches, infidelity, sensitivity, sparsity: against NumPy, in closed form, at chance."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import signsal_jax
from signsal_jax import data, evaluations, models, sharding, study
from signsal_jax.evaluations import _ranks
from signsal_jax.evaluations.claims import claimed_signs, claimed_values
from tests import toys

SHAPE = (6, 8, 8, 3)
TARGET = np.asarray([0, 1, 2, 3, 0, 1])
KEY = jax.random.key(3)
CHANCE = 300


@pytest.fixture(scope="module")
def linear():
    """A linear network, images, and the gradients and signs that it really has."""
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((4, *SHAPE[1:]), np.float32)
    variables = weights, np.zeros(4, np.float32)
    images = rng.random(SHAPE, np.float32)
    extrema = signsal_jax.class_extrema(toys.linear, variables, images, target=TARGET)
    return variables, images, extrema


@pytest.fixture(scope="module")
def chance():
    """Many images of a linear network whose weights know nothing of the random maps."""
    rng = np.random.default_rng(1)
    shape = (CHANCE, 8, 8, 1)
    variables = rng.standard_normal((4, *shape[1:]), np.float32), np.zeros(4, np.float32)
    values = rng.standard_normal(shape, np.float32)
    return variables, rng.random(shape, np.float32), values, rng.integers(4, size=CHANCE)


def at_chance(values, expected):
    """The mean over images is what chance gives, within four standard errors."""
    values = np.asarray(values, np.float64)
    error = values.std() / np.sqrt(len(values))
    assert abs(values.mean() - expected) < 4 * error


def margins(weights, images, target):
    logits = np.einsum("bhwc,khwc->bk", images, weights)
    return np.take_along_axis(logits, target[:, None], 1) - logits


def test_ranks_are_those_of_scipy():
    from scipy import stats

    rng = np.random.default_rng(4)
    first = rng.integers(0, 5, (7, 20)).astype(np.float32)
    second = rng.random((7, 20), np.float32)
    found = _ranks.rank_correlation(jnp.asarray(first), jnp.asarray(second))
    expected = [stats.spearmanr(*pair).statistic for pair in zip(first, second, strict=True)]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    constant = _ranks.rank_correlation(jnp.ones((1, 4)), jnp.arange(4.0)[None])
    assert constant.tolist() == [0]


def test_an_active_pixel_raises_the_margin_to_every_class(linear):
    (weights, _), images, extrema = linear
    signs = np.asarray(claimed_signs("active", extrema))
    ranks = np.random.default_rng(2).random(SHAPE[:3], np.float32)
    found = evaluations.rival_step(
        toys.linear, linear[0], images, ranks, signs, TARGET, key=KEY, share=0.1, epsilon=0.1
    )
    claimed = (signs != 0).any(-1)
    order = np.argsort(np.where(claimed, -ranks, np.inf).reshape(6, -1), axis=1, kind="stable")
    chosen = np.zeros((6, 64), bool)
    np.put_along_axis(chosen, order[:, :6], True, 1)
    chosen = (chosen & claimed.reshape(6, -1)).reshape(6, 8, 8, 1)
    for way, factor in enumerate((1, -1)):
        moved = images + 0.1 * factor * np.where(chosen, signs, 0)
        change = margins(weights, moved, TARGET) - margins(weights, images, TARGET)
        rest = np.stack([np.delete(row, one) for row, one in zip(change, TARGET, strict=True)])
        expected = np.stack([(rest > 0).mean(1), rest.min(1), rest.mean(1)], 1)
        np.testing.assert_allclose(found.change[:, way], expected, atol=2e-5)
    assert (found.change[:, 0, 0] == 1).all()
    assert (found.change[:, 1, 0] == 0).all()
    assert found.valid.all()


def test_a_runner_up_is_the_class_against_which_its_pixels_help_least(linear):
    """In closed form: of all classes it has the gradient closest to the target's."""
    variables, images, extrema = linear
    for method, rivals in (("active", extrema.highest_class), ("inactive", extrema.lowest_class)):
        signs = np.asarray(claimed_signs(method, extrema))
        found = evaluations.rival_place(
            toys.linear, variables, images, signs, rivals, TARGET, key=KEY, groups=3
        )
        np.testing.assert_allclose(found.place, 0, atol=1e-6)
        assert (found.control > 0.1).all()
    # Opposite signs turn the order round; a map that keeps nothing has no place.
    signs = np.where(np.arange(6).reshape(6, 1, 1, 1) == 0, 0, signs)
    opposite = evaluations.rival_place(
        toys.linear, variables, images, -signs, rivals, TARGET, key=KEY, groups=3
    )
    np.testing.assert_allclose(opposite.place[1:], 1, atol=1e-6)
    assert np.isnan(opposite.place[0])


def test_infidelity_is_what_numpy_says(linear):
    (weights, _), images, _ = linear
    gradient = weights[TARGET]
    rng = np.random.default_rng(5)
    values = {"true": gradient, "twice": 2 * gradient, "other": rng.standard_normal(SHAPE)}
    values = {name: array.astype(np.float32) for name, array in values.items()}
    settings = {"key": KEY, "samples": 3}
    found = evaluations.infidelity(
        toys.linear, linear[0], images, values, TARGET, perturbation="square", **settings
    )
    changes = []
    for key in jax.random.split(KEY, 3):
        corner = np.asarray(jax.random.randint(key, (2,), 0, jnp.asarray([7, 7])))
        change = np.zeros(SHAPE)
        where = np.s_[:, corner[0] : corner[0] + 2, corner[1] : corner[1] + 2]
        change[where] = images[where]
        changes.append(change)
    for name, array in values.items():
        predicted = np.stack([(change * array).sum((1, 2, 3)) for change in changes])
        actual = np.stack([(change * gradient).sum((1, 2, 3)) for change in changes])
        error = ((predicted - actual) ** 2).mean(0)
        np.testing.assert_allclose(found[name].infidelity, error, rtol=1e-3, atol=1e-4)
        norms = np.sqrt((predicted**2).sum(0) * (actual**2).sum(0))
        np.testing.assert_allclose(
            found[name].correlation, (predicted * actual).sum(0) / norms, atol=1e-4
        )
    np.testing.assert_allclose(found["twice"].correlation, 1, atol=1e-4)
    zeros = {"zeros": np.zeros(SHAPE, np.float32), "opposite": -gradient}
    found = evaluations.infidelity(toys.linear, linear[0], images, zeros, TARGET, **settings)
    assert (found["zeros"].correlation == 0).all()
    np.testing.assert_allclose(found["opposite"].correlation, -1, atol=1e-3)


def test_patches_are_ranked_as_numpy_says(linear):
    from scipy import stats

    (weights, _), images, _ = linear
    gradient = weights[TARGET]
    times = {"black": gradient * images, "white": gradient * (images - 1)}
    noise = np.random.default_rng(6).standard_normal(SHAPE).astype(np.float32)
    for fill, exact in times.items():
        values = {"exact": exact, "opposite": -exact, "noise": noise, "zeros": 0 * noise}
        found = evaluations.patch_deletion(
            toys.linear, linear[0], images, values, TARGET, fill=fill, grid=3
        )
        rows = np.arange(8) * 3 // 8
        groups = (rows[:, None] * 3 + rows[None]).ravel()
        sums = {
            name: np.stack(
                [array.sum(3).reshape(6, -1)[:, groups == g].sum(1) for g in range(9)], 1
            )
            for name, array in values.items()
        }
        np.testing.assert_allclose(found["exact"].correlation, 1, atol=1e-5)
        np.testing.assert_allclose(found["opposite"].correlation, -1, atol=1e-5)
        assert (found["zeros"].correlation == 0).all()
        for b in range(6):
            expected = stats.spearmanr(sums["noise"][b], sums["exact"][b]).statistic
            np.testing.assert_allclose(found["noise"].correlation[b], expected, atol=1e-5)


def test_sensitivity_of_what_changes_as_the_image_does():
    images = np.full((2, 3, 3, 1), 0.5, np.float32)

    def explain(images):
        return {"image": images, "constant": jnp.ones_like(images), "zeros": 0 * images}

    found = evaluations.max_sensitivity(explain, images, key=KEY, radius=0.1, samples=3)
    noises = [
        jax.random.uniform(key, (1, 3, 3, 1), minval=-0.1, maxval=0.1)
        for key in jax.random.split(KEY, 3)
    ]
    largest = max(float(np.linalg.norm(noise)) for noise in noises)
    np.testing.assert_allclose(found["image"], largest / np.linalg.norm(images[0]), rtol=1e-5)
    assert (found["constant"] == 0).all()
    assert (found["zeros"] == 0).all()


def test_the_gini_index_in_closed_form():
    ascending = np.arange(1.0, 13.0).reshape(1, 3, 4)
    pairs = np.abs(ascending.ravel()[:, None] - ascending.ravel()[None]).mean()
    found = evaluations.gini(ascending.astype(np.float32))
    np.testing.assert_allclose(found, pairs / (2 * ascending.mean()), rtol=1e-6)
    at_chance(evaluations.gini(np.random.default_rng(0).random((300, 16, 16), np.float32)), 1 / 3)


def test_maps_of_random_numbers_are_at_chance(chance):
    variables, images, values, target = chance
    signs, ranks = np.sign(values).astype(np.int8), np.abs(values[..., 0])
    given = toys.linear, variables, images

    @jax.jit
    def found():
        step = evaluations.rival_step(*given, ranks, signs, target, key=KEY, share=0.2)
        rivals = jax.random.randint(KEY, images.shape, 0, 4)
        place = evaluations.rival_place(
            *given, signs, jnp.where(rivals == target[:, None, None, None], -1, rivals), target,
            key=KEY,
        )  # fmt: skip
        settings = {"key": KEY, "samples": 4}
        predicted = [
            evaluations.infidelity(
                *given, {"random": values}, target, perturbation=perturbation, **settings
            )["random"].correlation
            for perturbation in evaluations.PERTURBATIONS
        ]
        ranks_of = evaluations.patch_deletion(*given, {"random": values}, target)
        return step.change, place.place, predicted, ranks_of["random"].correlation

    change, place, predicted, correlation = found()
    for way in range(2):
        at_chance(change[:, way, 0], 0.5)
        at_chance(change[:, way, 2], 0)
    at_chance(place[~jnp.isnan(place)], 0.5)
    for values in (*predicted, correlation):
        at_chance(values, 0)

    def explain(images):
        # Other random numbers for every image that is not the same bit by bit.
        seed = jax.lax.bitcast_convert_type(images.sum(), jnp.int32)
        return {"random": jax.random.normal(jax.random.fold_in(KEY, seed), images.shape)}

    sensitivity = evaluations.max_sensitivity(explain, images, key=KEY, samples=1)["random"]
    np.testing.assert_allclose(sensitivity.mean(), np.sqrt(2), rtol=0.02)


STORED = (
    *("rival", "rival_groups", "patches", "infidelity", "sensitivity", "sparsity"),
    *("imputation", "randomization"),
)


def test_a_study_stores_what_the_functions_return(tmp_path):
    rng = np.random.default_rng(7)
    pixels = rng.integers(0, 256, SHAPE, np.uint8)
    variables = toys.mlp_variables(1, 4, 8 * 8 * 3)
    source = data.Arrays(pixels, np.arange(6) % 4)
    dataset = data.Dataset("noise", "test", tuple("abcd"), SHAPE[1:], source)
    model = models.Model(toys.mlp, variables, dataset.class_names, SHAPE[1:], {})
    methods = ("active", "mean_contrast")
    settings = {"methods": methods, "chunk": 8, "control_seed": 5, "fractions": (0.3, 0.8)}
    settings["mesh"] = sharding.make_mesh(jax.devices()[:1])
    store = study.evaluate(model, dataset, tmp_path / "study", store=STORED, **settings)
    stored, names = store.arrays(), store.manifest["names"]
    images = jnp.asarray(pixels / np.float32(255))
    given, key = (toys.mlp, variables, images), jax.random.key(5)

    def explain(images, target="predicted"):
        extrema = signsal_jax.class_extrema(
            toys.mlp, variables, images, target=target, contrasts=["mean"]
        )
        return extrema, {method: claimed_values(method, extrema) for method in methods}

    extrema, values = explain(images)
    maps = signsal_jax.maps_from_extrema(extrema, methods=methods).maps
    for index, method in enumerate(methods):
        signs = claimed_signs(method, extrema)
        step = evaluations.rival_step(*given, maps[method], signs, extrema.target, key=key)
        np.testing.assert_allclose(stored["rival_change"][:, index], step.change, atol=2e-6)
        np.testing.assert_allclose(
            stored["sparsity"][:, index], evaluations.gini(maps[method]), atol=1e-6
        )
    assert names["rival_way"] == list(evaluations.RIVAL_WAYS)
    signs = claimed_signs("inactive", extrema)
    place = evaluations.rival_place(*given, signs, extrema.lowest_class, extrema.target, key=key)
    np.testing.assert_allclose(stored["rival_place"][:, 1, 0], place.place, atol=1e-6)
    np.testing.assert_allclose(stored["rival_place"][:, 1, 1], place.control, atol=1e-6)
    noise_key = jax.random.split(key, 2)[0]
    found = evaluations.infidelity(*given, values, extrema.target, key=noise_key)
    np.testing.assert_allclose(
        stored["infidelity"][:, 0, 0, 1], found["active"].correlation, atol=1e-4
    )
    opposite = {method: -array for method, array in values.items()}
    white = evaluations.patch_deletion(*given, opposite, extrema.target, fill="white")
    np.testing.assert_allclose(
        stored["patch_ranks"][:, 1, 1], white["mean_contrast"].correlation, atol=1e-5
    )
    assert names["patch_map"] == [*methods, *evaluations.PATCH_CONTROLS]
    sensitivity = evaluations.max_sensitivity(
        lambda images: explain(images, extrema.target)[1], images, key=key
    )
    for index, method in enumerate(methods):
        np.testing.assert_allclose(stored["sensitivity"][:, index], sensitivity[method], rtol=1e-3)

    def of_weights(variables):
        found = signsal_jax.class_extrema(
            toys.mlp, variables, images, target=extrema.target, contrasts=["mean"]
        )
        return {method: claimed_values(method, found) for method in methods}

    random = evaluations.model_randomization(of_weights, toys.mlp, variables, images, key=key)
    for index, method in enumerate(methods):
        np.testing.assert_allclose(
            stored["randomization"][:, index], random[method].correlation, atol=2e-3
        )
        np.testing.assert_allclose(
            stored["entropy_rise"][:, index], random[method].entropy_rise, atol=1e-2
        )

    def linear(images, mask):
        return evaluations.linear_imputation(images, mask, key=key)

    for fill, filling in (("linear", linear), ("blurred", evaluations.blur(images))):
        curve = signsal_jax.deletion_curve(
            *given, maps["active"], fill=filling, fractions=settings["fractions"]
        )
        row = names["imputed_curve"].index(f"{fill} active")
        np.testing.assert_array_equal(stored["imputed_agreement"][:, row], curve.agreement)
        np.testing.assert_allclose(stored["imputed_deleted"][:, row], curve.deleted, rtol=1e-6)
