"""Study and run folders made by version 0.1, kept as it left them, still open."""

import json
import tarfile
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx

from signsal_jax import checkpoint, data
from signsal_jax.study import StudyError, open_study, status_lines
from signsal_jax.study._writer import Writer
from tests import study_worker, tiny_training

DATA = Path(__file__).parent / "data"


def unpacked(name, folder):
    with tarfile.open(DATA / f"old_{name}.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder / name


def test_an_old_study_is_read(tmp_path):
    root = unpacked("study", tmp_path)
    store = open_study(root)
    assert status_lines(store)[0] == "3 of 3 chunks, 10 of 10 images (100.0%)"
    assert len(store.arrays()) == len(store.manifest["arrays"]) > 15
    model, dataset = study_worker.model(), study_worker.splits(10)[0]
    images = data.to_float(dataset.source.images)
    logits = model.apply_fn(model.variables, images)
    np.testing.assert_allclose(store.arrays()["logits"], logits, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(store.arrays()["label"], dataset.source.labels)
    assert store.verify() == []
    assert store.merge() == json.loads((root / "summary.json").read_text())


def test_an_old_study_is_not_continued(tmp_path):
    root = unpacked("study", tmp_path)
    before = sorted(root.rglob("*"))
    with pytest.raises(StudyError, match="older format, which can be read but not continued"):
        Writer(root, open_study(root).manifest)
    assert sorted(root.rglob("*")) == before


def test_damage_of_an_old_study_is_named(tmp_path):
    root = unpacked("study", tmp_path)
    (root / "arrays.zarr" / "logits" / "c" / "1" / "0").unlink()
    with pytest.raises(StudyError, match="logits/c/1/0: the file is missing"):
        np.asarray(open_study(root).arrays()["logits"])
    assert len(open_study(root).verify()) == 1


def test_an_old_run_is_restored(tmp_path):
    root = unpacked("run", tmp_path)
    config = checkpoint.read_config(root)
    assert config["class_names"] == ("a", "b", "c", "d")
    network = tiny_training.create("cnn", 4, in_features=1, key=jax.random.key(1))
    network.eval()
    graph, state = nnx.split(network)
    with checkpoint.manager(root, read_only=True) as opened:
        found = checkpoint.restore(opened, {"variables": nnx.to_pure_dict(state)})
    assert found is not None
    assert found[0] == 2
    nnx.replace_by_pure_dict(state, found[1]["variables"])
    test = tiny_training.load("rows", "test").source
    predicted = nnx.merge(graph, state)(data.to_float(test.images)).argmax(1)
    recorded = json.loads((root / "summary.json").read_text())["test_accuracy"]
    assert float((predicted == test.labels).mean()) == pytest.approx(recorded)
    checkpoint.claim(root, {**config, "out": "elsewhere"})
