"""The benchmark end to end, on networks that are set by hand or tiny."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from signsal_jax import cli, truth
from signsal_jax.report import truth as tables
from signsal_jax.truth import run, training
from signsal_jax.truth.explain import MAPS

TINY = [
    "--quick",
    "--tasks",
    "bright",
    "--networks",
    "cnn",
    "--seeds",
    "1",
    "--steps",
    "1",
    "--images",
    "24",
]


@pytest.fixture
def by_hand(monkeypatch):
    """In place of training, the anchor; counts the calls."""
    calls = []

    def train_network(task, name, **settings):
        calls.append((task.name, name, settings))
        return training.Trained(*truth.anchor(task))

    monkeypatch.setattr(run, "train_network", train_network)
    return calls


@pytest.mark.usefixtures("no_compilation_cache")
def test_the_command_scores_and_resumes(tmp_path, by_hand, capsys):
    command = ["truth", "--out", str(tmp_path), *TINY]
    assert cli.main(command) == 0
    assert by_hand == [("bright", "cnn", {"seed": 0, "steps": 1, "adversarial": False})]
    results = json.loads((tmp_path / "truth.json").read_text())
    (row,) = results["rows"]
    assert row["counts"]
    assert (row["accuracy"], row["agreement"]) == (1, 1)
    assert [*row["maps"]] == [*MAPS]
    assert row["maps"]["weighted_contrast"]["sign_pixels"]["mean"] == 1
    assert row["maps"]["active"]["rival"]["mean"] == 1
    for name in ("mass", "rank"):
        score, chance = (row["maps"]["random"][key] for key in (name, "chance"))
        assert score["low"] <= chance["high"]
        assert chance["low"] <= score["high"]
    assert (
        "signsal truth --quick --tasks bright --networks cnn" in (tmp_path / "truth.md").read_text()
    )
    assert (tmp_path / "truth.png").stat().st_size > 1000
    # The row is there: nothing is trained again, also after a kill before the tables.
    (tmp_path / "truth.json").unlink()
    assert cli.main(command) == 0
    assert len(by_hand) == 1
    assert json.loads((tmp_path / "truth.json").read_text())["rows"] == [row]
    capsys.readouterr()


def test_other_settings_are_another_row(tmp_path):
    identity = run.TruthConfig(("dark",), ("cnn",), seeds=1).rows()[0]
    path = tmp_path / "row.json"
    path.write_text(json.dumps({**identity, "accuracy": 1}))
    assert run._existing(path, identity) is not None
    assert run._existing(path, {**identity, "steps": 3}) is None


@pytest.mark.usefixtures("no_compilation_cache")
def test_maps_of_ones_own(tmp_path, capsys):
    """The truth itself is the perfect map; its opposite finds the pixels with every sign wrong."""
    task = truth.TASKS["bright"]
    samples = jax.jit(lambda: truth.batch(task, "test", 0, 4))()
    marks, direction, _ = run.known(task, samples)
    perfect = np.asarray((marks * direction[:, :, None, None, None]).sum(1))
    np.save(tmp_path / "maps.npy", perfect)
    assert cli.main(["truth", "--tasks", "bright", "--maps", str(tmp_path / "maps.npy")]) == 0
    lines = dict(line.split()[:2] for line in capsys.readouterr().out.splitlines())
    for name in ("mass", "rank", "precision", "sign_pixels", "sign_covered", "sign_marks"):
        assert float(lines[name]) == 1, name
    assert run.score_own(task, -perfect)["sign_pixels"]["mean"] == 0
    assert run.score_own(task, np.abs(perfect))["precision"]["mean"] == 1
    assert "sign_pixels" not in run.score_own(task, np.abs(perfect[..., 0]))


@pytest.mark.usefixtures("no_compilation_cache")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--maps", "maps.npy"], "--maps: expected one task in --tasks"),
        (["--tasks", "dark", "--maps", "text.npy"], "expected a .npy file of numbers"),
        (["--tasks", "dark", "--maps", "small.npy"], "maps: expected [n, 32, 32]"),
        (["--seeds", "0"], "--seeds: expected at least 1, got 0"),
    ],
)
def test_mistakes_are_named(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.npy").write_text("no numbers")
    np.save(tmp_path / "small.npy", np.zeros((2, 8, 8)))
    assert cli.main(["truth", *arguments]) == 1
    assert message in capsys.readouterr().err


def test_summaries_are_means_over_marks_of_right_images():
    values = np.asarray([[1.0, np.nan], [0.0, 1.0], [np.nan, np.nan], [5.0, 5.0]])
    found = run.summarize({"a": values, "b": values[:, 1] * np.nan}, np.arange(4) < 3)
    assert found["b"] is None
    assert found["a"]["mean"] == pytest.approx(2 / 3)
    assert found["a"]["images"] == 2
    assert found["a"]["low"] <= 2 / 3 <= found["a"]["high"]


class _Small(nnx.Module):
    def __init__(self, classes, rngs):
        self.kernel = nnx.Param(jax.random.normal(rngs.params(), (32 * 32 * 3, classes)) * 1e-3)

    def __call__(self, images):
        return images.reshape(len(images), -1) @ self.kernel[...]


def test_training_is_deterministic_and_adversaries_change_it(monkeypatch):
    monkeypatch.setitem(training._MAKERS, "small", lambda classes, rngs: _Small(classes, rngs))
    monkeypatch.setattr(training, "NETWORKS", (*training.NETWORKS, "small"))
    task = truth.TASKS["position"]
    first, again, twin = (
        training.train_network(task, "small", steps=3, adversarial=adversarial)
        for adversarial in (False, False, True)
    )
    leaves = [jax.tree.leaves(trained.variables) for trained in (first, again, twin)]
    assert all(jnp.array_equal(a, b) for a, b in zip(leaves[0], leaves[1], strict=True))
    assert not all(jnp.array_equal(a, b) for a, b in zip(leaves[0], leaves[2], strict=True))
    assert first.steps == 3
    monkeypatch.setattr(training, "_is_good", lambda *_: True)
    assert training.train_network(task, "small", steps=150).steps == 100
    with pytest.raises(ValueError, match="name: expected one of cnn"):
        training.train_network(task, "vgg")


@pytest.mark.parametrize("name", training.NETWORKS)
def test_networks_take_scenes_and_give_logits(name):
    def apply(images):
        return training._create(name, 4, 0)(images)

    assert jax.eval_shape(apply, jnp.zeros((2, 32, 32, 3))).shape == (2, 4)


def test_twins_are_compared_with_the_network_of_their_seed():
    def row(seed, adversarial, precision):
        scores = {"precision": {"mean": precision}, "sign_pixels": {"mean": precision / 2}}
        identity = {"task": "bright", "network": "cnn", "seed": seed, "adversarial": adversarial}
        return identity | {"maps": {"vanilla": scores}}

    rows = [row(0, False, 0.25), row(1, False, 0.5), row(0, True, 0.75), row(2, True, 1.0)]
    pairs = tables.twins(rows)
    assert [(a["seed"], b["seed"]) for a, b in pairs] == [(0, 0)]
    assert "| vanilla | 0.250 | 0.750 | 0.125 | 0.375 |" in tables.twin_table(pairs)
    found = tables.by_network_table(rows, "precision")
    assert "cnn (2) | cnn, adversarial (2)" in found
    assert "0.375 (0.25 to 0.50) | 0.875 (0.75 to 1.00)" in found


def test_the_whole_run_has_twins_of_two_networks():
    rows = run.TruthConfig().rows()
    assert {row["network"] for row in rows if row["adversarial"]} == {"cnn", "vit"}
    assert len(rows) == (len(training.NETWORKS) + 2) * len(truth.TASKS) * 5
