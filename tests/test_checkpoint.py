"""Run folders: whatever is wrong with one is said with its path, and the folder stays as it is."""

import json
import shutil

import jax
import numpy as np
import pytest

from signsal_jax import checkpoint
from tests import runs

NAMES, SHAPE = ("cat", "dog", "eel"), (16, 16, 1)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Two checkpoints of a run: step 5 and step 10, the same weights."""
    return runs.make_run(tmp_path_factory.mktemp("runs") / "run", NAMES, SHAPE, steps=(5, 10))


@pytest.fixture
def run(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "run")


def largest_file(folder):
    """The one that holds the weights."""
    return max(
        (path for path in folder.rglob("*") if path.is_file()), key=lambda p: p.stat().st_size
    )


def test_the_newest_checkpoint_comes_back_bit_for_bit(saved):
    before = runs.contents(saved)
    model = checkpoint.load_run(saved)
    expected = runs.random_variables(3, 1)
    for found, wanted in zip(
        jax.tree.leaves(model.variables), jax.tree.leaves(expected), strict=True
    ):
        np.testing.assert_array_equal(found, wanted)
    assert (model.class_names, model.input_shape) == (NAMES, SHAPE)
    assert model.origin["step"] == 10
    assert model.origin["dataset_note"] == "Made of random numbers."
    assert model.apply_fn(model.variables, np.zeros((2, *SHAPE), np.float32)).shape == (2, 3)
    assert runs.contents(saved) == before


def test_only_the_two_newest_are_kept(tmp_path):
    run = runs.make_run(tmp_path / "run", NAMES, SHAPE, steps=(1, 2, 3))
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["2", "3"]


def test_a_partial_restore_reads_what_is_asked_for(saved):
    wanted = {"opt_state": [np.ones(3, np.float32)]}
    with checkpoint.manager(saved, read_only=True) as opened:
        found = checkpoint.restore(opened, wanted)
    assert found is not None
    assert found[0] == 10
    np.testing.assert_array_equal(found[1]["opt_state"][0], np.zeros(3))
    assert set(found[1]) == {"opt_state"}


def assert_refused(run, *patterns):
    """Loading raises a RunError that matches every pattern, and changes nothing on disk."""
    before = runs.contents(run) if run.exists() else None
    with pytest.raises(checkpoint.RunError) as raised:
        checkpoint.load_run(run)
    for pattern in patterns:
        assert pattern in str(raised.value)
    assert (runs.contents(run) if run.exists() else None) == before


def test_no_such_folder(tmp_path):
    assert_refused(tmp_path / "none", str(tmp_path / "none"), "python -m train --out")


def test_a_folder_that_is_no_run(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    assert_refused(tmp_path, str(tmp_path), "config.json")


@pytest.mark.parametrize("remove", ["checkpoints", "checkpoints/*"])
def test_no_checkpoint_yet(run, remove):
    for path in list(run.glob(remove)):
        shutil.rmtree(path)
    assert_refused(run, str(run), "expected a checkpoint", "train it first")


def test_truncated_weights_and_the_way_back(run):
    newest = run / "checkpoints" / "10"
    path = largest_file(newest)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert_refused(run, str(newest), "Delete that folder to fall back on the previous one")
    shutil.rmtree(newest)
    assert checkpoint.load_run(run).origin["step"] == 5


@pytest.mark.parametrize("name", ["_METADATA", "manifest.ocdbt"])
def test_damaged_metadata(run, name):
    path = run / "checkpoints" / "10" / "default" / name
    path.write_bytes(path.read_bytes()[:20])
    assert_refused(run, str(run / "checkpoints" / "10"), "Delete that folder")


def test_missing_arrays(run):
    shutil.rmtree(run / "checkpoints" / "10" / "default")
    assert_refused(run, str(run / "checkpoints" / "10"), "Delete that folder")


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"model": "cnn"}', b"\xff\xfe\x00".decode("latin-1")]
)
def test_damaged_configuration(run, text):
    (run / "config.json").write_bytes(text.encode("latin-1"))
    assert_refused(run, str(run / "config.json"), "damaged", "restore or delete it")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model", None),
        ("model", "transformer"),
        ("image_shape", None),
        ("image_shape", [16, 16]),
        ("image_shape", [16, 0, 1]),
        ("image_shape", "16x16"),
        ("class_names", None),
        ("class_names", ["cat"]),
        ("class_names", 3),
        ("class_names", "cat"),
        ("class_names", ["cat", 3]),
        ("class_names", ["cat", None]),
        ("class_names", ["cat"] * 100_001),
        ("image_shape", [10**9, 16, 1]),
        ("image_shape", [10**5, 10**5, 1]),
        ("image_shape", [1, 1, 10**6]),
        ("image_shape", [True, 16, 1]),
        ("preprocessing", {"mean": [0.5], "std": [0.5]}),
    ],
)
def test_impossible_configuration(run, field, value):
    runs.edit_config(run, **{field: value})
    assert_refused(run, str(run / "config.json"), field, "restore or delete it")


@pytest.mark.parametrize(
    "preprocessing",
    [
        {"mean": [0.5], "std": [0.0]},
        {"mean": [0.5], "std": [-1.0]},
        {"mean": [0.5], "std": [float("nan")]},
        {"mean": [0.5], "std": [float("inf")]},
        {"mean": [0.5, 0.5], "std": [1.0, 1.0]},
        {"mean": [0.5], "std": ["1"]},
        {"mean": [0.5], "std": [True]},
        {"mean": 0.5, "std": 0.5},
        {"mean": [0.5]},
        {"mean": [0.5], "std": [0.5], "network": 1},
        "no",
        [],
    ],
)
def test_impossible_preprocessing(run, preprocessing):
    runs.edit_config(run, model="resnet18", preprocessing=preprocessing)
    assert_refused(run, str(run / "config.json"), "preprocessing: expected", "restore or delete it")


def test_a_configuration_too_deep_or_too_large(run, monkeypatch):
    path = run / "config.json"
    path.write_text("[" * 100_000)
    assert_refused(run, str(path), "damaged")
    monkeypatch.setattr(checkpoint, "_LARGEST_CONFIG", 10)
    assert_refused(run, str(path), "expected at most 10 bytes")


@pytest.mark.parametrize("names", [NAMES[:2], (*NAMES, "fox")])
def test_changed_number_of_classes(run, names):
    runs.edit_config(run, class_names=list(names))
    assert_refused(
        run, str(run / "checkpoints" / "10"), f"({len(names)},), got (3,)", "config.json"
    )


def test_changed_number_of_channels(run):
    runs.edit_config(run, image_shape=[16, 16, 3])
    assert_refused(run, str(run), "stem.kernel: expected (7, 7, 3, 32), got (7, 7, 1, 32)")


def test_changed_network(run):
    runs.edit_config(run, model="resnet18")
    assert_refused(run, str(run), "expected (64,), got none")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_no_numbers(tmp_path, value):
    variables = runs.random_variables(3, 1)
    variables["blocks"][1]["convs"][2]["bias"][7] = value
    run = runs.make_run(tmp_path / "run", NAMES, SHAPE, variables=variables)
    assert_refused(run, str(run), "blocks.1.convs.2.bias", "--learning-rate")


# Damage that the storage does not notice.


def without_digests(run):
    """The newest checkpoint as version 0.1 wrote it."""
    path = run / "checkpoints" / "10" / "_CHECKPOINT_METADATA"
    path.write_text(json.dumps({**json.loads(path.read_text()), "custom_metadata": {}}))


def test_a_flipped_bit_is_noticed(tmp_path):
    """Bits all over the file that holds the arrays: an error, or the very same numbers."""
    numbers = np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)
    state = {"variables": {"a": numbers, "b": numbers[0]}}
    checkpoint.claim(tmp_path, CONFIG)
    with checkpoint.manager(tmp_path) as opened:
        checkpoint.save(opened, 10, state)
    path = largest_file(tmp_path / "checkpoints" / "10")
    whole = path.read_bytes()
    generator, messages = np.random.default_rng(0), []
    for place in generator.integers(0, len(whole), 40):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(generator.integers(8))
        path.write_bytes(damaged)
        with checkpoint.manager(tmp_path, read_only=True) as opened:
            try:
                restored = checkpoint.restore(opened, state)
            except checkpoint.RunError as error:
                messages.append(str(error))
            else:
                assert restored is not None
                jax.tree.map(np.testing.assert_array_equal, restored[1], state)
    assert all("Delete that folder to fall back on the previous one" in text for text in messages)
    # Those that the storage itself let through.
    assert sum("got others (in variables.a" in text for text in messages) > 10


@pytest.mark.parametrize("part", ["variables", "opt_state"])
def test_other_numbers_are_named_on_resume_and_on_loading(saved, tmp_path, part):
    """A whole checkpoint with other numbers in it, under the digests of the right ones."""
    other = {"variables": runs.random_variables(3, 1), "opt_state": [np.zeros(3, np.float32)]}
    (other["opt_state"][0] if part == "opt_state" else other["variables"]["stem"]["bias"])[1] += 1
    run = shutil.copytree(saved, tmp_path / "run")
    shutil.rmtree(run / "checkpoints")
    with checkpoint.manager(run) as opened:
        checkpoint.save(opened, 10, other)
    metadata = "checkpoints/10/_CHECKPOINT_METADATA"
    shutil.copy(saved / metadata, run / metadata)
    name = {"variables": "variables.stem.bias", "opt_state": "opt_state.0"}[part]
    with (
        checkpoint.manager(run, read_only=True) as opened,
        pytest.raises(checkpoint.RunError, match=f"got others .in {name}.: the files are damaged"),
    ):
        checkpoint.restore(opened, other)
    if part == "variables":
        assert_refused(run, name)
    else:  # an optimizer's state is not read for a network
        checkpoint.load_run(run)


def test_a_checkpoint_that_lost_its_digests(run):
    without_digests(run)
    assert_refused(run, str(run / "checkpoints" / "10"), "expected digests", "Delete that folder")
    shutil.rmtree(run / "checkpoints" / "10")
    assert checkpoint.load_run(run).origin["step"] == 5


def test_a_run_from_before_digests_loads_and_goes_on(run):
    without_digests(run)
    runs.edit_config(run, checkpoint_format=None)
    assert checkpoint.load_run(run).origin["step"] == 10
    described = json.loads((run / "config.json").read_text())
    checkpoint.claim(run, described)
    state = {"variables": runs.random_variables(3, 1), "opt_state": [np.zeros(3, np.float32)]}
    with checkpoint.manager(run) as opened:
        assert checkpoint.restore(opened, state) is not None
        checkpoint.save(opened, 15, state)
    assert json.loads((run / "config.json").read_text()) == described
    assert checkpoint.load_run(run).origin["step"] == 15


# Whose folder it is.

CONFIG = {
    "model": "cnn",
    "class_names": ["a", "b"],
    "image_shape": [8, 8, 1],
    "seed": 1,
    "out": "x",
}


def test_a_folder_is_claimed_once_and_again_by_the_same_configuration(tmp_path):
    run = tmp_path / "new" / "run"
    checkpoint.claim(run, CONFIG)
    assert json.loads((run / "config.json").read_text()) == {"checkpoint_format": 1, **CONFIG}
    before = runs.contents(run)
    # Where it lies may change, what it computes may not.
    checkpoint.claim(run, {**CONFIG, "out": "y", "data_dir": "elsewhere"})
    assert runs.contents(run) == before


def test_another_configuration_is_refused_by_the_fields_that_differ(tmp_path):
    checkpoint.claim(tmp_path, CONFIG)
    before = runs.contents(tmp_path)
    other = {**CONFIG, "seed": 2, "class_names": ["a", "c"]}
    with pytest.raises(checkpoint.RunError, match=r"seed: 1 there, 2 now") as raised:
        checkpoint.claim(tmp_path, other)
    message = str(raised.value)
    assert "class_names" in message
    assert "model" not in message
    assert "image_shape" not in message
    assert str(tmp_path) in message
    assert runs.contents(tmp_path) == before


def test_a_folder_with_foreign_files_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(checkpoint.RunError, match=r"new or empty folder.*holds other files"):
        checkpoint.claim(tmp_path, CONFIG)
    assert runs.contents(tmp_path) == {"thesis.tex": b"mine"}


def test_of_two_configurations_that_both_find_no_run_one_gets_the_folder(tmp_path, monkeypatch):
    """The other one claims the folder between the first look and the write."""
    run, create = tmp_path / "run", checkpoint._files.create_text

    def overtaken(path, text):
        monkeypatch.setattr(checkpoint._files, "create_text", create)
        checkpoint.claim(run, {**CONFIG, "seed": 2})
        return create(path, text)

    monkeypatch.setattr(checkpoint._files, "create_text", overtaken)
    with pytest.raises(checkpoint.RunError, match=r"seed: 2 there, 1 now"):
        checkpoint.claim(run, CONFIG)
    assert checkpoint.read_config(run)["seed"] == 2
    assert [path.name for path in run.iterdir()] == ["config.json"]


def test_a_file_is_no_folder(tmp_path):
    path = tmp_path / "file"
    path.write_text("mine")
    with pytest.raises(checkpoint.RunError, match="expected a folder, got the file"):
        checkpoint.claim(path, CONFIG)
    assert path.read_text() == "mine"
