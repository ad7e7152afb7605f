"""Bad input to the core: each mistake by its own message, with what was expected and got."""

import functools
import warnings
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import signsal_jax
from signsal_jax import _image_checks, data, sharding, study
from signsal_jax.models import Model
from tests import toys

IMAGES = np.full((2, 5, 6, 3), 0.5, np.float32)
VARIABLES = toys.mlp_variables(0, 4, 90)
FUNCTIONS = [signsal_jax.signed_jacobian, signsal_jax.class_extrema, signsal_jax.saliency_maps]
EXPLAINERS = FUNCTIONS[1:]

pytestmark = pytest.mark.usefixtures("no_typecheck")


def constant(logits):
    """A classifier that returns `logits` whatever it sees."""
    return lambda variables, images: logits


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        (
            IMAGES[0],
            ValueError,
            r"images: expected rank 4 \[batch, height, width, channels\], got shape \(5, 6, 3\): "
            r"add a batch axis",
        ),
        (IMAGES[0, 0], ValueError, r"images: expected rank 4 .*, got shape \(6, 3\)"),
        (
            IMAGES.transpose(0, 3, 1, 2),
            ValueError,
            r"images: expected channels last .* got shape \(2, 3, 5, 6\), which looks like NCHW",
        ),
        (
            (IMAGES * 255).astype(np.uint8),
            TypeError,
            r"images: expected floating point in \[0, 1\], got uint8: convert with",
        ),
        (IMAGES > 0, TypeError, "images: expected floating point .*, got bool"),
        (IMAGES.tolist(), TypeError, "images: expected an array, got list"),
        (IMAGES[:0], ValueError, r"images: expected at least one image and pixel, got shape \(0,"),
    ],
    ids=["rank 3", "rank 2", "NCHW", "uint8", "bool", "list", "empty"],
)
def test_images(function, images, error, message):
    with pytest.raises(error, match=message):
        function(toys.mlp, VARIABLES, images)
    if not isinstance(images, list):
        with pytest.raises(error, match=message):
            jax.jit(lambda x: function(toys.mlp, VARIABLES, x))(images)


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize(
    ("logits", "error", "message"),
    [
        (jnp.zeros(4), ValueError, r"expected logits of shape \[2, classes\], got \(4,\)"),
        (
            jnp.zeros((2, 1, 4)),
            ValueError,
            r"expected logits of shape \[2, classes\], got \(2, 1, 4\)",
        ),
        (jnp.zeros((3, 4)), ValueError, r"expected logits of shape \[2, classes\], got \(3, 4\)"),
        (jnp.zeros((2, 0)), ValueError, r"expected at least \d classes, got \(2, 0\)"),
        (jnp.zeros((2, 4), jnp.int32), TypeError, "expected floating-point logits, got int32"),
        (
            (jnp.zeros((2, 4)), {}),
            TypeError,
            r"expected one array of logits \[batch, classes\], got tuple",
        ),
    ],
)
def test_logits(function, logits, error, message):
    with pytest.raises(error, match=f"apply_fn: {message}"):
        function(constant(logits), VARIABLES, IMAGES)


@pytest.mark.parametrize("function", EXPLAINERS)
def test_one_class_has_no_other(function):
    with pytest.raises(ValueError, match=r"apply_fn: expected at least 2 classes, got \(2, 1\)"):
        function(constant(jnp.zeros((2, 1))), VARIABLES, IMAGES)
    _, jacobian = signsal_jax.signed_jacobian(
        lambda variables, images: images.sum((1, 2)) @ variables, np.ones((3, 1)), IMAGES
    )
    assert jacobian.shape == (2, 1, 5, 6, 3)


@pytest.mark.parametrize("function", EXPLAINERS)
@pytest.mark.parametrize(
    ("target", "error", "message"),
    [
        (4, ValueError, r"expected class indices in \[0, 3\], got 4"),
        ([0, -1], ValueError, r"expected class indices in \[0, 3\], got -1"),
        (np.asarray([0, 7]), ValueError, r"expected class indices in \[0, 3\], got 7"),
        ([0, 1, 2], ValueError, r"expected 'predicted', an index or shape \[2\], got \(3,\)"),
        ([[0], [1]], ValueError, r"expected 'predicted', an index or shape \[2\], got \(2, 1\)"),
        (1.0, TypeError, "expected integer class indices, got float64"),
        (True, TypeError, "expected integer class indices, got bool"),
        (None, TypeError, "expected 'predicted', an index or one per image, got None"),
        ("label", ValueError, "expected one of predicted; got 'label'"),
    ],
)
def test_target(function, target, error, message):
    with pytest.raises(error, match=f"target: {message}"):
        function(toys.mlp, VARIABLES, IMAGES, target=target)


@pytest.mark.parametrize(
    ("classes", "error", "message"),
    [
        ([4], ValueError, r"expected class indices in \[0, 3\], got 4"),
        ([0.0], TypeError, "expected integer class indices, got float64"),
        (1, ValueError, r"expected shape \[m\] or \[2, m\] with m >= 1, got \(\)"),
        (
            np.zeros((3, 1), int),
            ValueError,
            r"expected shape \[m\] or \[2, m\] with m >= 1, got \(3, 1\)",
        ),
        (
            np.zeros(0, int),
            ValueError,
            r"expected shape \[m\] or \[2, m\] with m >= 1, got \(2, 0\)",
        ),
        ("all", TypeError, "expected integer class indices, got <U3"),
    ],
)
def test_classes(classes, error, message):
    with pytest.raises(error, match=f"classes: {message}"):
        signsal_jax.signed_jacobian(toys.mlp, VARIABLES, IMAGES, classes=classes)


@pytest.mark.parametrize(
    ("function", "settings"),
    [*((function, {}) for function in FUNCTIONS), (FUNCTIONS[2], {"methods": ["vanilla"]})],
)
@pytest.mark.parametrize(
    ("chunk", "error"),
    [(0, ValueError), (-1, ValueError), (2.0, TypeError), (True, TypeError), ("a", TypeError)],
)
def test_class_chunk(function, settings, chunk, error):
    with pytest.raises(
        error, match=f"class_chunk: expected None, auto or a positive integer, got {chunk!r}"
    ):
        function(toys.mlp, VARIABLES, IMAGES, class_chunk=chunk, **settings)


@pytest.mark.parametrize("shape", [(2, 4, 4, 8), (2, 1, 1, 50), (2, 3, 2, 7)])
def test_few_pixels_of_many_channels_are_no_channels_first_images(shape):
    variables = toys.mlp_variables(0, 4, int(np.prod(shape[1:])))
    _, jacobian = signsal_jax.signed_jacobian(toys.mlp, variables, np.ones(shape, np.float32))
    assert jacobian.shape == (2, 4, *shape[1:])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"methods": ["gradcam"]},
            "methods: expected one of vanilla, positive, negative, active, .*; got 'gradcam'",
        ),
        ({"output": "loss"}, "output: expected one of logits, log_softmax, softmax; got 'loss'"),
        ({"channel": "mean"}, "channel: expected one of max, sum, l2, none; got 'mean'"),
        ({"ties": "both"}, "ties: expected one of strict, non-strict; got 'both'"),
    ],
)
def test_unknown_options(options, message):
    with pytest.raises(ValueError, match=message):
        signsal_jax.saliency_maps(toys.mlp, VARIABLES, IMAGES, **options)


def test_unknown_model():
    names = ", ".join(signsal_jax.models.registry.MODELS)
    with pytest.raises(ValueError, match=f"name: expected one of {names}; got 'vgg'"):
        signsal_jax.models.create("vgg", 10)
    with pytest.raises(ValueError, match=r"num_classes: expected an integer in .* got 1"):
        signsal_jax.models.create("cnn", 1)


class TestCheckImages:
    """Pixel values are looked at only where a user asks for it."""

    def test_valid(self):
        signsal_jax.check_images(IMAGES)
        signsal_jax.check_images(jnp.asarray([0.0, 1.0]).reshape(1, 1, 2, 1))

    @pytest.mark.parametrize("value", [-0.01, 1.01, 255.0, np.nan, np.inf])
    def test_names_the_first_bad_pixel(self, value):
        images = IMAGES.copy()
        images[1, 2, 3, 0] = images[1, 4, 0, 0] = value
        place = "image 1, row 2, column 3, channel 0"
        got = str(float(np.float32(value)))
        with pytest.raises(ValueError, match=rf"expected pixels in \[0, 1\], got {got} at {place}"):
            signsal_jax.check_images(images)

    def test_static_facts_first(self):
        with pytest.raises(TypeError, match=r"images: expected floating point .* got uint8"):
            signsal_jax.check_images((IMAGES * 255).astype(np.uint8))
        with pytest.raises(ValueError, match="which looks like NCHW"):
            signsal_jax.check_images(IMAGES.transpose(0, 3, 1, 2))


def test_annotations_are_off_only_where_asked(no_typecheck):
    """The fixture works: without it, beartype would name the annotation instead."""
    with pytest.raises(ValueError, match="expected rank 4"):
        signsal_jax.saliency_maps(toys.mlp, VARIABLES, IMAGES[0])


class TestPixelRange:
    """Pixels of 0 to 255, which are not divided, are said once where the values are known."""

    @pytest.fixture(autouse=True)
    def not_warned_yet(self, monkeypatch):
        monkeypatch.setattr(_image_checks, "_warned_of_pixel_range", False)

    @pytest.mark.parametrize("convert", [np.asarray, jnp.asarray])
    def test_one_warning_at_the_caller(self, convert):
        images = convert(np.full((1, 2, 2, 1), 255.0, np.float32))
        variables = jnp.ones((2, 2, 2, 1)), jnp.zeros(2)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            signsal_jax.signed_jacobian(toys.linear, variables, images)
            signsal_jax.signed_jacobian(toys.linear, variables, images)
            signsal_jax.evaluate_deletion(toys.linear, variables, images, {}, curves=[])
        assert [warning.category for warning in caught] == [signsal_jax.PixelRangeWarning]
        assert "expected pixels in [0, 1], got 255" in str(caught[0].message)
        assert "signsal_jax" not in Path(caught[0].filename).parts[-2:]

    def test_deletion_warns_too(self):
        variables = jnp.ones((2, 2, 2, 1)), jnp.zeros(2)
        with pytest.warns(signsal_jax.PixelRangeWarning):
            signsal_jax.evaluate_deletion(
                toys.linear, variables, jnp.full((1, 2, 2, 1), 3.0), {}, curves=[]
            )

    def test_neither_inside_jit_nor_of_normalized_images(self):
        variables = jnp.ones((2, 2, 2, 1)), jnp.zeros(2)
        jacobian = functools.partial(signsal_jax.signed_jacobian, toys.linear, variables)
        jax.jit(jacobian)(jnp.full((1, 2, 2, 1), 255.0))
        jacobian(jnp.full((1, 2, 2, 1), 2.0))
        jacobian(jnp.full((1, 2, 2, 1), jnp.nan))


def float_source(value):
    """A data set whose source gives floats: in [0, 1], it should be."""
    images = np.full((3, 2, 2, 1), 0.5, np.float32)
    images[2, 1, 0, 0] = value
    source = data.Arrays(images, np.zeros(3, np.int64))
    return data.Dataset("floats", "test", ("a", "b"), (2, 2, 1), source)


@pytest.mark.parametrize("value", [255.0, -0.5])
def test_a_data_set_outside_the_range_is_refused(tmp_path, value):
    """By evaluate and study alike, before anything of that batch is computed."""
    variables = jnp.ones((2, 2, 2, 1)), jnp.zeros(2)
    model = Model(toys.linear, variables, ("a", "b"), (2, 2, 1), {"model": "toy"})
    message = rf"images: expected pixels in \[0, 1\], got {value} at image 2, row 1, column 0"
    with pytest.raises(ValueError, match=message):
        study.evaluate(model, float_source(value), tmp_path / "evaluated", chunk=4)
    config = study.StudyConfig("floats", store=("logits",), chunk=3)
    mesh = sharding.make_mesh(jax.devices()[:1])
    with pytest.raises(ValueError, match=message):
        study.run_study(config, model, [float_source(value)], tmp_path / "out", mesh=mesh)
