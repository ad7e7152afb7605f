"""Noisy linear imputation against a dense solution of its equations."""

import jax
import numpy as np
import pytest

from signsal_jax.evaluations import deletion_masks, linear_imputation

KEY = jax.random.key(0)
SIZE = 12


def dense(image, mask):
    """Every masked pixel is the weighted mean of its neighbors in the image, by elimination."""
    matrix = np.eye(SIZE**2)
    known = image.reshape(SIZE**2, -1).astype(np.float64)
    for place in np.flatnonzero(mask):
        row, column = divmod(place, SIZE)
        matrix[place] = known[place] = 0
        for dy, dx in np.ndindex(3, 3):
            y, x = row + dy - 1, column + dx - 1
            if (dy, dx) != (1, 1) and 0 <= y < SIZE and 0 <= x < SIZE:
                weight = 1 / 6 if 1 in (dy, dx) else 1 / 12
                matrix[place, y * SIZE + x] = -weight
                matrix[place, place] += weight
    return np.linalg.solve(matrix, known).reshape(image.shape)


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).random((3, SIZE, SIZE, 2), np.float32)


@pytest.fixture(scope="module")
def masks():
    """Scattered pixels, few and nearly all, and one half of the image at a time."""
    maps = np.random.default_rng(1).random((3, SIZE, SIZE), np.float32)
    maps[2] = np.arange(SIZE**2).reshape(SIZE, SIZE)
    return np.asarray(deletion_masks(maps, fractions=[0.1, 0.5, 0.9], rule="exact"))


def test_pixels_are_the_weighted_means_of_their_neighbors(images, masks):
    for mask in masks:
        found = np.asarray(linear_imputation(images, mask, key=KEY, noise=0.0))
        for image, where, values in zip(images, mask, found, strict=True):
            # A step of an 8-bit pixel, and less than half of the noise.
            assert np.abs(dense(image, where) - values).max() < 1 / 255
            np.testing.assert_array_equal(values[~where], image[~where])


def test_noise_is_added_where_pixels_are_imputed(images, masks):
    mask = masks[1]
    still, noisy = (
        np.asarray(linear_imputation(images, mask, key=KEY, noise=noise)) for noise in (0.0, 0.1)
    )
    difference = (noisy - still)[mask]
    assert difference.std() == pytest.approx(0.1, rel=0.15)
    assert (noisy == still)[~mask].all()


def test_an_image_does_not_depend_on_its_batch(images, masks):
    whole = linear_imputation(images, masks[1], key=KEY)
    for row in range(3):
        alone = linear_imputation(images[row : row + 1], masks[1][row : row + 1], key=KEY)
        np.testing.assert_allclose(alone[0], whole[row], atol=1e-5)


def test_nothing_known_is_nothing_imputed(images):
    found = linear_imputation(images, np.full((3, SIZE, SIZE), True), key=KEY, noise=0.0)
    assert (found == 0).all()


@pytest.mark.usefixtures("no_typecheck")
def test_wrong_arguments(images):
    mask = np.full((3, SIZE, SIZE), True)
    with pytest.raises(ValueError, match="noise: expected at least 0 and finite, got -1"):
        linear_imputation(images, mask, key=KEY, noise=-1)
    with pytest.raises(ValueError, match="mask: expected the images' shape"):
        linear_imputation(images, mask[:1], key=KEY)
