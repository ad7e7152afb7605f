"""The insertion benchmark against an implementation in NumPy, pixel by pixel."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from signsal_jax.evaluations import blur, insertion_curve
from tests import toys

FRACTIONS = (0.0, 0.1, 0.3, 0.6, 1.0)
SHAPE = (4, 16, 18, 3)


def numpy_blur(images):
    """The weighted mean of all pixels around each, weights by distance."""
    _, height, width, _ = images.shape
    deviation = min(height, width) / 16
    rows, columns = np.arange(height), np.arange(width)
    result = np.zeros(images.shape)
    for y in rows:
        for x in columns:
            vertical = np.exp(-((rows - y) ** 2) / (2 * deviation**2))
            horizontal = np.exp(-((columns - x) ** 2) / (2 * deviation**2))
            weights = vertical[:, None] * horizontal[None]
            weights /= weights.sum()
            result[:, y, x] = (images * weights[None, :, :, None]).sum((1, 2))
    return result


def numpy_inserted(image, saliency, canvas, fraction, rule):
    """The canvas with the most salient pixels of the image, and their share."""
    canvas = np.array(canvas)
    count = round(fraction * saliency.size)
    places = sorted(np.ndindex(*saliency.shape), key=lambda place: (-saliency[place], place))
    if rule == "exact":
        chosen = places[:count]
    else:
        threshold = saliency[places[count]] if count < saliency.size else -np.inf
        chosen = [place for place in places if saliency[place] > threshold and saliency[place] != 0]
    for place in chosen:
        canvas[place] = image[place]
    return canvas, len(chosen) / saliency.size


@pytest.fixture(scope="module")
def batch():
    generator = np.random.default_rng(0)
    images = generator.random(SHAPE, np.float32)
    maps = generator.random(SHAPE[:3], np.float32)
    maps[maps < 0.4] = 0  # sparse, like the signed maps
    maps[0, 0] = maps[0, 0, 0]  # ties
    variables = toys.mlp_variables(3, 6, 864)
    # Hardly sees the overall brightness, so that predictions hang on single pixels; but does see
    # it, so that those of a white canvas do not hang on rounding.
    variables["hidden"] -= 0.99 * variables["hidden"].mean(0, keepdims=True)
    return variables, images, maps


@pytest.mark.parametrize(
    ("canvas", "rule"),
    [("black", "paper"), ("white", "exact"), ("blurred", "paper"), ("image", "exact")],
)
def test_insertion_is_what_numpy_says(batch, canvas, rule):
    variables, images, maps = batch
    other = np.random.default_rng(1).random(SHAPE[1:], np.float32)
    filled = {
        "black": np.zeros(SHAPE),
        "white": np.ones(SHAPE),
        "blurred": numpy_blur(images),
        "image": np.broadcast_to(other, SHAPE),
    }[canvas].astype(np.float32)
    given = other if canvas == "image" else canvas
    curve = jax.jit(
        lambda variables, images, maps: insertion_curve(
            toys.mlp, variables, images, maps, canvas=given, fractions=FRACTIONS, rule=rule
        )
    )(variables, images, maps)
    predicted = np.asarray(toys.mlp(variables, images)).argmax(1)
    agreement = np.zeros((4, len(FRACTIONS)), bool)
    inserted = np.zeros((4, len(FRACTIONS)))
    for row in range(4):
        for place, fraction in enumerate(FRACTIONS):
            image, share = numpy_inserted(images[row], maps[row], filled[row], fraction, rule)
            logits = np.asarray(toys.mlp(variables, jnp.asarray(image[None])))
            agreement[row, place] = logits.argmax() == predicted[row]
            inserted[row, place] = share
    np.testing.assert_array_equal(curve.agreement, agreement)
    np.testing.assert_allclose(curve.inserted, inserted, rtol=1e-6)
    assert curve.valid.all()
    assert 0.1 < agreement.mean() < 1
    if rule == "exact":  # the whole image at the end
        assert agreement[:, -1].all()


def test_blur(batch):
    _, images, _ = batch
    np.testing.assert_allclose(blur(images), numpy_blur(images), rtol=1e-5)


def test_what_is_no_number_is_flagged(batch):
    variables, images, maps = batch
    spoiled = images.copy()
    spoiled[1] = np.nan
    broken = maps.copy()
    broken[2, 0, 0] = np.nan
    curve = insertion_curve(toys.mlp, variables, spoiled, broken, fractions=FRACTIONS)
    assert curve.valid.tolist() == [True, False, False, True]


@pytest.mark.usefixtures("no_typecheck")
def test_mistakes(batch):
    variables, images, maps = batch
    for changes, message in (
        ({"canvas": "gray"}, "canvas: expected one of black, white, blurred; got 'gray'"),
        ({"maps": maps[:, :4]}, r"expected the images' shape \(4, 16, 18\)"),
        ({"fractions": [1.5]}, r"fractions: expected numbers in \[0, 1\]"),
        ({"rule": "best"}, "rule: expected one of paper, exact, completed; got 'best'"),
    ):
        arguments = {"maps": maps, **changes}
        with pytest.raises(ValueError, match=message):
            insertion_curve(toys.mlp, variables, images, **arguments)
