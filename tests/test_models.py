"""The zoo against independent PyTorch networks and against what its published weights score."""

import functools
import importlib.util
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from signsal_jax import from_nnx, models, nn, weights
from signsal_jax.models import registry
from signsal_jax.models.cifar_resnet import CifarResNet
from signsal_jax.models.normalize import Normalize

ROOT = Path(__file__).parents[1]
DATA = ROOT / "tests" / "data"
SHARED = ROOT.parent / "shared"
# The places of Imagenette's classes among ImageNet's, in the order of its WordNet ids.
IMAGENETTE_IDS = np.array([0, 217, 482, 491, 497, 566, 569, 571, 574, 701])

_spec = importlib.util.spec_from_file_location("_parity", ROOT / "scripts" / "record_parity.py")
assert _spec is not None
assert _spec.loader is not None
parity = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(parity)

CASES = [(name, size) for name in parity.NETWORKS for size in parity.sizes_of(name)]
# Every case compiles a whole network, and its pullback if gradients are compared.
LOGITS_ONLY = {("resnet50", 65), ("convnext_tiny", 65)}
QUICK = {
    *LOGITS_ONLY,
    ("resnet18", 65),
    ("efficientnet_lite0", 65),
    ("cifar_resnet20", 33),
    ("vit_ti_16", 224),
}
SLOW = bool(os.environ.get("SIGNSAL_SLOW_TESTS"))

# Parameters (without batch statistics) of the published networks: the documentation of
# torchvision and timm, and for CIFAR-10 the README of akamaster/pytorch_resnet_cifar10.
PARAMETERS = {
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "convnext_tiny": 28_589_128,
    "vit_ti_16": 5_717_416,
    "vit_s_16": 22_050_664,
    "vit_b_16": 86_567_656,
    "efficientnet_lite0": 4_652_008,
    "cifar_resnet20": 269_722,
    "cifar_resnet32": 464_154,
    "cifar_resnet44": 658_586,
    "cifar_resnet56": 853_018,
}


@functools.cache
def _abstract(name, num_classes):
    return nnx.split(nnx.eval_shape(lambda: registry.create_backbone(name, num_classes)))


def abstract(name, num_classes):
    graph, state = _abstract(name, num_classes)
    return nnx.merge(graph, jax.tree.map(lambda leaf: leaf, state))


def with_arrays(name, arrays, layout):
    network = abstract(name, weights.count_classes(arrays, layout))
    shapes = nnx.to_pure_dict(nnx.state(network))
    nnx.update(network, weights.convert(arrays, layout, shapes))
    return network


@pytest.fixture(scope="module")
def seeded():
    """Apply function and variables by name and source, with the weights of the recording.

    One function a name, so that nothing is compiled twice; only the last variables are kept.
    """
    functions, kept = {}, {}

    def build(name, source):
        if (name, source) not in kept:
            kept.clear()
            (layout,) = (la for la in weights.layouts(name) if la.source == source)
            shapes = nnx.to_pure_dict(nnx.state(abstract(name, parity.NUM_CLASSES)))
            arrays = parity.seeded_arrays(weights.source_shapes(layout, shapes))
            apply_fn, kept[name, source] = from_nnx(with_arrays(name, arrays, layout))
            functions.setdefault(name, apply_fn)
        return functions[name], kept[name, source]

    return build


def logits_and_jacobian(apply_fn, variables, image):
    logits, pullback = jax.vjp(lambda image: apply_fn(variables, image), image)
    one_hots = jnp.eye(logits.shape[1], dtype=logits.dtype)[:, None]
    # A loop compiles one pullback, whatever the number of classes.
    return logits, jax.lax.map(lambda one_hot: pullback(one_hot)[0][0], one_hots)


def check_gradients(jacobian, recorded, size, tolerance):
    got = parity.summarize(np.asarray(jacobian))
    want = {key: recorded[f"{key}_{size}"] for key in got}
    largest = abs(want["gradients"]).max((1, 2, 3), keepdims=True)
    assert (abs(got["gradients"] - want["gradients"]) < tolerance * largest).all()
    assert (abs(got["norms"] - want["norms"]) < tolerance * want["norms"]).all()
    assert (abs(got["projections"] - want["projections"]) < tolerance * want["norms"]).all()


@pytest.mark.parametrize(("name", "size"), CASES)
def test_logits_and_gradients_are_those_of_torch(seeded, name, size):
    if (name, size) not in QUICK and not SLOW:
        pytest.skip("takes minutes: set SIGNSAL_SLOW_TESTS=1")
    recorded = np.load(DATA / f"parity_{name}.npz")
    apply_fn, variables = seeded(name, str(recorded["source"]))
    image = parity.seeded_image(size, int(recorded[f"seed_{size}"]))
    with_gradients = SLOW or (name, size) not in LOGITS_ONLY
    if with_gradients:
        compute = jax.jit(logits_and_jacobian, static_argnums=0)
        logits, jacobian = compute(apply_fn, variables, image)
    else:
        logits, jacobian = jax.jit(apply_fn)(variables, image), None
    expected = recorded[f"logits_{size}"]
    assert abs(logits - expected).max() < 1e-4 * abs(expected).max()
    # Elsewhere rounding moves a ReLU even in torch, and float64 decides, in the next test.
    if with_gradients and recorded[f"rounding_{size}"] < parity.STABLE:
        check_gradients(jacobian, recorded, size, 1e-3)


def test_every_layout_is_that_of_its_library(seeded):
    recorded = np.load(DATA / "parity_layouts.npz")
    assert set(recorded) == {f"{name}/{source}" for name, source in parity.LAYOUTS}
    for name, source in parity.LAYOUTS:
        apply_fn, variables = seeded(name, source)
        image = parity.seeded_image(parity.sizes_of(name)[-1], parity.SEED)
        expected = recorded[f"{name}/{source}"]
        logits = jax.jit(apply_fn)(variables, image)
        assert abs(logits - expected).max() < 1e-4 * abs(expected).max(), (name, source)


def shifted_products(images, kernel, *, strides=1, padding=0, groups=1):
    """A convolution as a sum over its taps, which XLA's CPU backend compiles in float64 too."""
    sides = (padding, padding)
    images = jnp.pad(images, ((0, 0), sides, sides, (0, 0)))
    kh, kw = kernel.shape[:2]
    # Up to the last tap that still fits, so that every slice has one entry per output.
    height = (images.shape[1] - kh) // strides * strides + 1
    width = (images.shape[2] - kw) // strides * strides + 1
    total = 0
    for i, j in np.ndindex(kh, kw):
        tap = images[:, i : i + height : strides, j : j + width : strides]
        total += tap @ kernel[i, j] if groups == 1 else tap * kernel[i, j].reshape(1, 1, 1, -1)
    return total


UNSTEADY = ["resnet50", "efficientnet_lite0", "cifar_resnet20", "cifar_resnet56"]


@pytest.mark.parametrize("name", UNSTEADY)
def test_gradients_in_float64_are_those_of_torch(seeded, name, x64, monkeypatch):
    if not SLOW:
        pytest.skip("takes minutes: set SIGNSAL_SLOW_TESTS=1")
    monkeypatch.setattr(nn, "conv2d", shifted_products)
    recorded = np.load(DATA / f"parity_{name}.npz")
    apply_fn, variables = seeded(name, str(recorded["source"]))
    variables = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), variables)
    image = parity.seeded_image(224, int(recorded["seed_224"])).astype(np.float64)
    logits, jacobian = logits_and_jacobian(apply_fn, variables, jnp.asarray(image))
    np.testing.assert_allclose(logits, recorded["logits_224"], rtol=1e-9)
    check_gradients(jacobian, recorded, 224, 1e-6)


@pytest.mark.parametrize("name", PARAMETERS)
def test_published_parameter_counts(name):
    network = abstract(name, 10 if name.startswith("cifar") else 1000)
    leaves = jax.tree.leaves(nnx.state(network, nnx.Param))
    assert sum(leaf.size for leaf in leaves) == PARAMETERS[name]


@pytest.mark.parametrize(
    "name",
    ["cnn", "resnet50", "convnext_tiny", "efficientnet_lite0", "vit_ti_16", "cifar_resnet20"],
)
def test_networks_take_any_size_and_number_of_channels(name):
    size = registry.image_size(name) + 1

    def logits():
        network = registry.create(name, 7, in_features=1)
        network.eval()
        return network(jnp.zeros((2, size, size, 1)))

    assert nnx.eval_shape(logits).shape == (2, 7)


def test_only_imagenet_networks_get_a_layer_on_top():
    with_head = nnx.eval_shape(lambda: registry.create("resnet50", 7))
    assert with_head.head.kernel.shape == (1000, 7)
    assert with_head.backbone.classifier.kernel.shape == (2048, 1000)
    assert nnx.eval_shape(lambda: registry.create("cifar_resnet32", 7)).classifier.kernel.shape == (
        64,
        7,
    )


def test_impossible_depth():
    with pytest.raises(ValueError, match=r"depth: expected 6n \+ 2 with n >= 1, got 18"):
        CifarResNet(10, depth=18, rngs=nnx.Rngs(0))


def test_normalization_is_part_of_the_network_and_no_weight():
    network = nnx.Linear(3, 2, rngs=nnx.Rngs(0))
    mean, std = (0.5, 0.4, 0.3), (0.1, 0.2, 0.3)
    images = np.random.default_rng(0).uniform(size=(2, 4, 4, 3))
    shifted = (images - np.reshape(mean, (1, 1, 1, 3))) / np.reshape(std, (1, 1, 1, 3))
    apply_fn, variables = from_nnx(Normalize(network, mean=mean, std=std))
    expected = network(jnp.asarray(shifted, jnp.float32))
    got = jax.jit(apply_fn)(variables, images.astype(np.float32))
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)
    assert len(jax.tree.leaves(variables)) == 2


@pytest.mark.parametrize("std", [(0.1, 0.2), (0.1, 0.0, 0.2)])
def test_impossible_normalization(std):
    network = nnx.Linear(3, 2, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="one positive value per channel"):
        Normalize(network, mean=(0.5, 0.5, 0.5), std=std)


def predicted_classes(model, images):
    logits = jax.jit(model.apply_fn)(model.variables, images.astype(np.float32) / 255)
    return np.asarray(logits).argmax(1)


def test_cifar_resnet20_scores_what_it_should():
    path = SHARED / "weights" / "resnet20-cifar10.safetensors"
    data = SHARED / "data" / "cifar10_train_first4000_lossless.npz"
    if not path.exists() or not data.exists():
        pytest.skip("needs the folder shared, with weights and lossless CIFAR-10 images")
    model = models.load("cifar_resnet20", weights=path)
    data = np.load(data)
    images, labels = data["x"][:500], data["y"][:500]
    predicted = predicted_classes(model, images)
    # All 4 000 give at least 0.995; a wrong shortcut, mean or channel order less than 0.95.
    assert np.mean(predicted == labels) >= 0.99


def test_efficientnet_lite0_scores_what_it_should():
    tfds = pytest.importorskip("tensorflow_datasets", reason="needs the extra data")
    folder = SHARED / "tfds"
    if not (folder / "imagenette").exists():
        pytest.skip("needs the folder shared, with an Imagenette subset")
    try:
        model = models.load("efficientnet_lite0")
    except ImportError as error:
        pytest.skip(f"needs the extra demo: {error}")
    source = tfds.data_source("imagenette/full-size-v2:1.0.0", split="validation", data_dir=folder)
    examples = [source[i] for i in range(0, 1000, 20)]
    images = np.stack([example["image"] for example in examples])
    labels = IMAGENETTE_IDS[[example["label"] for example in examples]]
    # All 1 000 give about 0.70 (standard error on these 50: 0.065).
    assert np.mean(predicted_classes(model, images) == labels) > 0.5
