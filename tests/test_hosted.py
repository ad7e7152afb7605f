"""The loop over class chunks on the host gives the numbers of the one compiled program."""

import jax
import numpy as np
import pytest

from signsal_jax import sharding
from signsal_jax.gradients import (
    HostedExtrema,
    HostedFeatures,
    class_extrema,
    narrowest_cut,
    smooth_grad,
)
from tests import toys

IMAGES, CLASSES = toys.random_images(1, (2, 6, 5, 3)), 7


@pytest.fixture(scope="module")
def network():
    return toys.cnn, toys.cnn_variables(0, CLASSES, 3)


@pytest.fixture(scope="module")
def expected(network):
    """The extrema by definition, of the whole Jacobian."""
    apply_fn, variables = network
    jacobian = np.asarray(toys.oracle_jacobian(apply_fn, variables, IMAGES))
    target = np.asarray(apply_fn(variables, IMAGES)).argmax(1)
    rivals = np.stack([np.delete(rows, own, 0) for rows, own in zip(jacobian, target, strict=True)])
    return target, jacobian[np.arange(2), target], rivals.max(1), rivals.min(1)


@pytest.mark.parametrize("class_chunk", [None, 1, 3, 20])
def test_any_chunk_is_the_definition_and_the_whole(network, expected, class_chunk):
    ticks = []
    extrema = HostedExtrema(network[0], class_chunk=class_chunk)(network[1], IMAGES, ticks.append)
    whole = jax.jit(lambda variables, images: class_extrema(network[0], variables, images))(
        network[1], IMAGES
    )
    assert sum(ticks) == CLASSES
    assert len(ticks) == -(-CLASSES // (class_chunk or CLASSES))
    np.testing.assert_array_equal(extrema.target, expected[0])
    for found, wanted in zip(
        (extrema.gradient, extrema.highest, extrema.lowest), expected[1:], strict=True
    ):
        toys.assert_close(found, wanted)
    for name in whole._fields:
        if getattr(whole, name) is None:
            assert getattr(extrema, name) is None
        elif name.endswith("class") or name == "target":
            np.testing.assert_array_equal(getattr(extrema, name), getattr(whole, name))
        else:
            toys.assert_close(getattr(extrema, name), getattr(whole, name), 1e-6)


def test_one_forward_pass_and_one_compilation(network):
    apply_fn, counts = toys.counted(network[0])
    hosted = HostedExtrema(apply_fn, class_chunk=2, target=3)
    for _ in range(2):
        assert hosted(network[1], IMAGES, lambda n: None).target.tolist() == [3, 3]
    jax.effects_barrier()
    assert counts == [1, 2]
    # Another shape is another program.
    assert hosted(network[1], IMAGES[:1], lambda n: None).gradient.shape == (1, 6, 5, 3)


def test_programs_have_no_callback(network):
    """JAX's persistent cache does not keep programs that call back into Python."""
    hosted = HostedExtrema(network[0], class_chunk=2)
    logits, target, *_, extrema, residuals = hosted._start(network[1], IMAGES)
    classes = np.arange(2, dtype=np.int32)
    for lowered in (
        hosted._start.lower(network[1], IMAGES),
        hosted._update.lower(residuals, logits, target, extrema, classes),
    ):
        assert "callback" not in lowered.as_text()


def test_any_estimator(network):
    settings = {"estimator": smooth_grad(jax.random.key(1), samples=3, noise=0.2), "target": 2}
    extrema = HostedExtrema(network[0], class_chunk=4, **settings)(
        network[1], IMAGES, lambda n: None
    )
    whole = jax.jit(
        lambda variables, images: class_extrema(network[0], variables, images, **settings)
    )(network[1], IMAGES)
    for name in ("gradient", "highest", "lowest"):
        toys.assert_close(getattr(extrema, name), getattr(whole, name), 1e-6)


@pytest.mark.parametrize("rivals", [3, [0, 2, 6]])
def test_rivals(network, rivals):
    ticks = []
    hosted = HostedExtrema(network[0], class_chunk=2, target=2, rivals=rivals)
    extrema = hosted(network[1], IMAGES, ticks.append)
    whole = jax.jit(
        lambda variables, images: class_extrema(
            network[0], variables, images, target=2, rivals=rivals
        )
    )(network[1], IMAGES)
    assert sum(ticks) == 4
    np.testing.assert_array_equal(extrema.rivals, whole.rivals)
    np.testing.assert_array_equal(extrema.highest_class, whole.highest_class)
    for name in ("gradient", "highest", "lowest"):
        toys.assert_close(getattr(extrema, name), getattr(whole, name), 1e-6)


@pytest.mark.parametrize(("class_devices", "rivals"), [(1, "all"), (4, "all"), (2, 3)])
def test_over_devices(network, class_devices, rivals):
    settings = {"class_chunk": 3, "rivals": rivals}
    images = np.concatenate([IMAGES, IMAGES[::-1], np.zeros_like(IMAGES), IMAGES * 0.5])
    images[5, 0, 0, 0] = np.nan
    mesh = sharding.make_mesh(jax.devices()[:8], class_devices=class_devices)
    ticks = []
    found = HostedExtrema(network[0], mesh=mesh, **settings)(
        network[1], sharding.place(mesh, np.asarray(images)), ticks.append
    )
    wanted = HostedExtrema(network[0], **settings)(network[1], images, lambda n: None)
    assert sum(ticks) == (CLASSES if rivals == "all" else 1 + rivals)
    for name in wanted._fields:
        pair = getattr(found, name), getattr(wanted, name)
        if name.endswith("class") or name == "target":
            np.testing.assert_array_equal(*pair)
        elif pair[1] is None:
            assert pair[0] is None
        else:
            np.testing.assert_allclose(*pair, rtol=1e-5, atol=1e-6)


def test_through_the_features():
    """Six features, which neither chunks nor devices divide."""
    variables = toys.cnn_variables(0, 70, 3)
    images = toys.random_images(1, (4, 6, 5, 3))
    mesh = sharding.make_mesh(jax.devices()[:8], class_devices=4)
    settings = {"target": 3, "rivals": 30, "contrasts": ("weighted",)}
    cut = narrowest_cut(toys.cnn, variables, images[:2])
    ticks = []
    hosted = HostedFeatures(toys.cnn, cut, mesh=mesh, class_chunk=4, **settings)
    found = hosted(
        sharding.replicate(mesh, variables), sharding.place(mesh, np.asarray(images)), ticks.append
    )
    assert sum(ticks) == cut.width == 6
    assert len(ticks) == 2
    wanted = jax.jit(
        lambda variables, images: class_extrema(
            toys.cnn, variables, images, through="scores", **settings
        )
    )(variables, images)
    for name in ("logits", "gradient", "highest", "lowest"):
        toys.assert_close(getattr(found, name), getattr(wanted, name))
    toys.assert_close(found.contrasts["weighted"], wanted.contrasts["weighted"])
    for name in ("target", "rivals", "highest_class", "lowest_class"):
        np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name))
