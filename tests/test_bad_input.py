"""Wrong values of many kinds for every argument: an error that begins with the argument's name."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import signsal_jax
from signsal_jax import accelerate, evaluations, gradients, models, sharding, statistics
from signsal_jax.evaluations import insertion_curve
from tests import toys

pytestmark = pytest.mark.usefixtures("no_typecheck")

IMAGES = np.full((2, 4, 5, 3), 0.5, np.float32)
MAPS = np.random.default_rng(0).random((2, 4, 5)).astype(np.float32)
EXTREMA = signsal_jax.ClassExtrema(
    np.zeros((2, 3), np.float32), np.zeros(2, np.int32), *[IMAGES] * 2, None, IMAGES, None
)
RAGGED = [[1.0], [1.0, 2.0]]
OBJECTS = np.asarray([None, "x"], object)

# By kind of argument. The values are wrong for every argument of that kind.
NOT_CALLABLE = [None, "x", 3, IMAGES]
NOT_IMAGES = [None, "x", 3, RAGGED, OBJECTS, IMAGES + 0j, IMAGES[0], IMAGES > 0, IMAGES[:0]]
NOT_REAL = [None, "x", RAGGED, OBJECTS, {"a": 1}, 1j]
NOT_A_NAME = [None, "x", "", 3, True, ["max"], np.ones(2), b"max"]
NOT_A_FLAG = [None, "no", "", 1, 0.0, np.ones(2), []]
NOT_A_PRECISION = ["x", 3, 1.5, ["highest"], np.ones(2)]
NOT_METHODS = [None, "active", 3, [], ["active", "active"], ["x"], [3], [None], {"x": 1}, [[]]]
NOT_FRACTIONS = [
    *(None, "x", 0.5, [], RAGGED, OBJECTS, ["0.5"], [True, False], [0.5 + 0j], [[0.5]]),
    *([float("nan")], [-0.1], [1.1], [float("inf")]),
]
NOT_A_CHUNK = [0, -1, 1.0, "x", True, [1], np.ones(2)]
NOT_CLASSES = ["x", 1.5, [0.5], [None], RAGGED, [True], [99], [-1], 1j, {"a": 1}]
NOT_RIVALS = [None, 0, 3, -1, [], [1, 1], *NOT_CLASSES]
NOT_A_KEY = [None, "x", 3, 1.5, np.ones(2), jnp.ones(2), jax.random.split(jax.random.key(0))]
NOT_A_COUNT = [None, "x", 0, -1, 1.5, True, [1], 2**70, float("inf")]
NOT_A_SHARE = [None, "x", 0, 1, -0.5, float("nan"), float("inf"), True, [0.5], 0.5j]
NOT_A_NOISE = [None, "x", -1.0, float("nan"), float("inf"), True, 1j, [0.1]]
NOT_A_BASELINE = [*NOT_REAL, True, np.ones((2, 2))]
NOT_AN_ESTIMATOR = [None, "plain", 3, signsal_jax.plain, toys.mlp]
NOT_A_FILL = [
    *(None, "gray", 1j, RAGGED, OBJECTS, {"a": 1}, np.ones(7, np.float32)),
    *((IMAGES * 255).astype(np.uint8), np.uint8(255), IMAGES > 0),
]
NOT_VALUES = [None, "x", 3, IMAGES, {"a": None}, {"a": IMAGES + 0j}, {"a": IMAGES[0]}]
NOT_MAPS = [*NOT_REAL, MAPS + 0j, MAPS[0], MAPS[None], MAPS[:, :0]]

CLASSIFIER = {"apply_fn": toys.mlp, "variables": toys.mlp_variables(0, 3, 60), "images": IMAGES}
GRADIENT = {"apply_fn": NOT_CALLABLE, "images": NOT_IMAGES, "precision": NOT_A_PRECISION}
GRADIENT |= {"estimator": NOT_AN_ESTIMATOR}
DELETION = {**CLASSIFIER, "maps": MAPS}
PERTURBED = {"apply_fn": NOT_CALLABLE, "images": NOT_IMAGES, "precision": NOT_A_PRECISION}
PERTURBED |= {"fractions": NOT_FRACTIONS, "rule": NOT_A_NAME}
KEY = jax.random.key(0)


class Empty(nnx.Module):
    def __call__(self, images):
        return images.mean((1, 2))


class NotCallable(nnx.Module):
    def __init__(self):
        self.weight = nnx.Param(jnp.ones(2))


# Function, arguments that are right, and by name values that are wrong.
CASES = [
    (signsal_jax.two_class, {"apply_fn": toys.mlp}, {"apply_fn": NOT_CALLABLE}),
    (
        signsal_jax.signed_jacobian,
        CLASSIFIER,
        {**GRADIENT, "classes": NOT_CLASSES, "class_chunk": NOT_A_CHUNK},
    ),
    (
        signsal_jax.class_extrema,
        CLASSIFIER,
        {
            **GRADIENT,
            "target": [None, *NOT_CLASSES],
            "rivals": NOT_RIVALS,
            "class_chunk": NOT_A_CHUNK,
            "output": NOT_A_NAME,
            "through": NOT_A_NAME,
        },
    ),
    (
        gradients.resolve_through,
        {"through": "auto", **CLASSIFIER},
        {
            "through": NOT_A_NAME,
            "apply_fn": NOT_CALLABLE,
            "images": NOT_IMAGES,
            "estimator": NOT_AN_ESTIMATOR,
            "output": NOT_A_NAME,
        },
    ),
    (gradients.narrowest_cut, CLASSIFIER, {"apply_fn": NOT_CALLABLE, "images": NOT_IMAGES}),
    (
        signsal_jax.saliency_maps,
        CLASSIFIER,
        {
            **GRADIENT,
            "target": [None, *NOT_CLASSES],
            "rivals": NOT_RIVALS,
            "class_chunk": NOT_A_CHUNK,
            "output": NOT_A_NAME,
            "methods": NOT_METHODS,
            "channel": NOT_A_NAME,
            "ties": NOT_A_NAME,
            "normalize": NOT_A_FLAG,
            "through": NOT_A_NAME,
        },
    ),
    (
        signsal_jax.class_contrast,
        CLASSIFIER,
        {**GRADIENT, "target": [None, *NOT_CLASSES], "against": NOT_A_NAME, "strength": NOT_REAL},
    ),
    (
        statistics.jacobian_statistics,
        {**CLASSIFIER, "mesh": sharding.make_mesh(jax.devices()[:1])},
        {
            **GRADIENT,
            "class_chunk": NOT_A_CHUNK,
            "statistics": [value for value in NOT_METHODS if value != "active"],
            "mesh": [None, "x", 3, jax.devices()],
        },
    ),
    (
        gradients.sharded_extrema,
        {**CLASSIFIER, "mesh": sharding.make_mesh(jax.devices()[:1])},
        {
            **GRADIENT,
            "target": [None, *NOT_CLASSES],
            "class_chunk": NOT_A_CHUNK,
            "through": NOT_A_NAME,
            "mesh": [None, "x", 3, jax.devices()],
        },
    ),
    (accelerate, {}, {"apply_fn": NOT_CALLABLE}),
    (
        signsal_jax.smooth_grad,
        {"key": KEY},
        {
            "key": NOT_A_KEY,
            "samples": NOT_A_COUNT,
            "noise": NOT_A_NOISE,
        },
    ),
    *(
        (make, {"key": KEY}, {"key": NOT_A_KEY, "samples": NOT_A_COUNT, "noise": NOT_A_NOISE})
        for make in (signsal_jax.smooth_grad_squared, signsal_jax.var_grad)
    ),
    (
        signsal_jax.occlusion,
        {},
        {
            "window": NOT_A_COUNT,
            "stride": [*NOT_A_COUNT, 9],
            "baseline": [*NOT_REAL, np.inf, np.nan],
        },
    ),
    (
        signsal_jax.rise,
        {"key": KEY},
        {
            "key": NOT_A_KEY,
            "samples": NOT_A_COUNT,
            "cells": NOT_A_COUNT,
            "kept": [*NOT_REAL, 0.0, 1.5, np.nan],
        },
    ),
    (
        signsal_jax.lrp,
        {},
        {
            "rules": NOT_A_NAME,
            "epsilon": [*NOT_REAL, -1.0, np.inf, np.nan],
            "gamma": [*NOT_REAL, -1.0, np.inf, np.nan],
            "alpha": [*NOT_REAL, 0.5, np.inf, np.nan],
        },
    ),
    (
        signsal_jax.gradients.register_lrp_rule,
        {"primitive": "sin", "rule": "passed"},
        {"primitive": [None, "", 3], "rule": NOT_A_NAME},
    ),
    (signsal_jax.full_grad, {}, {"signed": [None, 1, "yes"]}),
    (
        signsal_jax.guided_integrated_gradients,
        {},
        {
            "steps": NOT_A_COUNT,
            "baseline": NOT_A_BASELINE,
            "fraction": [*NOT_REAL, 0.0, 1.5, np.nan],
            "max_distance": [*NOT_REAL, -0.1, 1.5, np.nan],
        },
    ),
    (signsal_jax.layer_cam, {}, {"layer": [None, 3, b"features"]}),
    (signsal_jax.rect_grad, {}, {"percentile": [*NOT_REAL, -1.0, 100.5, np.nan]}),
    (
        signsal_jax.integrated_gradients,
        {},
        {"steps": NOT_A_COUNT, "baseline": NOT_A_BASELINE},
    ),
    (signsal_jax.path_gradient, {}, {"steps": NOT_A_COUNT, "baseline": NOT_A_BASELINE}),
    (signsal_jax.gradient_x_input, {}, {"baseline": NOT_A_BASELINE}),
    (
        signsal_jax.blur_integrated_gradients,
        {},
        {"steps": NOT_A_COUNT, "max_sigma": [0, *NOT_A_NOISE]},
    ),
    (
        signsal_jax.expected_gradients,
        {"key": KEY, "baselines": IMAGES},
        {
            "key": NOT_A_KEY,
            "baselines": [*NOT_REAL, IMAGES[0], IMAGES[:0], IMAGES + 0j],
            "samples": NOT_A_COUNT,
        },
    ),
    (signsal_jax.grad_cam, {}, {"layer": [None, "", 3, True, ["x"], b"x"]}),
    (signsal_jax.hires_cam, {}, {"layer": [None, "", 3, True, ["x"], b"x"]}),
    (
        signsal_jax.completeness_gap,
        {"attributions": IMAGES, "score": MAPS[0, 0], "baseline_score": 0.0},
        {
            "attributions": [*NOT_REAL, IMAGES[0], IMAGES + 0j],
            "score": [*NOT_REAL, 1.0, MAPS, [1j]],
            "baseline_score": [*NOT_REAL, MAPS, 1j],
        },
    ),
    (
        signsal_jax.kept_gradient,
        {"method": "active", "gradient": IMAGES, "highest": IMAGES},
        {
            "method": NOT_A_NAME,
            "gradient": [*NOT_REAL, IMAGES[0], IMAGES + 0j],
            "highest": [*NOT_REAL, IMAGES[:1], IMAGES + 0j],
            "ties": NOT_A_NAME,
        },
    ),
    (
        signsal_jax.runner_up,
        {"method": "active", "extrema": EXTREMA},
        {"method": [*NOT_A_NAME, "vanilla"], "extrema": [None, "x", 3, IMAGES, (1, 2)]},
    ),
    (
        signsal_jax.maps_from_extrema,
        {"extrema": EXTREMA},
        {
            "extrema": [None, "x", 3, IMAGES, (1, 2)],
            "methods": NOT_METHODS,
            "channel": NOT_A_NAME,
            "normalize": NOT_A_FLAG,
            "ties": NOT_A_NAME,
        },
    ),
    (
        signsal_jax.reduce_channels,
        {"kept": IMAGES},
        {"kept": [*NOT_REAL, IMAGES + 0j, IMAGES[0], IMAGES[..., :0]], "channel": NOT_A_NAME},
    ),
    (
        signsal_jax.normalize_maps,
        {"maps": MAPS},
        {"maps": [*NOT_REAL, MAPS + 0j, MAPS[0], 1.0, MAPS[:, :0]]},
    ),
    (
        signsal_jax.fidelity,
        {"agreement": MAPS[0] > 0.5},
        {
            "agreement": [None, "x", 1.0, MAPS, RAGGED, OBJECTS, True],
            "mask": ["x", 1.0, MAPS[0], RAGGED, OBJECTS, True, np.ones(9, bool)],
        },
    ),
    (
        signsal_jax.auc,
        {"curve": [1.0, 0.5], "fractions": [0.0, 0.9]},
        {
            "curve": [*NOT_REAL, 1.0, [1.0], [1.0, 0.5, 0.5], [1j, 2j]],
            "fractions": [*NOT_FRACTIONS, [0.9, 0.0], [0.5, 0.5], [0.5]],
        },
    ),
    (
        signsal_jax.bootstrap_interval,
        {"key": KEY, "values": MAPS[0]},
        {
            "key": NOT_A_KEY,
            "values": [*NOT_REAL, 1.0, [], [1j]],
            "confidence": NOT_A_SHARE,
            "num_resamples": NOT_A_COUNT,
        },
    ),
    (
        signsal_jax.paired_difference,
        {"key": KEY, "first": MAPS[0], "second": MAPS[1]},
        {
            "key": NOT_A_KEY,
            "first": [*NOT_REAL, 1.0, []],
            "second": [*NOT_REAL, 1.0, [], MAPS],
            "confidence": NOT_A_SHARE,
            "num_resamples": NOT_A_COUNT,
        },
    ),
    (
        signsal_jax.delete,
        {"images": IMAGES, "mask": MAPS > 0.5},
        {
            "images": NOT_IMAGES,
            "mask": [None, "x", 1, MAPS, RAGGED, OBJECTS, MAPS[0] > 0.5],
            "fill": NOT_A_FILL,
        },
    ),
    (
        signsal_jax.deletion_masks,
        {"maps": MAPS},
        {"maps": NOT_MAPS[:-2] + NOT_MAPS[-1:], "fractions": NOT_FRACTIONS, "rule": NOT_A_NAME},
    ),
    (signsal_jax.deletion_curve, DELETION, {**PERTURBED, "maps": NOT_MAPS, "fill": NOT_A_FILL}),
    (insertion_curve, DELETION, {**PERTURBED, "maps": NOT_MAPS, "canvas": NOT_A_FILL}),
    (
        signsal_jax.evaluate_deletion,
        {**CLASSIFIER, "maps": {"a": MAPS}, "curves": [("black", "a")]},
        {
            **PERTURBED,
            "maps": [None, "x", 3, MAPS, {"a": None}, {"a": MAPS + 0j}, {"a": MAPS[0]}],
            "curves": [None, "x", 3, ["ab"], [("x", "a")], [("black", "x")], [(None, "a")], [3]],
            "fills": [None, "x", 3, MAPS],
        },
    ),
    (
        evaluations.linear_imputation,
        {"images": IMAGES, "mask": MAPS > 0.5, "key": KEY},
        {
            "images": NOT_IMAGES,
            "mask": [None, "x", 1, MAPS, RAGGED, OBJECTS, MAPS[0] > 0.5],
            "key": NOT_A_KEY,
            "noise": NOT_A_NOISE,
        },
    ),
    (
        evaluations.gini,
        {"maps": MAPS},
        {"maps": NOT_MAPS},
    ),
    (
        evaluations.patch_deletion,
        {**CLASSIFIER, "values": {"a": IMAGES}, "target": np.zeros(2, int)},
        {
            "apply_fn": NOT_CALLABLE,
            "images": NOT_IMAGES,
            "precision": NOT_A_PRECISION,
            "values": NOT_VALUES,
            "fill": NOT_A_FILL,
            "grid": [*NOT_A_COUNT, 1, 99],
        },
    ),
    (
        evaluations.infidelity,
        {**CLASSIFIER, "values": {"a": IMAGES}, "target": np.zeros(2, int), "key": KEY},
        {
            "apply_fn": NOT_CALLABLE,
            "images": NOT_IMAGES,
            "values": NOT_VALUES,
            "key": NOT_A_KEY,
            "perturbation": NOT_A_NAME,
            "samples": NOT_A_COUNT,
        },
    ),
    (
        signsal_jax.check_images,
        {"images": IMAGES},
        {"images": [*NOT_IMAGES, IMAGES * 255, -IMAGES, IMAGES * np.nan, IMAGES * np.inf]},
    ),
    (
        signsal_jax.from_nnx,
        {"model": None},
        {"model": [None, "x", 3, toys.mlp, Empty, Empty(), NotCallable(), nnx.Module()]},
    ),
    (
        models.create,
        {"name": "cnn", "num_classes": 2},
        {
            "name": NOT_A_NAME,
            "num_classes": [*NOT_A_COUNT, 1, 10**9],
            "in_features": [*NOT_A_COUNT, 10**9],
            "key": NOT_A_KEY[1:],
        },
    ),
    (
        models.load,
        {"name": "cifar_resnet20", "weights": "nowhere"},
        {
            "name": NOT_A_NAME,
            "weights": [None, 3, b"x", [1], IMAGES],
            "preprocess": NOT_A_FLAG,
            "class_names": ["names", 3, b"x", [1, 2], [None]],
        },
    ),
]


def wrong_values():
    for function, right, wrong in CASES:
        for argument, values in wrong.items():
            for number, value in enumerate(values):
                name = f"{function.__name__}-{argument}-{number}-{type(value).__name__}"
                yield pytest.param(function, {**right, argument: value}, argument, id=name)


@pytest.mark.parametrize(("function", "arguments", "argument"), [*wrong_values()])
def test_wrong_values_are_named(function, arguments, argument):
    with pytest.raises((TypeError, ValueError)) as raised:
        function(**arguments)
    message = str(raised.value)
    assert message.startswith(argument), message
    assert "expected" in message
    assert "got" in message or argument == "weights"
    assert len(message) < 1000


def test_every_public_function_is_here():
    there = {function.__name__ for function, _, _ in CASES}
    public = {
        name
        for name in dir(signsal_jax)
        if isinstance(getattr(signsal_jax, name), types.FunctionType) and not name.startswith("_")
    }
    assert public - there <= {
        "plain",
        "open_study",
        "extra",
        "mean_of",
        "guided_backprop",
        "deconvnet",
    }, public - there


def test_a_map_that_is_not_finite_is_flagged():
    maps = np.stack([MAPS[0]] * 4)
    maps[1, 0, 0], maps[2, 1, 1], maps[3] = np.inf, np.nan, -np.inf
    scaled, empty = jax.jit(signsal_jax.normalize_maps)(maps)
    assert empty.tolist() == [False, True, True, True]
    assert np.isnan(scaled).all((1, 2)).tolist() == [False, True, True, True]
    assert np.isfinite(scaled[0]).all()
