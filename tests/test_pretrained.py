"""Networks from weights files, through `models.load` and the command: whole or not at all."""

import json

import jax
import numpy as np
import pytest
import safetensors.numpy
from flax import nnx

from signsal_jax import cli, models, weights
from signsal_jax.models import registry
from signsal_jax.models.pretrained import load_network
from signsal_jax.weights import WeightsError
from tests import runs
from tests.test_cli import assert_refused, picture
from tests.torch_writer import Global, zip_file

pytestmark = pytest.mark.usefixtures("no_compilation_cache")


def seeded(name, classes, *, source=0, head=None):
    """Weights of a network, or of one with a head, as their source names and lays them out."""
    layout = weights.layouts(name, head=head is not None)[source]
    network = nnx.eval_shape(
        lambda: (
            registry.create_backbone(name, classes) if head is None else registry.create(name, head)
        )
    )
    shapes = weights.source_shapes(layout, nnx.to_pure_dict(nnx.state(network)))
    generator = np.random.default_rng(0)
    return {
        key: (
            generator.uniform(0.5, 1, shape)
            if len(shape) == 1
            else generator.normal(size=shape) / np.sqrt(np.prod(shape[1:]))
        ).astype(np.float32)
        for key, shape in shapes.items()
    }


@pytest.fixture(scope="module")
def resnet20():
    return seeded("cifar_resnet20", 10)


@pytest.fixture
def saved(tmp_path):
    def save(arrays, name="weights.safetensors"):
        path = tmp_path / name
        safetensors.numpy.save_file(arrays, path)
        return path

    return save


def lines_of(name, path):
    with pytest.raises(WeightsError) as caught:
        models.load(name, weights=path)
    return str(caught.value).splitlines()


def test_the_origin_says_what_was_loaded(resnet20, saved):
    path = saved(resnet20)
    model = models.load("cifar_resnet20", weights=path)
    assert model.origin == {
        "model": "cifar_resnet20",
        "weights": "weights.safetensors",
        "layout": "akamaster/pytorch_resnet_cifar10",
        "sha256": weights.sha256(path),
        "classes": 10,
        "preprocessing": {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]},
    }
    raw = models.load("cifar_resnet20", weights=path, preprocess=False)
    assert raw.origin["preprocessing"] is None
    images = np.random.default_rng(1).random((2, 32, 32, 3), np.float32)
    normalized = (images - np.float32([0.485, 0.456, 0.406])) / np.float32([0.229, 0.224, 0.225])
    logits = jax.jit(model.apply_fn)(model.variables, images)
    np.testing.assert_allclose(
        jax.jit(raw.apply_fn)(raw.variables, normalized), logits, rtol=1e-4, atol=1e-4
    )


def test_a_prefix_is_removed_and_recorded(resnet20, saved):
    plain = models.load("cifar_resnet20", weights=saved(resnet20))
    longer = {f"model.module.{key}": array for key, array in resnet20.items()}
    model = models.load("cifar_resnet20", weights=saved(longer, "longer.safetensors"))
    assert model.origin["prefix"] == "model.module."
    jax.tree.map(np.testing.assert_array_equal, model.variables, plain.variables)


def test_one_error_lists_everything_though_the_classifier_is_missing(resnet20, saved):
    wrong = dict(resnet20, extra=np.ones(1, np.float32))
    wrong["conv1.weight"] = np.ones((16, 3, 5, 5), np.float32)
    del wrong["linear.weight"], wrong["bn1.bias"]
    path = saved(wrong)
    assert lines_of("cifar_resnet20", path) == [
        f"{path}: weights that do not fit cifar_resnet20 (akamaster/pytorch_resnet_cifar10)",
        "  missing (2): bn1.bias, linear.weight",
        "  unused (1): extra",
        "  of another shape (1): conv1.weight (expected [16, 3, 3, 3], got [16, 3, 5, 5])",
    ]


def test_weights_of_another_network(resnet20, saved):
    wanted = weights.layouts("resnet18")[0].required.keys()
    missing, unused = len(wanted - resnet20.keys()), len(resnet20.keys() - wanted)
    lines = lines_of("resnet18", saved(resnet20))
    assert lines[1] == "  expected a resnet18, got a cifar_resnet20"
    assert lines[2].startswith(f"  missing ({missing}): fc.bias, fc.weight, layer2")
    assert lines[3].startswith(f"  unused ({unused}): layer1")
    assert "conv1.weight (expected [64, 3, 7, 7], got [16, 3, 3, 3])" in lines[4]


@pytest.mark.parametrize("classifier", [(), (0, 64), (1, 64)])
def test_impossible_classifiers(resnet20, saved, classifier):
    path = saved(dict(resnet20, **{"linear.weight": np.ones(classifier, np.float32)}))
    (message, *_) = lines_of("cifar_resnet20", path)
    assert message.startswith(f"{path}: ")


def test_the_papers_checkpoint_with_a_layer_on_top(saved):
    arrays = seeded("resnet18", 1000, head=7)
    path = saved(arrays)
    model = models.load("resnet18", weights=path)
    assert len(model.class_names) == 7
    assert model.origin["preprocessing"] is None
    with pytest.raises(ValueError, match=r"expected the network alone, .* has a layer on top"):
        load_network("resnet18", path, preprocess=False)
    np.testing.assert_array_equal(model.variables["head"]["kernel"], arrays["1.weight"].T)
    np.testing.assert_array_equal(
        model.variables["backbone"]["classifier"]["kernel"], arrays["0.fc.weight"].T
    )


def test_timms_two_lite0_are_told_apart_by_name_only(saved):
    arrays = seeded("efficientnet_lite0", 1000, source=1)
    ambiguous = saved(arrays, "efficientnet_lite0_ra.safetensors")
    with pytest.raises(WeightsError, match=r"only tf_efficientnet_lite0 is efficientnet_lite0"):
        models.load("efficientnet_lite0", weights=ambiguous)
    other = saved(seeded("cnn", 10), "cnn.safetensors")
    with pytest.raises(WeightsError, match=r"expected a efficientnet_lite0, got a cnn"):
        models.load("efficientnet_lite0", weights=other)
    model = models.load("efficientnet_lite0", weights=saved(arrays, "tf_efficientnet_lite0.st"))
    assert model.photos == {"crop": 0.875, "interpolation": "bicubic"}


def test_class_names(resnet20, saved):
    path = saved(resnet20)
    names = list("abcdefghij")
    assert models.load("cifar_resnet20", weights=path, class_names=names).class_names[9] == "j"
    with pytest.raises(ValueError, match="class_names: expected 10 like the weights, got 3"):
        models.load("cifar_resnet20", weights=path, class_names=names[:3])
    with pytest.raises(ValueError, match="class_names: expected None for cnn-cifar10"):
        models.load("cnn-cifar10", class_names=names)


def test_a_file_that_is_not_there():
    with pytest.raises(FileNotFoundError, match=r"gone/x: .* found none \(one on the Hugging"):
        models.load("resnet18", weights="gone/x")
    with pytest.raises(FileNotFoundError, match=r"~nosuchuser/x: expected a file, found none"):
        models.load("resnet18", weights="~nosuchuser/x")
    with pytest.raises(
        FileNotFoundError, match=r"weights /gone/x\.pth: expected a file, found none$"
    ):
        models.load("resnet18", weights="/gone/x.pth")


def bad_weights(folder, resnet20):
    """By what is wrong with it: a file of weights for --model cifar_resnet20."""
    safetensors.numpy.save_file(resnet20, folder / "whole")
    content = (folder / "whole").read_bytes()
    nan = dict(resnet20, **{"linear.bias": np.full(10, np.nan, np.float32)})
    code = zip_file({"weights": Global("os", "system")})
    return {
        "truncated": content[:-7],
        "another": safetensors.numpy.save(seeded("cnn", 10)),
        "nan": safetensors.numpy.save(nan),
        "code": code,
    }


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("truncated", "truncated or damaged safetensors file"),
        ("another", "expected a cifar_resnet20, got a cnn"),
        ("nan", "not finite (1): linear.bias (10 of 10 numbers)"),
        ("code", "got os.system, which was not executed"),
    ],
)
def test_bad_weights_cost_no_earlier_results(tmp_path, resnet20, capsys, kind, message):
    path = tmp_path / "given"
    path.write_bytes(bad_weights(tmp_path, resnet20)[kind])
    photo, out = picture(tmp_path / "photo.png"), tmp_path / "out"
    out.mkdir()
    (out / "results.json").write_text("{}")
    before = runs.contents(tmp_path)
    network = ["--model", "cifar_resnet20", "--weights", str(path)]
    assert cli.main(["explain", str(photo), *network, "--out", str(out)]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"signsal: {path}: ")
    assert message in error
    assert runs.contents(tmp_path) == before


def test_explaining_with_weights(tmp_path, resnet20, saved):
    photo, out = picture(tmp_path / "photo.png", size=40), tmp_path / "out"
    network = ["--model", "cifar_resnet20", "--weights", str(saved(resnet20)), "--no-preprocess"]
    assert cli.main(["explain", str(photo), *network, "--out", str(out)]) == 0
    results = json.loads((out / "results.json").read_text())
    assert results["network"]["sha256"] == weights.sha256(tmp_path / "weights.safetensors")
    assert results["network"]["preprocessing"] is None
    assert results["configuration"]["network"]["preprocess"] is False
    assert results["photos"] == {"crop": 1.0, "interpolation": "bilinear"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--weights", "x.pth"], "--weights: expected with --model NAME, got no --model"),
        (["--run", "run", "--no-preprocess"], "--no-preprocess: expected with --model only"),
        (["--run", "run", "--weights", "x.pth"], "--weights: expected with --model only"),
    ],
)
def test_options_that_do_not_go_together(tmp_path, capsys, options, message):
    photo = picture(tmp_path / "photo.png")
    arguments = ["explain", photo, *options, "--out", tmp_path / "out"]
    assert_refused(capsys, tmp_path, message, arguments=arguments)


def test_a_grayscale_network(saved):
    arrays = seeded("cnn", 10)
    key = "cnn_net.0.weight"
    arrays[key] = np.ascontiguousarray(arrays[key][:, :1])
    model = models.load("cnn", weights=saved(arrays))
    assert model.input_shape == (32, 32, 1)
    gray = np.random.default_rng(0).random((2, 32, 32, 1), np.float32)
    # The same network of color, whose other channels are zero.
    color = models.load(
        "cnn",
        weights=saved(
            arrays | {key: np.pad(arrays[key], ((0, 0), (0, 2), (0, 0), (0, 0)))},
            "color.safetensors",
        ),
    )
    np.testing.assert_allclose(
        model.apply_fn(model.variables, gray),
        color.apply_fn(color.variables, np.repeat(gray, 3, axis=3)),
        rtol=1e-4,
        atol=1e-5,
    )


def test_a_grayscale_network_cannot_be_normalized_as_color(saved):
    arrays = seeded("cifar_resnet20", 10)
    arrays["conv1.weight"] = np.ascontiguousarray(arrays["conv1.weight"][:, :1])
    path = saved(arrays)
    with pytest.raises(ValueError, match="preprocess: expected False for weights of 1 channel"):
        models.load("cifar_resnet20", weights=path)
    assert models.load("cifar_resnet20", weights=path, preprocess=False).input_shape[2] == 1
