"""Studies of maps beyond the paper's five: contrasts, and margin-valued maps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import signsal_jax
from signsal_jax import ALL_METHODS, sharding
from signsal_jax.evaluations import claimed_signs, small_step
from signsal_jax.study import StudyConfig, study_step
from tests import toys

SHAPE = (8, 4, 5, 2)


@pytest.fixture(scope="module")
def network():
    return toys.mlp_variables(0, 5, 40), toys.random_images(1, SHAPE)


def test_every_map_is_that_of_saliency_maps(network):
    """Split over images and classes; what it is compared with is computed on one device."""
    variables, images = network
    store = ("maps", "deletion", "runner_up", "small_step")
    config = StudyConfig(methods=ALL_METHODS, store=store, storage="float32", class_chunk=2)
    mesh = sharding.make_mesh(class_devices=2)
    labels = jnp.zeros(len(images), jnp.int32)
    found = jax.jit(
        lambda variables, images: study_step(
            toys.mlp, variables, images, labels, config=config, mesh=mesh
        )
    )(variables, images)
    contrasts = signsal_jax.CONTRASTS
    extrema = signsal_jax.class_extrema(toys.mlp, variables, images, contrasts=contrasts)
    saliency = signsal_jax.maps_from_extrema(extrema, methods=ALL_METHODS)
    for method in ALL_METHODS:
        toys.assert_close(found[f"map_{method}"], saliency.maps[method])
    assert {name for name in found if name.startswith("runner_up")} == {
        "runner_up_active",
        "runner_up_inactive",
    }
    # Every map but vanilla and the whole contrasts has one fill.
    assert len(config.curves) == len(ALL_METHODS) + 4
    assert found["agreement"].shape[1] == len(config.curves)
    for fill, method in (("black", "active_margin"), ("white", "max_contrast_negative")):
        curve = signsal_jax.deletion_curve(
            toys.mlp, variables, images, found[f"map_{method}"], fill=fill
        )
        place = config.curves.index((fill, method))
        np.testing.assert_array_equal(found["agreement"][:, place], curve.agreement)
    for place, method in enumerate(ALL_METHODS):
        expected = small_step(
            toys.mlp,
            variables,
            images,
            found[f"map_{method}"],
            claimed_signs(method, extrema),
            extrema.target,
            key=jax.random.key(config.control_seed),
        )
        np.testing.assert_allclose(found["step_change"][:, place], expected.change, atol=1e-5)


def test_contrasts_alone_need_no_other_class(network):
    """One pullback for the target and one for the contrast, whatever the number of classes."""
    config = StudyConfig(methods=("weighted_contrast_positive",), store=("maps",))
    calls = []

    class Counting:
        name, linear = "counting", True

        def __call__(self, apply_fn, variables, images, /, **settings):
            logits, pullback = signsal_jax.plain()(apply_fn, variables, images, **settings)

            def counted(cotangent):
                calls.append(1)
                return pullback(cotangent)

            return logits, counted

    mesh = sharding.make_mesh(jax.devices()[:1])
    labels = jnp.zeros(SHAPE[0], jnp.int32)
    study_step(toys.mlp, *network, labels, config=config, mesh=mesh, estimator=Counting())
    assert len(calls) == 2


def test_a_contrast_of_what_is_not_linear_is_refused_before_anything_runs():
    with pytest.raises(ValueError, match="linear in the class scores, which a contrast needs"):
        StudyConfig(methods=("mean_contrast",), estimator="guided_backprop")
