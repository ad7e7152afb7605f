"""The precision asked for reaches every product: the networks', their pullbacks' and deletion's.

Rounding cannot be seen on a CPU, whose products are exact in either case; the program handed to the
compiler can.
"""

import re

import jax
import numpy as np
import pytest

import signsal_jax
from signsal_jax.evaluations.deletion import PAPER_CURVES
from tests import toys


def maps_of(variables, images, **settings):
    """Streamed over classes."""
    return signsal_jax.saliency_maps(toys.cnn, variables, images, class_chunk=2, **settings)


def deletion_of(variables, images, **settings):
    maps = {name: images.mean(3) for _, name in PAPER_CURVES}
    return signsal_jax.evaluate_deletion(toys.cnn, variables, images, maps, **settings)


def jacobian_of(variables, images, **settings):
    return signsal_jax.signed_jacobian(toys.cnn, variables, images, **settings)


def extrema_of(variables, images, **settings):
    target = np.zeros(len(images), np.int32)
    return signsal_jax.class_extrema(toys.cnn, variables, images, target=target, **settings)


@pytest.mark.parametrize("function", [maps_of, deletion_of, jacobian_of, extrema_of])
@pytest.mark.parametrize(
    ("settings", "expected"),
    [({}, "HIGHEST"), ({"precision": "default"}, "DEFAULT"), ({"precision": None}, "HIGH")],
)
def test_every_product_has_it(function, settings, expected):
    variables, images = toys.cnn_variables(0, 4, 3), toys.random_images(1, (2, 8, 8, 3))
    with jax.default_matmul_precision("high"):
        program = jax.jit(lambda v, x: function(v, x, **settings)).lower(variables, images)
    products = re.findall(r"stablehlo\.(?:dot_general|convolution).*", program.as_text())
    assert products
    # The default of the language itself is not spelled out.
    found = [set(re.findall(r"DEFAULT|HIGHEST|HIGH", line)) or {"DEFAULT"} for line in products]
    assert found == [{expected}] * len(products)
