"""The accuracy of published weights: counting."""

import numpy as np

from scripts import published_accuracy
from signsal_jax import data
from signsal_jax.models import Model


def test_every_image_counts_once():
    # The brightest of three pixels is the class; of five images the last two are labelled wrongly.
    labels = np.array([0, 1, 2, 0, 1], np.int32)
    images = np.zeros((5, 1, 3, 1), np.uint8)
    images[np.arange(5), 0, [0, 1, 2, 1, 2]] = 255
    source = data.Arrays(images, labels)
    dataset = data.Dataset("dots", "test", ("a", "b", "c"), (1, 3, 1), source)
    model = Model(lambda _, x: x[:, 0, :, 0], (), ("a", "b", "c"), (1, 3, 1), {})
    for batch_size in (2, 5, 8):
        found = published_accuracy.accuracy(model, dataset, batch_size)
        np.testing.assert_allclose(found, 3 / 5)
