"""Studies and statistics through the features: the numbers are those through the scores."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from signsal_jax import cli, data, sharding, statistics
from signsal_jax.cli._network import NetworkOptions
from signsal_jax.evaluations.entry import ArraySpec, Entry
from signsal_jax.evaluations.registry import ENTRIES
from signsal_jax.models import Model
from signsal_jax.study import (
    StudyConfig,
    StudyError,
    _run,
    gram_matrices,
    open_study,
    run_study,
)
from tests import toys

CLASSES, WIDTH, IMAGES = 70, 6, 10
NAMES = tuple(f"class {number}" for number in range(CLASSES))
VARIABLES = toys.cnn_variables(0, CLASSES, 2, width=WIDTH)
MODEL = Model(toys.cnn, VARIABLES, NAMES, (6, 6, 2), {"model": "toy"})
PIXELS = np.random.default_rng(0).integers(0, 256, (IMAGES, 6, 6, 2)).astype(np.uint8)
SPLIT = data.Dataset("toys:1.0", "test", NAMES, (6, 6, 2), data.Arrays(PIXELS, np.arange(IMAGES)))
STORE = ("maps", "logits", "runner_up", "shares", "rivals", "norm", "gram", "sign_agreement")
CONFIG = StudyConfig("toys", store=STORE, chunk=4, storage="float32", target="label")


def run(out, through, *, devices=1, class_devices=1, **fields):
    mesh = sharding.make_mesh(jax.devices()[:devices], class_devices=class_devices)
    config = dataclasses.replace(CONFIG, through=through, **fields)
    run_study(config, MODEL, [SPLIT], out, mesh=mesh)
    return open_study(out)


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    folder = tmp_path_factory.mktemp("studies")
    return run(folder / "scores", "scores"), run(folder / "auto", "auto")


def assert_same_numbers(found, expected):
    """Classes may tie within rounding; everything else agrees."""
    one, other = found.arrays(), expected.arrays()
    for name in ("label", "predicted", "target", "valid", "empty"):
        np.testing.assert_array_equal(one[name][:], other[name][:])
    for name in other:
        if name.startswith(("map_", "logits", "norm")):
            toys.assert_close(one[name][:], other[name][:], 1e-5)
        elif name.startswith("runner_up"):
            assert (one[name][:] == other[name][:]).mean() >= 0.9999
    np.testing.assert_allclose(one["shares"][:], other["shares"][:], atol=1e-6)
    np.testing.assert_array_equal(one["rivals"][:], other["rivals"][:])
    toys.assert_close(one["sign_agreement"][:], other["sign_agreement"][:])
    toys.assert_close(gram_matrices(found), gram_matrices(expected))


def test_a_study_through_features_stores_what_one_through_scores_does(studies):
    scores, features = studies
    assert scores.manifest["through"] == {"way": "scores"}
    assert features.manifest["through"] == {"way": "features", "width": WIDTH}
    assert_same_numbers(features, scores)


def test_the_gram_matrix_is_stored_by_its_features(studies):
    scores, features = studies
    gram = features.arrays()["feature_gram"]
    assert gram.shape == (IMAGES, WIDTH, WIDTH)
    np.testing.assert_array_equal(features.constants()["score_weights"], VARIABLES["head"].T)
    wanted = gram_matrices(scores, slice(2, 5))
    toys.assert_close(gram_matrices(features, slice(2, 5)), wanted)
    jacobian = np.asarray(toys.oracle_jacobian(toys.cnn, VARIABLES, data.to_float(PIXELS[2:5])))
    flat = jacobian.reshape(3, CLASSES, -1)
    toys.assert_close(wanted, flat @ flat.transpose(0, 2, 1))
    table = features.to_xarray()
    assert table["score_weights"].dims == ("class", "feature")
    assert not features.verify()


def test_over_devices(tmp_path):
    """Six features, which are no multiple of the devices, and a contrast."""
    fields = {"methods": ("active", "weighted_contrast"), "store": ("maps", "norm", "gram")}
    one = run(tmp_path / "one", "scores", **fields)
    many = run(tmp_path / "many", "features", devices=8, class_devices=4, **fields)
    for name in ("map_active", "map_weighted_contrast", "norm"):
        toys.assert_close(many.arrays()[name][:], one.arrays()[name][:], 1e-5)
    toys.assert_close(gram_matrices(many), gram_matrices(one))


def test_resumed_is_uninterrupted(studies, tmp_path, monkeypatch):
    features = studies[1]
    run_chunks = _run.run_chunks
    stopped = []

    def one_chunk(step, chunks, write, stop):
        run_chunks(step, chunks, write, lambda: len(stopped) > 0 or bool(stopped.append(1)))
        raise KeyboardInterrupt

    monkeypatch.setattr(_run, "run_chunks", one_chunk)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "study", "auto")
    monkeypatch.undo()
    assert open_study(tmp_path / "study").committed() == [0]
    with pytest.raises(StudyError, match=r"config\.through: 'auto' there, 'scores' now"):
        run(tmp_path / "study", "scores")
    resumed = run(tmp_path / "study", "auto")
    for name, array in features.arrays().items():
        np.testing.assert_array_equal(resumed.arrays()[name][:], array[:])
    assert resumed.merge() == features.merge()


def test_damaged_weights_of_the_gram_are_named_and_made_anew(tmp_path):
    fields = {"store": ("gram",), "images": 2}
    store = run(tmp_path, "features", **fields)
    [file] = (tmp_path / "arrays.zarr" / "score_weights" / "c").rglob("0/0")
    content = bytearray(file.read_bytes())
    content[20] ^= 1
    file.write_bytes(content)
    assert any("score_weights: missing or damaged" in line for line in store.verify())
    with pytest.raises(StudyError, match="Run the study again"):
        gram_matrices(store)
    assert not run(tmp_path, "features", **fields).verify()


def test_an_entry_of_class_gradients_alone_goes_through_the_scores(tmp_path, monkeypatch):
    entry = Entry(
        "largest",
        arrays=lambda _, sizes: {"largest": ArraySpec("float32", ("class",), (sizes.classes,))},
        of_class=lambda rows: abs(rows).max((2, 3, 4)).T,
    )
    monkeypatch.setitem(ENTRIES, "largest", entry)
    fields = {"store": ("largest",), "images": 2}
    assert run(tmp_path / "auto", "auto", **fields).manifest["through"] == {"way": "scores"}
    with pytest.raises(ValueError, match='which what to store needs, got "features": largest'):
        run(tmp_path / "features", "features", **fields)


def test_statistics(studies):
    """Also of features and pixels that devices share."""
    images = data.to_float(PIXELS[:4])
    wanted = {name: studies[0].arrays()[name][:4] for name in statistics.STATISTICS}
    mesh = sharding.make_mesh(jax.devices()[:8], class_devices=4)
    found = jax.jit(
        lambda variables, images: statistics.jacobian_statistics(
            toys.cnn, variables, images, mesh=mesh, through="features"
        )
    )(VARIABLES, images)
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        toys.assert_close(found[name], value)


def test_the_command_takes_it_and_says_what_was_chosen(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(NetworkOptions, "load", lambda self, default=None: MODEL)
    monkeypatch.setattr(data, "load", lambda *_, **__: SPLIT)
    command = ("study", "--dataset", "toys", "--store", "norm", "--images", "2", "--chunk", "2")
    out = tmp_path / "out"
    assert cli.main([*command, "--through", "features", "--out", str(out)]) == 0
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["config"]["through"] == "features"
    assert "through the 6 features" in capsys.readouterr().out
