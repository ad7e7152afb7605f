"""Training: it learns, resumes exactly, and stops with a reason."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest
from flax import nnx

from signsal_jax import checkpoint, data, models, sharding
from signsal_jax.models.resnet import ResNet
from signsal_jax.report.published import PUBLISHED
from tests import runs, tiny_training
from train import __main__ as command, expected, step as steps
from train.config import TrainConfig
from train.loop import train
from train.metrics_file import MetricsFile


@pytest.fixture
def tiny(monkeypatch):
    """A small network and small data in the place of the real ones."""
    monkeypatch.setattr(models, "create", tiny_training.create)
    monkeypatch.setattr(data, "load", tiny_training.load)


def config(out, **options) -> TrainConfig:
    """Forty images in batches of eight: five steps an epoch, twenty in all."""
    given = {"epochs": 4, "batch_size": 8, "checkpoint_every": 6, "log_every": 4, **options}
    return TrainConfig(out=out, learning_rate=given.pop("learning_rate", 0.05), **given)


def saved(run: Path, step: int | None = None):
    """Everything in a checkpoint, by default the newest."""
    with checkpoint.manager(run, read_only=True) as opened:
        step = opened.latest_step() if step is None else step
        with warnings.catch_warnings():
            # That it asks the file where the arrays go: to this one device.
            warnings.simplefilter("ignore", UserWarning)
            return opened.restore(step, args=ocp.args.PyTreeRestore())


def assert_same_bits(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for first, second in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert np.asarray(first).tobytes() == np.asarray(second).tobytes()


def metrics(run: Path):
    """The lines of the metrics file without the one column that time decides."""
    with (run / "metrics.csv").open(newline="") as file:
        return [
            {key: value for key, value in row.items() if key != "images_per_second"}
            for row in csv.DictReader(file)
        ]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "finished"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "create", tiny_training.create)
        patch.setattr(data, "load", tiny_training.load)
        return run, train(config(run))


def test_it_learns_and_leaves_what_is_promised(finished):
    run, accuracy = finished
    assert accuracy >= 0.9
    assert {path.name for path in run.iterdir()} == {
        "config.json",
        "metrics.csv",
        "checkpoints",
        "summary.json",
    }
    recorded = json.loads((run / "config.json").read_text())
    assert recorded["learning_rate"] == 0.05
    assert recorded["seed"] == 42
    assert recorded["dataset_version"] == "rows:1.0.0"
    assert recorded["dataset_note"] == "Rows of noise."
    assert recorded["class_names"] == ["a", "b", "c", "d"]
    assert recorded["image_shape"] == [4, 4, 1]
    summary = json.loads((run / "summary.json").read_text())
    assert (summary["steps"], summary["test_images"]) == (20, 40)
    assert summary["test_accuracy"] == accuracy
    assert summary["versions"]["jax"] == jax.__version__
    rows = metrics(run)
    # Every four steps, at every checkpoint, and at the end.
    assert [int(row["step"]) for row in rows] == [4, 6, 8, 12, 16, 18, 20]
    assert [row["epoch"] for row in rows] == ["0.8", "1.2", "1.6", "2.4", "3.2", "3.6", "4.0"]
    losses = [float(row["train_loss"]) for row in rows]
    assert losses[-1] < 0.5 * losses[0]
    at_checkpoints = [row["step"] for row in rows if row["test_accuracy"]]
    assert at_checkpoints == ["6", "12", "18", "20"]
    assert float(rows[-1]["test_accuracy"]) == accuracy


def test_a_finished_run_returns_at_once(tiny, finished, monkeypatch):
    run, accuracy = finished
    before = {name: content for name, content in runs.contents(run).items() if "json" not in name}

    class NoSteps:
        def __getitem__(self, step):
            raise AssertionError(f"step {step} made again")

    monkeypatch.setattr(data, "training_batches", lambda *_, **__: NoSteps())
    assert train(config(run)) == accuracy
    after = {name: content for name, content in runs.contents(run).items() if "json" not in name}
    assert after == before


class Interrupted:
    """A stream of batches that is broken off at one step, as by Ctrl-C."""

    def __init__(self, stream, at):
        self.stream, self.at = stream, at

    def __getitem__(self, step):
        if step + 1 == self.at:
            raise KeyboardInterrupt
        return self.stream[step]


def interrupt(patch, at):
    """Breaks off the next training before the step `at`."""
    original = data.training_batches
    patch.setattr(
        data, "training_batches", lambda *a, **options: Interrupted(original(*a, **options), at)
    )


@pytest.mark.parametrize("stops", [(3,), (7, 15, 20)])
def test_a_run_broken_off_ends_as_if_it_had_not_been(tiny, finished, tmp_path, monkeypatch, stops):
    run = tmp_path / "broken"
    for at in stops:
        with monkeypatch.context() as patch:
            interrupt(patch, at)
            with pytest.raises(KeyboardInterrupt):
                train(config(run))
        assert not (run / "summary.json").exists()
    assert train(config(run)) == finished[1]
    assert_same_bits(saved(run), saved(finished[0]))
    assert metrics(run) == metrics(finished[0])


def test_another_seed_gives_other_weights(tiny, finished, tmp_path):
    train(config(tmp_path / "other", seed=43))
    linear = [
        saved(run)["variables"]["linear"]["kernel"] for run in (finished[0], tmp_path / "other")
    ]
    assert not np.array_equal(*linear)


def test_killed_at_any_moment_it_resumes_exactly(tmp_path):
    """A real process, killed as hard as can be; another one goes on."""
    options = ["--epochs=20", "--batch-size=8", "--checkpoint-every=10", "--log-every=7"]

    def start(run):
        return subprocess.Popen(
            [sys.executable, "-m", "tests.tiny_training", "--out", str(run), *options],
            cwd=Path(__file__).parents[1],
            env={**os.environ, "JAX_PLATFORMS": "cpu", "XDG_CACHE_HOME": str(tmp_path / "cache")},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    killed, whole = tmp_path / "killed", tmp_path / "whole"
    process = start(killed)
    deadline = time.monotonic() + 240
    while not (killed / "checkpoints" / "20").exists():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline, "no checkpoint in four minutes"
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not (killed / "summary.json").exists()
    after_kill = max(int(name) for name in os.listdir(killed / "checkpoints") if name.isdigit())
    assert 20 <= after_kill < 100
    for run in (killed, whole):
        process = start(run)
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
    assert_same_bits(saved(killed), saved(whole))
    assert metrics(killed) == metrics(whole)
    results = [json.loads((run / "summary.json").read_text()) for run in (killed, whole)]
    assert results[0] == results[1]


# What stops it.


def test_another_runs_folder_is_refused(tiny, finished):
    run, _ = finished
    before = runs.contents(run)
    with pytest.raises(
        checkpoint.RunError, match=r"another configuration \(batch_size: 8 there, 16"
    ):
        train(config(run, batch_size=16))
    assert runs.contents(run) == before


def test_a_folder_with_foreign_files_is_refused(tiny, tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(checkpoint.RunError, match="holds other files"):
        train(config(tmp_path))
    assert runs.contents(tmp_path) == {"thesis.tex": b"mine"}


def test_a_loss_that_is_no_number_stops_and_keeps_the_last_checkpoint(tiny, tmp_path):
    """The first update makes the weights huge, the second loss is then infinite or NaN."""
    run = tmp_path / "run"
    with pytest.raises(FloatingPointError, match=r"at step 2: .*run is kept.*--learning-rate"):
        train(config(run, learning_rate=1e38, weight_decay=0.0, checkpoint_every=1))
    assert os.listdir(run / "checkpoints") == ["1"]
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(saved(run)["variables"]))
    assert not (run / "summary.json").exists()


def test_weights_that_are_no_numbers_are_never_saved(tiny, tmp_path):
    """An infinite step: the loss before it was fine."""
    run = tmp_path / "run"
    with pytest.raises(FloatingPointError, match="at step 1"):
        train(config(run, learning_rate=3e38, weight_decay=50.0, checkpoint_every=1))
    assert os.listdir(run / "checkpoints") == []


def test_a_batch_larger_than_all_the_training_is_refused(tiny, tmp_path):
    with pytest.raises(ValueError, match="batch_size: expected at most epochs x images = 160"):
        train(config(tmp_path / "run", batch_size=161))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epochs", 0),
        ("batch_size", 0),
        ("log_every", -1),
        ("checkpoint_every", 0),
        ("learning_rate", 0.0),
        ("learning_rate", float("nan")),
        ("weight_decay", -0.1),
        ("weight_decay", float("nan")),
        ("seed", -1),
        ("seed", 2**32),
    ],
)
def test_impossible_configuration(field, value, tmp_path):
    with pytest.raises(ValueError, match=rf"{field}: expected .*, got {value}"):
        TrainConfig(out=tmp_path, **{field: value})


def test_the_defaults_are_the_papers(tmp_path):
    default = TrainConfig(out=tmp_path)
    assert (default.dataset, default.model) == ("cifar10", "cnn")
    assert (default.learning_rate, default.weight_decay) == (1e-3, 0.01)
    assert (default.epochs, default.batch_size, default.seed) == (50, 128, 42)


# The command.


def run_command(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["train", *map(str, arguments)])
    return command.main()


def test_help_names_every_option(monkeypatch, capsys):
    with pytest.raises(SystemExit) as exited:
        run_command(monkeypatch, "--help")
    assert exited.value.code == 0
    shown = capsys.readouterr().out
    for name in TrainConfig.__dataclass_fields__:
        assert f"--{name.replace('_', '-')}" in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dataset", "cifar10", "--data-dir", "{folder}"], "signsal prepare cifar10"),
        (["--dataset", "no_such_set", "--data-dir", "{folder}"], "expected mnist5k, cifar10"),
    ],
)
def test_mistakes_end_in_one_line(monkeypatch, capsys, tmp_path, arguments, message):
    arguments = [argument.format(folder=tmp_path / "data") for argument in arguments]
    assert run_command(monkeypatch, "--out", tmp_path / "run", *arguments) == 1
    error = capsys.readouterr().err
    assert error.startswith("train: ")
    assert message in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_an_impossible_option_is_said_before_anything_is_written(monkeypatch, capsys, tmp_path):
    assert run_command(monkeypatch, "--out", tmp_path / "run", "--epochs", 0) == 1
    assert capsys.readouterr().err == "train: epochs: expected at least 1, got 0\n"
    assert list(tmp_path.iterdir()) == []


def test_debug_shows_the_traceback_of_a_mistake(monkeypatch, capsys, tmp_path):
    assert run_command(monkeypatch, "--out", tmp_path / "run", "--debug", "--epochs", 0) == 1
    error = capsys.readouterr().err
    assert "Traceback" in error
    assert error.endswith("train: epochs: expected at least 1, got 0\n")


@pytest.mark.parametrize(("error", "status"), [(KeyboardInterrupt(), 130), (KeyError("x"), 70)])
def test_interruptions_and_bugs_have_statuses_of_their_own(monkeypatch, tmp_path, error, status):
    def fail(config):
        raise error

    monkeypatch.setattr(command, "train", fail)
    assert run_command(monkeypatch, "--out", tmp_path) == status


def test_the_papers_runs_say_what_to_expect(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(command, "train", lambda config: 0.5)
    assert run_command(monkeypatch, "--out", tmp_path, "--seed", 43) == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert first.startswith("expect a test accuracy of about 0.63, the paper's")
    assert "about 25 minutes on 2 CPU cores" in first


@pytest.mark.parametrize(
    "changed",
    [{"epochs": 3}, {"batch_size": 64}, {"dataset": "mnist5k"}, {"weights": "package"}],
)
def test_other_runs_say_nothing(changed, tmp_path):
    assert expected.line(TrainConfig(out=tmp_path)) is not None
    assert expected.line(TrainConfig(out=tmp_path, **changed)) is None


def test_what_is_expected_is_what_the_paper_reports():
    for (dataset, model, frozen), values in expected._PAPER.items():
        name = f"{dataset}-{model}" + ("-pretrained" if frozen else "")
        if name == "imagenette-convnext_tiny-pretrained":
            name = "imagenette-convnext_tiny"
        assert PUBLISHED[name].figures["accuracy"] == values.accuracy


# The metrics file.

ROWS = "step,epoch,train_loss,train_accuracy,test_accuracy,images_per_second\n"


def test_metrics_past_the_checkpoint_are_dropped(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text(
        ROWS + "5,0.5,1.5,0.25,,900.5\n10,1.0,1.25,0.5,0.5,901.0\n15,1.5,1.0,0.75,,902.0\n"
    )
    file = MetricsFile(path, 10)
    assert path.read_text() == ROWS + "5,0.5,1.5,0.25,,900.5\n10,1.0,1.25,0.5,0.5,901.0\n"
    file.write(step=15, epoch=1.5, train_loss=0.1, train_accuracy=1.0, images_per_second=1.0)
    assert path.read_text().splitlines()[-1] == "15,1.5,0.1,1.0,,1.0"


@pytest.mark.parametrize("cut", ["1", "15", "15,", "15,1.5,1.0", "15,1.5,1.0,0.75,", ""])
def test_a_line_cut_short_is_dropped(tmp_path, cut):
    path = tmp_path / "metrics.csv"
    path.write_text(ROWS + "10,1.0,1.25,0.5,0.5,901.0\n" + cut)
    MetricsFile(path, 10)
    assert path.read_text() == ROWS + "10,1.0,1.25,0.5,0.5,901.0\n"


@pytest.mark.parametrize("content", [None, "", "step,ep"])
def test_no_metrics_yet(tmp_path, content):
    path = tmp_path / "metrics.csv"
    if content is not None:
        path.write_text(content)
    MetricsFile(path, 0)
    assert path.read_text() == ROWS


# The step.

ONE = sharding.make_mesh(jax.devices()[:1])


class Linear(nnx.Module):
    """One linear layer, whose gradient numpy knows."""

    def __init__(self):
        self.linear = nnx.Linear(16, 4, rngs=nnx.Rngs(0))

    def __call__(self, images):
        return self.linear(images.reshape(len(images), -1))


def test_one_step_is_adamw_on_the_mean_cross_entropy():
    rate, decay = 0.01, 0.1
    generator = np.random.default_rng(0)
    images = generator.random((8, 4, 4, 1), np.float32)
    labels = generator.integers(0, 4, 8).astype(np.int32)
    optimizer = optax.adamw(rate, weight_decay=decay)
    graph, state = steps.init(Linear(), optimizer)
    kernel, bias = (np.asarray(state.params["linear"][name][...]) for name in ("kernel", "bias"))
    state, sums = steps.make_train_step(graph, optimizer, ONE)(state, images, labels)

    rows = images.reshape(8, -1)
    exponentials = np.exp(rows @ kernel + bias)
    probabilities = exponentials / exponentials.sum(1, keepdims=True)
    np.testing.assert_allclose(
        sums.loss, -np.log(probabilities[np.arange(8), labels]).sum(), rtol=1e-5
    )
    assert int(sums.correct) == int((probabilities.argmax(1) == labels).sum())
    assert int(sums.images) == 8
    error = (probabilities - np.eye(4)[labels]) / 8
    for name, old, gradient in (("kernel", kernel, rows.T @ error), ("bias", bias, error.sum(0))):
        # Adam's first step is the sign of the gradient, but for its epsilon.
        expected = old - rate * (gradient / (np.abs(gradient) + 1e-8) + decay * old)
        np.testing.assert_allclose(state.params["linear"][name][...], expected, atol=1e-6)


def test_padding_does_not_count():
    graph, state = steps.init(Linear(), optax.adamw(0.1))
    evaluate = steps.make_eval_step(graph, ONE)
    images = np.random.default_rng(1).random((6, 4, 4, 1), np.float32)
    labels = np.asarray([0, 1, 2, 3, 0, 1], np.int32)
    whole = evaluate(state, images[:4], labels[:4], np.ones(4, bool))
    padded = evaluate(state, images, labels, np.arange(6) < 4)
    assert (int(padded.correct), int(padded.images)) == (int(whole.correct), 4)
    np.testing.assert_allclose(padded.loss, whole.loss, rtol=1e-6)


def test_batch_statistics_change_in_training_and_are_used_in_inference():
    network = ResNet(3, in_features=1, depths=(1,), rngs=nnx.Rngs(0))
    images = np.random.default_rng(0).random((6, 16, 16, 1), np.float32)
    stem_mean = np.asarray(network.stem(jnp.asarray(images))).mean((0, 1, 2))
    optimizer = optax.adamw(1e-3)
    graph, state = steps.init(network, optimizer)
    before = jax.tree.map(np.array, nnx.to_pure_dict(state.rest))
    labels = np.asarray([0, 1, 2, 0, 1, 2], np.int32)
    mask = np.ones(6, bool)
    evaluate = steps.make_eval_step(graph, ONE)
    trained, _ = steps.make_train_step(graph, optimizer, ONE)(state, images, labels)
    after = nnx.to_pure_dict(trained.rest)
    for old, new in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True):
        assert not np.array_equal(old, new)
    # A tenth of the batch's own mean, as in torch.
    np.testing.assert_allclose(after["stem_bn"]["mean"], 0.1 * stem_mean, atol=1e-5)
    # In inference they decide, and an image's company does not.
    together = evaluate(trained, images, labels, mask)
    one_by_one = [
        evaluate(trained, images[[row] * 6], labels[[row] * 6], np.arange(6) < 1)
        for row in range(6)
    ]
    np.testing.assert_allclose(together.loss, sum(one.loss for one in one_by_one), rtol=1e-4)
    nnx.replace_by_pure_dict(trained.rest, before)
    with_old_statistics = evaluate(trained, images, labels, mask)
    assert abs(float(with_old_statistics.loss) - float(together.loss)) > 1e-3
