"""The paper's frozen protocol: only the linear layer on top learns, nothing under it moves."""

import dataclasses

import jax
import numpy as np
import pytest
from flax import nnx

from signsal_jax import checkpoint, data, models, weights
from tests import tiny_training
from train import loop, task as tasks
from train.config import TrainConfig


@pytest.fixture(scope="module")
def weights_file(tmp_path_factory):
    """Random ResNet-18 weights as torchvision would write them."""
    path = tmp_path_factory.mktemp("weights") / "resnet18.safetensors"
    tiny_training.write_resnet18(path)
    return path


@pytest.fixture
def tiny_sets(monkeypatch):
    """Two classes of 32x32 colour images: dark and bright."""
    monkeypatch.setattr(data, "load", tiny_training.load_two_tones)


def leaves(variables):
    return {
        jax.tree_util.keystr(path, simple=True, separator="."): np.asarray(leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(variables)
    }


@pytest.mark.parametrize("preprocess", [False, True])
def test_only_the_head_changes(tmp_path, tiny_sets, weights_file, preprocess, monkeypatch):
    computed = []
    features = tasks._features
    monkeypatch.setattr(tasks, "_features", lambda *a: computed.append(1) or features(*a))
    run = tmp_path / "run"
    config = TrainConfig(
        out=run,
        model="resnet18",
        weights=str(weights_file),
        freeze=True,
        preprocess=preprocess,
        epochs=4,
        batch_size=8,
        log_every=1,
    )
    untrained, _ = tasks.start(config, 2, 3)
    before = leaves(nnx.to_pure_dict(nnx.state(untrained)))
    loop.train(config)
    model = checkpoint.load_run(run)
    after = leaves(nnx.to_pure_dict(model.variables))

    assert len(computed) == 2  # train and test, once each, whatever the number of epochs
    moved_file = weights_file.rename(tmp_path / "renamed.safetensors")
    loop.train(dataclasses.replace(config, weights=str(moved_file)))
    moved_file.rename(weights_file)
    assert len(computed) == 2  # a finished run has nothing left to do, wherever its weights lie
    assert after.keys() == before.keys()
    moved = {path for path in after if not np.array_equal(after[path], before[path])}
    assert moved == {"head.kernel", "head.bias"}
    assert any(path.endswith("bn1.var") for path in after)
    source = weights.read(weights_file).arrays
    stem = next(path for path in after if path.endswith("stem.kernel"))
    np.testing.assert_array_equal(after[stem], source["conv1.weight"].transpose(2, 3, 1, 0))

    # What was trained on features is what the whole network computes.
    images = data.to_float(tiny_training.load_two_tones("x", "test").source.images)
    whole = np.asarray(model.apply_fn(model.variables, images))
    backbone = models.load("resnet18", weights=weights_file, preprocess=preprocess)
    below = np.asarray(backbone.apply_fn(backbone.variables, images))
    expected = below @ after["head.kernel"] + after["head.bias"]
    np.testing.assert_allclose(whole, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
    assert model.origin["weights_origin"]["sha256"] == weights.read(weights_file).sha256
    assert (model.origin["preprocessing"] is not None) == preprocess


def test_networks_that_take_no_layer_on_top_are_refused(tmp_path, tiny_sets):
    run = tmp_path / "run"
    config = TrainConfig(out=run, model="cifar_resnet20", weights="resnet20.safetensors")
    with pytest.raises(ValueError, match=r"expected --model resnet18, .*; cifar_resnet20 is"):
        loop.train(config)
    assert not run.exists()


def test_grayscale_images_are_refused(tmp_path, weights_file):
    config = TrainConfig(
        out=tmp_path, dataset="mnist5k", model="resnet18", weights=str(weights_file)
    )
    with pytest.raises(ValueError, match="expected color images, mnist5k has 1 channel"):
        tasks.start(config, 10, 1)


def test_freeze_without_weights_is_refused(tmp_path):
    with pytest.raises(ValueError, match="weights: expected with --freeze"):
        TrainConfig(out=tmp_path, model="resnet18", freeze=True)
