"""Deletion against an independent implementation of the paper's rule, pixel by pixel."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

import signsal_jax
from signsal_jax.evaluations import _curves
from tests import toys


def paper_masks(maps, fractions):
    """The paper's rule with Python's own sort and round, one image and one pixel at a time."""
    masks = np.zeros((len(fractions), *maps.shape), bool)
    for index, image in enumerate(np.asarray(maps, np.float64)):
        descending = sorted(image.ravel().tolist(), reverse=True)
        for step, fraction in enumerate(fractions):
            threshold = descending[round(fraction * image.size)]
            for place, value in np.ndenumerate(image):
                masks[(step, index, *place)] = value > threshold and value != 0
    return masks


def exact_masks(maps, fractions):
    """The first round(f·N) pixels of a list sorted by falling value, then by reading order."""
    masks = np.zeros((len(fractions), *maps.shape), bool)
    for index, image in enumerate(np.asarray(maps)):
        order = sorted(np.ndindex(image.shape), key=lambda place: (-image[place], place))
        for step, fraction in enumerate(fractions):
            for place in order[: round(fraction * image.size)]:
                masks[(step, index, *place)] = True
    return masks


def example_maps():
    """Continuous, coarse (many ties), sparse and empty maps of 5x7 pixels."""
    rng = np.random.default_rng(0)
    continuous, coarse = rng.random((5, 7)), rng.integers(0, 4, (5, 7)) / 3
    sparse = np.where(rng.random((5, 7)) < 0.2, rng.random((5, 7)), 0)
    return np.stack([continuous, coarse, sparse, np.zeros((5, 7))]).astype(np.float32)


@pytest.mark.parametrize(("rule", "independent"), [("paper", paper_masks), ("exact", exact_masks)])
def test_masks_are_the_independent_ones(rule, independent):
    maps = example_maps()
    fractions = [*signsal_jax.PAPER_FRACTIONS, 0.5 / 35, 1.5 / 35, 0.98]
    masks = signsal_jax.deletion_masks(maps, fractions=fractions, rule=rule)
    np.testing.assert_array_equal(masks, independent(maps, fractions))


def test_rounding_is_pythons_half_to_even():
    maps = jnp.arange(10.0, 0.0, -1.0).reshape(1, 2, 5)
    # 0.5 -> 0, 1.5 -> 2, 2.5 -> 2, 3.5 -> 4, 4.5 -> 4 of ten pixels.
    fractions = [0.05, 0.15, 0.25, 0.35, 0.45]
    for rule in ("paper", "exact"):
        masks = signsal_jax.deletion_masks(maps, fractions=fractions, rule=rule)
        assert masks.sum((1, 2, 3)).tolist() == [0, 2, 2, 4, 4]


def test_exact_rule_breaks_ties_in_reading_order():
    maps = jnp.asarray([[[0.5, 1.0, 0.5], [-0.0, 0.5, 0.0]]])
    masks = signsal_jax.deletion_masks(maps, fractions=np.arange(7) / 6, rule="exact")
    ranks = masks.shape[0] - masks.sum(0)
    assert ranks.tolist() == [[[2, 1, 3], [5, 4, 6]]]


def test_sparse_maps_flatten_under_the_papers_rule_only():
    maps = example_maps()[2:]
    share = np.mean(maps[0] > 0)
    assert 0 < share < 0.4
    fractions = [0.4, 0.5, 0.9, 1.0]
    paper = signsal_jax.deletion_masks(maps, fractions=fractions).mean((2, 3))
    np.testing.assert_allclose(paper, [[share, 0]] * 4, rtol=1e-6)
    exact = signsal_jax.deletion_masks(maps, fractions=fractions, rule="exact").sum((2, 3))
    assert exact.tolist() == [[14, 14], [18, 18], [32, 32], [35, 35]]


def test_paper_rule_can_delete_everything_but_zeros():
    maps = jnp.asarray([[[1.0, 1.0], [2.0, 0.0]]])
    masks = signsal_jax.deletion_masks(maps, fractions=[1.0])
    assert masks[0, 0].tolist() == [[True, True], [True, False]]


FILLS = {
    "black": np.zeros(()),
    "white": np.ones(()),
    "number": np.full((), 0.25),
    "channels": np.asarray([0.1, 0.2, 0.3]),
    "image": np.random.default_rng(1).random((5, 7, 3)),
    "per image": np.random.default_rng(2).random((4, 5, 7, 3)),
}


def given(name):
    return name if name in ("black", "white") else FILLS[name].astype(np.float32)


@pytest.mark.parametrize("name", FILLS)
def test_delete_writes_the_fill_into_all_channels(name):
    images = np.random.default_rng(0).random((4, 5, 7, 3), np.float32)
    mask = np.random.default_rng(1).random((4, 5, 7)) < 0.5
    expected, fill = images.copy(), np.broadcast_to(FILLS[name], images.shape)
    for place in np.argwhere(mask):
        expected[tuple(place)] = fill[tuple(place)]
    np.testing.assert_array_equal(signsal_jax.delete(images, mask, given(name)), expected)


@pytest.mark.parametrize(("rule", "at_once"), [("paper", 1), ("paper", 3), ("exact", 100)])
def test_curves_are_the_independent_ones(monkeypatch, rule, at_once):
    """Every fill: each changed image classified by itself, compared with its own prediction."""
    # How many curves the CPU classifies in one batch must not matter.
    monkeypatch.setattr(_curves, "_CPU_PIXELS", at_once * 4 * 5 * 7)
    variables = toys.mlp_variables(3, 6, 105)
    # Blind to the overall brightness, so that predictions hang on single pixels.
    variables["hidden"] -= variables["hidden"].mean(0, keepdims=True)
    images = np.random.default_rng(0).random((4, 5, 7, 3), np.float32)
    maps = example_maps()
    fractions = (0.0, 0.1, 0.3, 0.6, 0.9)
    masks = {"paper": paper_masks, "exact": exact_masks}[rule](maps, fractions)

    @jax.jit
    def evaluate(variables, images, maps):
        curves = signsal_jax.evaluate_deletion(
            toys.mlp,
            variables,
            images,
            {"map": maps},
            curves=[(name, "map") for name in FILLS],
            fills={name: given(name) for name in FILLS},
            fractions=fractions,
            rule=rule,
        )
        return {name: curves[name, "map"] for name in FILLS}

    curves = evaluate(variables, images, maps)
    predicted = np.asarray(toys.mlp(variables, images)).argmax(1)
    agreements = []
    for name, values in FILLS.items():
        changed = np.where(masks[..., None], values, images[None]).astype(np.float32)
        logits = np.asarray(toys.mlp(variables, changed.reshape(-1, 5, 7, 3)))
        expected = (logits.argmax(1).reshape(len(fractions), 4) == predicted).T
        np.testing.assert_array_equal(curves[name].agreement, expected)
        np.testing.assert_allclose(curves[name].deleted, masks.mean((2, 3)).T, rtol=1e-6)
        assert curves[name].valid.all()
        agreements.append(expected)
    assert 0.1 < np.mean(agreements) < 0.9


def test_one_curve_is_that_of_several():
    variables, images = toys.mlp_variables(0, 3, 35), toys.random_images(0, (4, 5, 7, 1))
    maps = example_maps()
    one = signsal_jax.deletion_curve(toys.mlp, variables, images, maps, fill=0.5)
    several = signsal_jax.evaluate_deletion(
        toys.mlp, variables, images, {"m": maps}, curves=[("g", "m")], fills={"g": 0.5}
    )
    assert one.agreement.shape == (4, len(signsal_jax.PAPER_FRACTIONS))
    jax.tree.map(np.testing.assert_array_equal, one, several["g", "m"])


def test_agreement_is_with_the_prediction_image_by_image():
    """A bright pixel decides for class 0; blackening it flips the image that has one."""

    def apply_fn(variables, images):
        brightest = images.max((1, 2, 3))
        return jnp.stack([brightest, jnp.full_like(brightest, 0.5)], axis=1)

    images = np.zeros((2, 1, 4, 1), np.float32)
    images[0, 0, 2] = 1
    maps = np.tile(np.asarray([[[0.1, 0.2, 0.9, 0.3]]], np.float32), (2, 1, 1))
    curve = signsal_jax.deletion_curve(apply_fn, (), images, maps, fractions=[0.0, 0.25])
    assert curve.agreement.tolist() == [[True, False], [True, True]]
    curve = signsal_jax.deletion_curve(
        apply_fn, (), images, maps, fill="white", fractions=[0.0, 0.25]
    )
    assert curve.agreement.tolist() == [[True, True], [True, False]]


@functools.partial(jax.jit, static_argnames="apply_fn")
def curve(variables, images, maps, apply_fn=toys.mlp):
    return signsal_jax.deletion_curve(apply_fn, variables, images, maps)


def test_padding_and_mask_change_nothing():
    variables, images = toys.mlp_variables(3, 6, 35), toys.random_images(0, (4, 5, 7, 1))
    maps = example_maps()
    whole = curve(variables, images, maps)
    padded = curve(
        variables,
        np.concatenate([images, np.ones((3, 5, 7, 1), np.float32)]),
        np.concatenate([maps, np.full((3, 5, 7), np.nan, np.float32)]),
    )
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[:4], b), padded, whole)
    mask = np.arange(7) < 4
    np.testing.assert_array_equal(
        signsal_jax.fidelity(padded.agreement, mask), signsal_jax.fidelity(whole.agreement)
    )


def test_nan_is_flagged_and_other_images_are_unaffected():
    variables, images = toys.mlp_variables(3, 6, 35), toys.random_images(0, (4, 5, 7, 1))
    maps = example_maps()
    clean = curve(variables, images, maps)
    assert clean.valid.all()
    broken = curve(
        variables, images.at[1, 0, 0, 0].set(jnp.nan), jnp.asarray(maps).at[2, 1, 1].set(jnp.nan)
    )
    assert broken.valid.tolist() == [True, False, False, True]
    for index in (0, 3):
        jax.tree.map(
            lambda a, b: np.testing.assert_array_equal(a[index], b[index]),  # noqa: B023
            broken,
            clean,
        )


def test_nan_logit_on_the_way_is_flagged():
    """The untouched images are fine; the classifier breaks down on a black one."""

    def apply_fn(variables, images):
        total = images.sum((1, 2, 3))
        return jnp.stack([total / total, -total], axis=1)

    images = np.asarray([[1, 1], [1, 0.5]], np.float32).reshape(2, 1, 2, 1)
    maps = np.asarray([[[1.0, 0.5]], [[1.0, 0.0]]], np.float32)
    found = signsal_jax.deletion_curve(apply_fn, (), images, maps, fractions=[0.0, 1.0])
    assert found.valid.tolist() == [False, True]


def test_no_retrace_for_the_same_shapes():
    variables, images = toys.mlp_variables(3, 6, 35), toys.random_images(0, (4, 5, 7, 1))
    apply_fn, counts = toys.counted(toys.mlp)
    step = jax.jit(lambda v, x, m: signsal_jax.deletion_curve(apply_fn, v, x, m))
    step(variables, images, example_maps())
    traces = counts[0]
    step(variables, images / 2, example_maps()[::-1])
    assert counts[0] == traces
    jax.effects_barrier()
    # Twice: the untouched images once, and one forward for each fraction that deletes anything.
    assert counts[1] == 2 * (1 + sum(fraction > 0 for fraction in signsal_jax.PAPER_FRACTIONS))


def test_shares_are_counted_in_full_precision():
    """bfloat16 images, more pixels than bfloat16 can count."""
    images = jnp.ones((1, 20, 30, 1), jnp.bfloat16)
    maps = jnp.arange(600.0).reshape(1, 20, 30)

    def apply_fn(variables, images):
        return images.reshape(len(images), -1)[:, :2]

    found = signsal_jax.deletion_curve(apply_fn, (), images, maps, fractions=[0.5, 0.9])
    np.testing.assert_allclose(found.deleted, [[300 / 600, 540 / 600]], rtol=1e-6)


@pytest.mark.usefixtures("no_typecheck")
class TestErrors:
    images = np.ones((2, 5, 7, 3), np.float32)
    maps = np.ones((2, 5, 7), np.float32)

    def curve(self, **options):
        arguments = {"images": self.images, "maps": self.maps} | options
        images, maps = arguments.pop("images"), arguments.pop("maps")
        variables = toys.mlp_variables(0, 3, 105)
        return signsal_jax.deletion_curve(toys.mlp, variables, images, maps, **arguments)

    @pytest.mark.parametrize(
        ("fractions", "error", "message"),
        [
            ([0, 1.01], ValueError, r"expected numbers in \[0, 1\], got 1.01"),
            ([-0.1], ValueError, r"expected numbers in \[0, 1\], got -0.1"),
            ([np.nan], ValueError, r"expected numbers in \[0, 1\], got nan"),
            ([], ValueError, r"expected a sequence of numbers, got shape \(0,\)"),
            (0.5, ValueError, r"expected a sequence of numbers, got shape \(\)"),
            (["a"], TypeError, r"expected numbers in \[0, 1\], got <U1"),
        ],
    )
    def test_fractions(self, fractions, error, message):
        with pytest.raises(error, match=f"fractions: {message}"):
            self.curve(fractions=fractions)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"rule": "papers"}, "rule: expected one of paper, exact, completed; got 'papers'"),
            ({"fill": "gray"}, "fill: expected one of black, white; got 'gray'"),
            (
                {"fill": np.ones(2)},
                r"fill: expected 'black', 'white', a number, one value per channel \[3\], "
                r"or an image \[5, 7, 3\], got shape \(2,\)",
            ),
            (
                {"maps": np.ones((2, 7, 5), np.float32)},
                r"expected the images' shape \(2, 5, 7\).*got \(2, 7, 5\)",
            ),
            (
                {"maps": np.ones((2, 5, 7, 3), np.float32)},
                r"expected the images' shape \(2, 5, 7\) \(reduce the channels first\), got",
            ),
            (
                {"images": np.ones((5, 7, 3), np.float32)},
                r"images: expected rank 4 .*got shape \(5, 7, 3\): add a batch axis",
            ),
        ],
    )
    def test_options(self, options, message):
        with pytest.raises(ValueError, match=message):
            self.curve(**options)

    def test_integer_images(self):
        with pytest.raises(TypeError, match=r"images: expected floating point .*got uint8"):
            self.curve(images=np.ones((2, 5, 7, 3), np.uint8))

    def test_unknown_curve(self):
        for pair, message in (
            (("gray", "vanilla"), r"curves \(fill\): expected one of black, white; got 'gray'"),
            (("black", "lime"), r"curves \(map, of `maps`\): expected one of vanilla; got 'lime'"),
        ):
            with pytest.raises(ValueError, match=message):
                signsal_jax.evaluate_deletion(
                    toys.mlp, {}, self.images, {"vanilla": self.maps}, curves=[pair]
                )

    def test_masks_and_delete(self):
        with pytest.raises(ValueError, match=r"maps: expected rank 3 .* got shape \(5, 7\)"):
            signsal_jax.deletion_masks(self.maps[0])
        with pytest.raises(ValueError, match=r"mask: expected the images' shape \(2, 5, 7\), got"):
            signsal_jax.delete(self.images, np.ones((5, 7), bool))
        with pytest.raises(TypeError, match="mask: expected booleans, got float32"):
            signsal_jax.delete(self.images, self.maps)

    def test_maps_and_curves_that_are_none(self):
        evaluate = functools.partial(signsal_jax.evaluate_deletion, toys.mlp, {}, self.images)
        with pytest.raises(TypeError, match=r"maps: expected a mapping by name.*, got ndarray"):
            evaluate(self.maps)
        for curves in (("black", "vanilla"), [("black",)], [3]):
            with pytest.raises(ValueError, match=r"curves: expected pairs \(fill, map\), got"):
                evaluate({"vanilla": self.maps}, curves=curves)


def test_a_symbolic_batch_exports():
    variables, images = toys.mlp_variables(0, 3, 24), toys.random_images(1, (3, 3, 4, 2))
    maps = {name: toys.random_images(2, (3, 3, 4)) for name in signsal_jax.METHODS}

    def evaluate(images, maps):
        curves = signsal_jax.evaluate_deletion(toys.mlp, variables, images, maps)
        return [tuple(curve) for curve in curves.values()]

    (batch,) = export.symbolic_shape("b")
    symbolic = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((batch, *leaf.shape[1:]), leaf.dtype), (images, maps)
    )
    found = export.export(jax.jit(evaluate))(*symbolic).call(images, maps)
    jax.tree.map(np.testing.assert_array_equal, found, evaluate(images, maps))
