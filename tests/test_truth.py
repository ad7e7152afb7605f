"""The benchmark with known truth: scenes, effects of marks, scores and the network set by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import signsal_jax
from signsal_jax import truth
from signsal_jax.truth import render, samples as drawing, tasks
from signsal_jax.truth.explain import MAPS, known, score_map

COUNT = 48


@pytest.fixture(scope="module", params=["bright", "position", "suppressor"])
def drawn(request):
    task = truth.TASKS[request.param]
    draw = jax.jit(lambda: truth.batch(task, "test", 0, COUNT))
    samples = draw()
    return task, samples, np.asarray(jax.jit(jax.vmap(truth.render_scene))(samples.scene))


def numpy_image(scene, index):
    """Draws mark by mark."""
    image = np.asarray(scene.background[index]).copy()
    for m, amplitude in enumerate(np.asarray(scene.amplitude[index])):
        row, column = np.divmod(int(scene.cell[index, m]), render.SIZE // render.CELL)
        stamp = render.STAMPS[int(scene.shape[index, m])][..., None]
        at = tuple(slice(render.CELL * i, render.CELL * (i + 1)) for i in (row, column))
        image[at] += amplitude * stamp * np.asarray(scene.color[index, m])
    return image


def test_images_are_their_scenes_and_within_range(drawn):
    _, samples, images = drawn
    for index in range(COUNT):
        np.testing.assert_allclose(images[index], numpy_image(samples.scene, index), atol=1e-6)
    # A mark made brighter or darker does not leave the range either.
    assert images.min() - render.STEP >= 0
    assert images.max() + render.STEP <= 1


def test_scenes_are_drawn_and_rendered_within_one_program_the_same(drawn):
    """XLA on CPU once read memory here that it had not written."""
    task, _, images = drawn
    fused = jax.jit(lambda: jax.vmap(truth.render_scene)(truth.batch(task, "test", 0, COUNT).scene))
    for _ in range(5):
        np.testing.assert_allclose(np.asarray(fused()), images, atol=1e-6)


def test_the_class_has_the_highest_score_by_the_gap(drawn):
    task, samples, _ = drawn
    strength = np.asarray(samples.scene.amplitude) * task.signs
    scores = strength @ task.design.T
    np.testing.assert_allclose(np.asarray(samples.scores), scores, atol=1e-6)
    label = np.asarray(samples.label)
    own = scores[np.arange(COUNT), label]
    scores[np.arange(COUNT), label] = -np.inf
    assert (own - scores.max(1) >= tasks.GAP - 1e-6).all()
    assert {*label} == set(range(task.classes))


def test_suppressors_say_nothing_of_the_class():
    """The same numbers give the same blue marks whatever the class; either color may be missing."""
    task = truth.TASKS["suppressor"]
    numbers = jax.random.uniform(jax.random.key(0), (400, tasks.NUMBERS))
    drawn = [np.asarray(jax.vmap(task.strengths, (0, None))(numbers, at)) for at in jnp.arange(4)]
    for label, strengths in enumerate(drawn):
        red, blue = strengths[:, :4], strengths[:, 4:]
        assert np.array_equal(blue, drawn[0][:, 4:])
        assert (red.argmax(1) == label).mean() < 0.95
        assert ((red - blue).argmax(1) == label).all()
        assert ((red == 0) & (blue > 0)).any()
        assert ((red > 0) & (blue == 0)).any()


def test_marks_share_no_pixel(drawn):
    _, samples, _ = drawn
    marks = np.asarray(jax.vmap(truth.footprints)(samples.scene))
    assert set(np.unique(marks.max(-1).sum(1))) == {0, 1}


def test_splits_and_streams_have_no_key_in_common():
    keys = np.concatenate(
        [
            jax.random.key_data(drawing.keys_of(split, jnp.arange(100), stream))
            for split in drawing.SPLITS
            for stream in range(3)
        ]
    )
    assert len(np.unique(keys, axis=0)) == len(keys)
    with pytest.raises(ValueError, match="split: expected one of train, test"):
        drawing.keys_of("validation", jnp.arange(2))


def numpy_pixel_scores(values, true):
    """One image by the definitions: thresholds at each distinct value; ties share places."""
    values, true = values.ravel(), true.ravel()
    count, precision, taken, hits = true.sum(), 0.0, 0, 0.0
    for value in np.unique(values)[::-1]:
        group = values == value
        chosen = values >= value
        precision += (group & true).sum() / count * true[chosen].mean()
        places = min(group.sum(), count - taken)
        hits += max(places, 0) * true[group].mean()
        taken += group.sum()
    return values[true].sum() / values.sum(), hits / count, precision, count / values.size


@pytest.mark.parametrize("levels", [3, 1000])
def test_pixel_scores(levels):
    rng = np.random.default_rng(levels)
    values = (rng.integers(0, levels, (6, 5, 7)) / levels).astype(np.float32)
    true = rng.random((6, 5, 7)) < 0.3
    found = truth.pixel_scores(jnp.asarray(values), jnp.asarray(true))
    for index in range(6):
        expected = numpy_pixel_scores(values[index], true[index])
        np.testing.assert_allclose([score[index] for score in found], expected, rtol=1e-5)


def test_nothing_to_score_is_nan():
    values = jnp.ones((1, 2, 2)).at[0, 0, 0].set(2)
    assert np.isnan([*truth.pixel_scores(values, jnp.zeros((1, 2, 2), bool))]).all()
    assert np.isnan(truth.pixel_scores(0 * values, values > 1).mass[0])


@pytest.mark.usefixtures("no_typecheck")
def test_wrong_shapes_are_named():
    values, marks = jnp.ones((1, 2, 2, 1)), jnp.ones((1, 3, 2, 2, 1))
    with pytest.raises(ValueError, match="true: expected shape"):
        truth.pixel_scores(values[..., 0], jnp.ones((1, 2, 3), bool))
    with pytest.raises(ValueError, match="marks: expected"):
        truth.sign_scores(values, marks[:, :, :1], jnp.ones((1, 3)))
    with pytest.raises(ValueError, match="named: expected"):
        truth.rival_scores(jnp.ones((1, 2, 3), int), marks, jnp.ones((1, 3), int))


def test_a_random_map_scores_at_chance(drawn):
    task, samples, images = drawn
    values = jax.random.normal(jax.random.key(3), images.shape)
    named = jax.random.randint(jax.random.key(4), images.shape[:3], 0, task.classes)
    about = MAPS["active"]._replace(direction=0)
    scores = {
        k: np.asarray(v)
        for k, v in score_map(about, (values, named), *known(task, samples)).items()
    }
    chance = scores.pop("chance")

    def near(found, expected):
        """Within four standard errors over images; marks are independent as well."""
        found = found[np.isfinite(found)]
        assert abs(found.mean() - expected) < 4 * found.std() / np.sqrt(len(found))

    near(scores["mass"] - chance, 0)
    near(scores["rank"] - chance, 0)
    near(scores["sign_pixels"], 0.5)
    near(scores["sign_marks"], 0.5)
    near(scores["rival"], 1 / task.classes)


@pytest.fixture(scope="module", params=["bright", "dark", "absence", "shared"])
def anchored(request):
    task = truth.TASKS[request.param]
    apply_fn, variables = truth.anchor(task)

    @jax.jit
    def compute():
        samples = truth.batch(task, "test", 0, COUNT)
        images = jax.vmap(truth.render_scene)(samples.scene)
        extrema = signsal_jax.class_extrema(
            apply_fn, variables, images, target=samples.label, contrasts=["mean"]
        )
        effects = truth.measured_effects(apply_fn, variables, samples)
        return samples, extrema, effects, truth.design_effects(task, samples)

    return task, *compute()


def test_the_anchor_does_what_the_design_says(anchored):
    _, samples, extrema, effects, design = anchored
    right = extrema.logits.argmax(1) == samples.label
    assert right.all()
    found = truth.agreement(effects, design, samples.scene.amplitude != 0, right)
    assert float(found.share) == 1
    assert float(found.leak) < 1e-5
    np.testing.assert_allclose(
        np.asarray(effects)[:, :, 0][samples.scene.amplitude != 0],
        np.asarray(design)[:, :, 0][samples.scene.amplitude != 0],
        atol=1e-4,
    )


def test_the_anchors_right_map_has_all_signs_right(anchored):
    """In closed form: the contrast on a mark is the design's, divided by the mark's pixels."""
    task, samples, extrema, _, _ = anchored
    marks, direction, _ = known(task, samples)
    contrast = extrema.contrasts["mean"]
    right = truth.sign_scores(contrast, marks, direction)
    wrong = truth.sign_scores(-contrast, marks, direction)
    assert (np.asarray(right.pixels) == 1).all()
    assert (np.asarray(right.marks)[np.asarray(direction) != 0] == 1).all()
    assert (np.asarray(wrong.pixels) == 0).all()
    others = np.arange(task.classes)[None] != np.asarray(samples.label)[:, None]
    margins = task.design[np.asarray(samples.label)][:, None] - task.design[None]
    wanted = (margins * others[..., None]).sum(1) / (task.classes - 1) * task.signs
    sums = np.einsum("bmhwc,bhwc->bm", marks, contrast)
    there = np.asarray(direction) != 0
    np.testing.assert_allclose(sums[there], tasks.SHARPNESS * wanted[there], rtol=1e-4)


def test_active_names_the_rival_of_a_mark(anchored):
    task, samples, extrema, _, _ = anchored
    marks, direction, rival = known(task, samples)
    for method, on in (("active", -1), ("inactive", 1)):
        asked = jnp.where(direction == on, rival, -1)
        _, named = signsal_jax.runner_up(method, extrema)
        scores = np.asarray(truth.rival_scores(named, marks, asked))
        assert (scores[np.asarray(asked) >= 0] == 1).all()


def test_the_anchor_refuses_colored_and_bound_marks():
    for name in ("color", "position"):
        with pytest.raises(ValueError, match="task: expected gray marks"):
            truth.anchor(truth.TASKS[name])
