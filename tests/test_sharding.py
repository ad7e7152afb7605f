import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from signsal_jax import class_extrema, maps_from_extrema, models, sharding
from signsal_jax.gradients import sharded_extrema
from signsal_jax.study import StudyConfig, study_step
from tests import toys

MESHES = [(1, 1, 2), (8, 1, None), (8, 2, 2), (3, 3, None)]


def extrema(apply_fn, variables, images, devices, class_devices, **options):
    mesh = sharding.make_mesh(jax.devices()[:devices], class_devices=class_devices)

    @jax.jit
    def run(variables, images):
        return sharded_extrema(apply_fn, variables, images, mesh=mesh, **options)

    return jax.device_get(run(sharding.replicate(mesh, variables), sharding.place(mesh, images)))


def expected(jacobian, target):
    """Gradient, highest, its class, lowest, its class; straight from the definition."""
    others = np.array(jacobian)
    gradient = others[np.arange(len(target)), target]
    others[np.arange(len(target)), target] = np.nan
    return (
        gradient,
        np.nanmax(others, 1),
        np.nanargmax(others, 1),
        np.nanmin(others, 1),
        np.nanargmin(others, 1),
    )


@pytest.mark.parametrize(("devices", "class_devices", "class_chunk"), MESHES)
def test_sharded_extrema_are_those_of_the_jacobian(devices, class_devices, class_chunk):
    images = np.asarray(toys.random_images(0, (8 if devices != 3 else 3, 4, 4, 2)))
    variables = toys.mlp_variables(1, 7, 32)
    jacobian = toys.oracle_jacobian(toys.mlp, variables, images)
    result = extrema(toys.mlp, variables, images, devices, class_devices, class_chunk=class_chunk)
    logits = toys.mlp(variables, jnp.asarray(images))
    toys.assert_close(result.logits, logits)
    target = np.asarray(logits).argmax(1)
    np.testing.assert_array_equal(result.target, target)
    gradient, highest, highest_class, lowest, lowest_class = expected(jacobian, target)
    toys.assert_close(result.gradient, gradient)
    toys.assert_close(result.highest, highest)
    toys.assert_close(result.lowest, lowest)
    np.testing.assert_array_equal(result.highest_class, highest_class)
    np.testing.assert_array_equal(result.lowest_class, lowest_class)


@pytest.mark.parametrize(("devices", "class_devices"), [(8, 1), (8, 8)])
def test_any_mesh_gives_the_same_bits_where_the_arithmetic_is_the_same(devices, class_devices):
    """Linear scores: the gradients are the weights, so that nothing can round differently."""
    images = np.asarray(toys.random_images(2, (8, 4, 4, 2)))
    rng = np.random.default_rng(3)
    weights = (rng.integers(-3, 4, (10, 4, 4, 2)).astype(np.float32), np.zeros(10, np.float32))
    one = extrema(toys.linear, weights, images, 1, 1, target=3)
    many = extrema(toys.linear, weights, images, devices, class_devices, target=3)
    for name, value in one._asdict().items():
        if name != "logits":
            np.testing.assert_array_equal(getattr(many, name), value, err_msg=name)
    # Integer weights tie often: the lowest class index wins, whichever device holds it.
    others = np.delete(weights[0], 3, axis=0)
    first = others.argmax(0)
    np.testing.assert_array_equal(many.highest_class[0], first + (first >= 3))


def test_convolutions_and_pooling():
    """Their derivatives are written out, and must say over which devices they differ."""
    apply_fn, variables = models.from_nnx(models.create("cnn", 5))
    images = np.asarray(toys.random_images(9, (4, 16, 16, 3)))
    single = jax.jit(lambda v, x: class_extrema(apply_fn, v, x, target=2))(variables, images)
    result = extrema(apply_fn, variables, images, 8, 2, target=2)
    for name in ("logits", "gradient", "highest", "lowest"):
        toys.assert_close(getattr(result, name), getattr(single, name), 1e-4)


def test_a_target_for_each_image():
    images = np.asarray(toys.random_images(4, (8, 4, 4, 2)))
    variables = toys.mlp_variables(5, 7, 32)
    target = np.arange(8) % 7
    jacobian = toys.oracle_jacobian(toys.mlp, variables, images)
    result = extrema(toys.mlp, variables, images, 8, 2, target=target)
    np.testing.assert_array_equal(result.target, target)
    for actual, wanted in zip(result[2:7], expected(jacobian, target), strict=True):
        toys.assert_close(actual, wanted)


def test_a_nan_gradient_is_seen_on_every_device():
    images = np.asarray(toys.random_images(6, (4, 2, 2, 1)))
    weights = np.ones((8, 2, 2, 1), np.float32)
    weights[5, 0, 0, 0] = np.nan
    result = extrema(toys.linear, (weights, np.zeros(8, np.float32)), images, 8, 4, target=0)
    assert np.isnan(result.highest[:, 0, 0, 0]).all()
    assert np.isnan(result.lowest[:, 0, 0, 0]).all()
    np.testing.assert_array_equal(result.highest[:, 1:], 1)


def test_no_jacobian_is_exchanged_and_the_forward_runs_once():
    mesh = sharding.make_mesh(jax.devices()[:8], class_devices=4)
    apply_fn, counts = toys.counted(toys.mlp)
    images = sharding.place(mesh, np.asarray(toys.random_images(7, (4, 8, 8, 3))))
    variables = sharding.replicate(mesh, toys.mlp_variables(8, 40, 192))
    settings = {"mesh": mesh, "class_chunk": 2, "through": "scores"}
    step = jax.jit(lambda v, x: sharded_extrema(apply_fn, v, x, **settings))
    text = step.lower(variables, images).as_text()
    assert counts[0] == 1
    assert "all_gather" not in text
    assert "all_to_all" not in text


def test_mesh_and_batch_that_do_not_fit():
    with pytest.raises(ValueError, match=r"class_devices: expected a divisor of 8 .* got 3"):
        sharding.make_mesh(class_devices=3)
    mesh = sharding.make_mesh(jax.devices()[:8])
    with pytest.raises(ValueError, match="expected a multiple of the mesh's 8 along data, got 6"):
        sharded_extrema(toys.mlp, None, jnp.zeros((6, 2, 2, 1)), mesh=mesh)
    with pytest.raises(ValueError, match="expected at most 2 rows, got 3"):
        sharding.pad(np.zeros(3), 2)


def test_padding_keeps_rows_in_place_and_is_masked():
    rows = np.arange(6, dtype=np.float32).reshape(3, 2)
    padded, mask = sharding.pad(rows, 5)
    np.testing.assert_array_equal(padded[mask], rows)
    assert padded.shape == (5, 2)
    assert mask.sum() == 3


def test_what_is_not_a_number_is_one_on_no_device():
    """A NaN logit, and a NaN pixel that the classifier swallows, with classes split."""
    variables, images = toys.mlp_variables(0, 6, 24), toys.random_images(1, (4, 3, 4, 2))
    images = images.at[1, 0, 0, 0].set(jnp.nan)

    def apply_fn(variables, images):
        logits = toys.mlp(variables, jnp.where(images > 0.01, images, 0))
        return logits + jnp.where(images[:, :1, 0, 1] == 2, jnp.nan, 0)

    images = images.at[2, 0, 0, 1].set(2)
    found = extrema(apply_fn, variables, np.asarray(images), 8, 2, target=3)
    one = jax.device_get(class_extrema(apply_fn, variables, images, target=3))
    for result in (found, one):
        assert np.isnan(result.logits).all(1).tolist() == [False, False, True, False]
        assert np.isnan(result.gradient).all((1, 2, 3)).tolist()[:2] == [False, True]
    valid = maps_from_extrema(jax.tree.map(jnp.asarray, found)).valid
    assert valid.tolist() == [True, False, False, True]


def test_a_study_finds_the_same_images_invalid():
    variables, images = toys.mlp_variables(0, 6, 24), toys.random_images(1, (4, 3, 4, 2))
    images = images.at[1, 0, 0, 0].set(jnp.nan)
    mesh = sharding.make_mesh(jax.devices()[:4], class_devices=2)

    def apply_fn(variables, images):
        return toys.mlp(variables, jnp.where(images > 0.01, images, 0))

    for methods in (("vanilla",), ("active",)):
        config = StudyConfig("none", store=("maps",), methods=methods)
        step = jax.jit(functools.partial(study_step, apply_fn, config=config, mesh=mesh))
        found = step(variables, images, jnp.zeros(4, jnp.int32))
        assert found["valid"].tolist() == [True, False, True, True]
