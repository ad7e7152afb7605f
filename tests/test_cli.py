"""The `signsal` command, as a user types it."""

import csv
import json
import os
import sys

import jax
import numpy as np
import pytest
from PIL import Image

import signsal_jax
from signsal_jax import _files, _provenance, checkpoint, cli, data, evaluation, gradients, report
from signsal_jax.cli import evaluate as evaluate_command
from signsal_jax.cli._network import NetworkOptions, provenance
from signsal_jax.data.photos import read_image
from signsal_jax.evaluations.deletion import PAPER_CURVES
from signsal_jax.maps import METHODS
from signsal_jax.models import Model
from tests import runs, toys

NAMES, SHAPE = ("cat", "dog", "eel"), (16, 16, 1)


pytestmark = pytest.mark.usefixtures("no_compilation_cache")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return runs.make_run(tmp_path_factory.mktemp("runs") / "run", NAMES, SHAPE)


@pytest.fixture
def toy(monkeypatch):
    """A network that compiles at once, in the place of any that is asked for."""

    def apply_fn(variables, images):
        return toys.mlp(variables, 4 * (images - 0.5))

    model = Model(apply_fn, toys.mlp_variables(0, 3, 256), NAMES, SHAPE, {"model": "toy"})
    monkeypatch.setattr(NetworkOptions, "load", lambda self, default=None: model)
    return model


def picture(path, seed=0, size=16):
    path.parent.mkdir(exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def signsal(*arguments) -> int:
    return cli.main([str(argument) for argument in arguments])


def assert_refused(capsys, tmp_path, *patterns, arguments, status=1):
    """One line on stderr, exit status 1, and nothing written."""
    before = runs.contents(tmp_path)
    assert signsal(*arguments) == status
    error = capsys.readouterr().err
    assert error.startswith("signsal: ")
    assert error.count("\n") == 1
    for pattern in patterns:
        assert pattern in error
    assert runs.contents(tmp_path) == before


# Help.


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        ([], ["explain", "evaluate", "prepare"]),
        (["explain"], ["[IMAGE ...]", "--run", "--model", "--target", "--out"]),
        (["evaluate"], ["--dataset", "--run", "--split", "--data-dir", "--fractions", "--seed"]),
        (["prepare"], ["NAME", "--data-dir"]),
    ],
)
def test_help(capsys, arguments, options):
    with pytest.raises(SystemExit) as exited:
        signsal(*arguments, "--help")
    assert exited.value.code == 0
    shown = capsys.readouterr().out
    for option in options:
        assert option in shown


# How it ends.


def test_version(capsys):
    assert signsal("--version") == 0
    assert capsys.readouterr().out == f"signsal {signsal_jax.__version__}\n"


def test_debug_shows_the_traceback_of_a_mistake(tmp_path, capsys):
    arguments = ["explain", tmp_path / "a.png", "--model", "cnn-cifar10", "--target", 99]
    assert signsal(*arguments) == 1
    assert "Traceback" not in capsys.readouterr().err
    assert signsal("--debug", *arguments) == signsal(*arguments, "--debug") == 1
    error = capsys.readouterr().err
    assert error.count("Traceback") == 2
    assert error.endswith("signsal: --target: expected a class index in [0, 9], got 99\n")


@pytest.mark.parametrize("bug", [lambda: [][0], lambda: int("x"), lambda: np.zeros(2) @ np.ones(3)])
def test_a_bug_is_not_dressed_up_as_a_mistake(toy, tmp_path, capsys, monkeypatch, bug):
    def buggy(*_, **__):
        return bug()

    monkeypatch.setattr(report, "maps_figure", buggy)
    assert signsal("explain", picture(tmp_path / "a.png"), "--out", tmp_path / "out") == 70
    error = capsys.readouterr().err
    assert error.startswith("Traceback")
    assert error.endswith("signsal: the error above is a bug: please report it\n")


# explain


def test_explain_writes_what_the_library_says(run, tmp_path, capsys):
    path, out = picture(tmp_path / "a.png"), tmp_path / "out"
    assert signsal("explain", path, "--run", run, "--target", 2, "--out", out) == 0
    assert {file.name for file in out.iterdir()} == {"a.png", "a.npz", "results.json"}
    model = checkpoint.load_run(run)
    gray = np.asarray(Image.open(path).convert("L"), np.float32)[None, ..., None] / 255
    expected = jax.jit(
        lambda variables, images: signsal_jax.saliency_maps(
            model.apply_fn, variables, images, target=2
        )
    )(model.variables, gray)
    with np.load(out / "a.npz") as maps:
        assert set(maps) == set(METHODS)
        for method in METHODS:
            np.testing.assert_allclose(maps[method], expected.maps[method][0], atol=1e-5)
    with Image.open(out / "a.png") as figure:
        assert figure.width > 1000
    results = json.loads((out / "results.json").read_text())
    assert results["configuration"]["target"] == 2
    assert results["versions"] == _provenance.versions()
    assert results["network"]["step"] == 1
    assert results["network"]["dataset_note"] == "Made of random numbers."
    (image,) = results["images"]
    assert (image["image"], image["figure"], image["maps"]) == (str(path), "a.png", "a.npz")
    assert (image["target"], image["target_class"]) == (2, "eel")
    np.testing.assert_allclose(image["logits"], expected.logits[0], rtol=1e-5)
    best = int(np.argmax(expected.logits[0]))
    assert image["top"][0]["class"] == NAMES[best]
    exponentials = np.exp(np.asarray(expected.logits[0], np.float64))
    np.testing.assert_allclose(
        [entry["probability"] for entry in image["top"]],
        np.sort(exponentials / exponentials.sum())[::-1],
        rtol=1e-5,
    )
    assert sum(entry["probability"] for entry in image["top"]) == pytest.approx(1)
    # Who competes: of the pixels kept, the classes that come closest.
    for method in ("active", "inactive"):
        kept = np.asarray(expected.margin[method][0]) > 0
        counts = image["runner_up_pixels"][method]
        assert sum(counts.values()) == kept.sum()
        assert "eel" not in counts
    assert str(out) in capsys.readouterr().out


def test_one_bad_picture_costs_none_of_the_others(toy, tmp_path, capsys):
    good = [
        picture(tmp_path / "one" / "cat.png", 1),
        picture(tmp_path / "two" / "cat.jpg", 2, size=40),
        # Named as one of the two above might be in the report.
        picture(tmp_path / "cat-1.png", 3),
    ]
    corrupt = tmp_path / "corrupt.png"
    corrupt.write_bytes(good[0].read_bytes()[:200])
    missing, out = tmp_path / "missing.png", tmp_path / "out"
    paths = [good[0], corrupt, missing, good[1], good[2]]
    assert signsal("explain", *paths, "--out", out) == 1
    shown = capsys.readouterr()
    lines = [line for line in shown.err.splitlines() if line.startswith("signsal: ")]
    assert len(lines) == 2
    assert f"image {corrupt}: expected a readable picture" in lines[0]
    assert f"image {missing}: expected a picture, found no such file" in lines[1]
    results = json.loads((out / "results.json").read_text())["images"]
    assert [result["image"] for result in results] == [str(path) for path in good]
    # Every one has files of its own, and there are no others.
    names = [result[kind] for result in results for kind in ("figure", "maps")]
    assert len(set(names)) == 6
    assert {file.name for file in out.iterdir()} == {*names, "results.json"}
    logits = {tuple(result["logits"]) for result in results}
    assert len(logits) == 3
    assert results[2]["figure"] == "cat-1.png"


def test_only_bad_pictures_leave_nothing(run, tmp_path, capsys):
    arguments = ["explain", tmp_path / "a.png", "--run", run, "--out", tmp_path / "out"]
    assert_refused(capsys, tmp_path, "found no such file", arguments=arguments)


def test_a_figure_never_overwrites_the_picture(run, tmp_path, capsys):
    path = picture(tmp_path / "cat.png")
    arguments = ["explain", path, "--run", run, "--out", tmp_path]
    assert_refused(capsys, tmp_path, "--out", "cat.png is a picture given", arguments=arguments)


@pytest.mark.parametrize("target", [-1, 3])
def test_target_out_of_range(run, tmp_path, capsys, target):
    arguments = ["explain", picture(tmp_path / "a.png"), "--run", run, f"--target={target}"]
    assert_refused(
        capsys, tmp_path, f"--target: expected a class index in [0, 2], got {target}",
        arguments=arguments,
    )  # fmt: skip


def test_no_pictures(run, tmp_path, capsys):
    assert_refused(capsys, tmp_path, "at least one picture", arguments=["explain", "--run", run])


def test_run_and_model_at_once(run, tmp_path, capsys):
    arguments = ["explain", picture(tmp_path / "a.png"), "--run", run, "--model", "cnn-cifar10"]
    assert_refused(
        capsys,
        tmp_path,
        "expected one of --run DIR and --model NAME, got both",
        arguments=arguments,
    )


def test_a_run_that_is_none(tmp_path, capsys):
    arguments = ["explain", picture(tmp_path / "a.png"), "--run", tmp_path / "none"]
    assert_refused(capsys, tmp_path, str(tmp_path / "none"), "train", arguments=arguments)


@pytest.mark.parametrize("command", ["explain", "evaluate"])
def test_out_that_cannot_be_written(run, tmp_path, capsys, command, sets):
    (tmp_path / "file").write_text("mine")
    subject = [picture(tmp_path / "a.png")] if command == "explain" else ["--dataset", "noise"]
    arguments = [command, *subject, "--run", run, "--out", tmp_path / "file" / "out"]
    assert_refused(
        capsys, tmp_path, f"expected a folder, got the file {tmp_path / 'file'}",
        arguments=arguments,
    )  # fmt: skip


def test_explain_with_the_packaged_network_by_default(tmp_path):
    path, out = picture(tmp_path / "photo.jpg", size=50), tmp_path / "out"
    assert signsal("explain", path, "--out", out) == 0
    results = json.loads((out / "results.json").read_text())
    assert results["network"]["weights"] == "cnn-cifar10"
    assert "JPEG" in json.dumps(results["network"])
    classes = [entry["class"] for entry in results["images"][0]["top"]]
    assert len(classes) == 5
    assert set(classes) <= {
        "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
    }  # fmt: skip
    with np.load(out / "photo.npz") as maps:
        assert maps["active"].shape == (32, 32)


def test_a_typo_costs_no_earlier_results(run, toy, tmp_path, capsys):
    path, out = picture(tmp_path / "a.png"), tmp_path / "out"
    assert signsal("explain", path, "--run", run, "--out", out) == 0
    before = runs.contents(out)
    assert signsal("explain", tmp_path / "b.png", "--run", run, "--out", out) == 1
    assert runs.contents(out) == before


def results_of(out):
    return json.loads((out / "results.json").read_text())


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, OSError(28, "No space left")])
def test_an_interrupted_explanation_keeps_what_was_complete_and_goes_on(
    toy, tmp_path, capsys, monkeypatch, interruption
):
    paths = [picture(tmp_path / f"{name}.png", seed) for seed, name in enumerate("abc")]
    out = tmp_path / "out"
    drawn, maps_figure = [], report.maps_figure

    def interrupted(examples, path, **options):
        if len(drawn) == 2:
            raise interruption
        drawn.append(path.name)
        return maps_figure(examples, path, **options)

    monkeypatch.setattr(report, "maps_figure", interrupted)
    status = 130 if interruption is KeyboardInterrupt else 1
    assert signsal("explain", *paths, "--out", out) == status
    error = capsys.readouterr().err
    assert error.startswith("signsal: ")
    assert error.count("\n") == 1
    assert [entry["image"] for entry in results_of(out)["images"]] == [*map(str, paths[:2])]
    assert results_of(out)["complete"] is False

    drawn.clear()
    assert signsal("explain", *paths, "--out", out) == 0
    assert drawn == ["c.png"]
    assert [entry["image"] for entry in results_of(out)["images"]] == [*map(str, paths)]
    assert results_of(out)["complete"] is True
    assert "2 of 3 are explained already" in capsys.readouterr().out


def test_what_changed_is_explained_again(toy, tmp_path, monkeypatch):
    first, second = picture(tmp_path / "a.png", 1), picture(tmp_path / "b.png", 2)
    drawn, maps_figure, out = [], report.maps_figure, tmp_path / "out"

    def recorded(examples, path, **options):
        drawn.append(path.name)
        return maps_figure(examples, path, **options)

    monkeypatch.setattr(report, "maps_figure", recorded)

    def drawn_by(*arguments):
        drawn.clear()
        assert signsal("explain", *arguments, "--out", out) == 0
        return sorted(drawn)

    assert drawn_by(first, second) == ["a.png", "b.png"]
    assert drawn_by(first, second) == []
    picture(first, 3)
    assert drawn_by(first, second) == ["a.png"]
    (out / "b.npz").unlink()
    assert drawn_by(first, second) == ["b.png"]
    # One picture of a folder keeps the other's results.
    assert drawn_by(first) == []
    assert len(results_of(out)["images"]) == 2
    assert drawn_by(first, second, "--target", 1) == ["a.png", "b.png"]
    # Another picture of the same name gets files of its own.
    other = picture(tmp_path / "other" / "a.png", 4)
    assert drawn_by(other, "--target", 1) == ["a-0.png"]
    assert len(results_of(out)["images"]) == 3


@pytest.mark.parametrize("name", ["cat.png", "cat.npz", "results.json"])
@pytest.mark.parametrize("content", ["mine", '{"images": [{"id": 1}]}', '{"images": 3}', "[]"])
def test_files_of_others_are_never_replaced(run, toy, tmp_path, capsys, name, content):
    path, out = picture(tmp_path / "in" / "cat.jpg"), tmp_path / "out"
    out.mkdir()
    (out / name).write_text(content)
    arguments = ["explain", path, "--out", out]
    assert_refused(capsys, tmp_path, "expected another folder", name, arguments=arguments)


def test_files_named_by_results_of_others_are_not_replaced(toy, tmp_path, capsys):
    """A results.json that names one picture allows no other to be replaced."""
    out = tmp_path / "out"
    assert signsal("explain", picture(tmp_path / "cat.jpg"), "--out", out) == 0
    (out / "dog.png").write_text("mine")
    arguments = ["explain", picture(tmp_path / "dog.jpg"), "--out", out]
    capsys.readouterr()
    assert_refused(capsys, tmp_path, "dog.png was not written by signsal", arguments=arguments)


@pytest.mark.parametrize("suffix", [".npz", ".png"])
def test_inputs_are_never_overwritten_whatever_their_suffix(toy, tmp_path, capsys, suffix):
    out = tmp_path / "out"
    first = picture(tmp_path / "a.png")
    assert signsal("explain", first, "--out", out) == 0
    # The command's own file, which it may replace, is now what it reads.
    own = out / f"a{suffix}"
    own.write_bytes(first.read_bytes())
    capsys.readouterr()
    arguments = ["explain", own, "--target", 1, "--out", out]
    assert_refused(capsys, tmp_path, f"a{suffix} is a picture given", arguments=arguments)


@pytest.mark.parametrize("name", [b"\xff\xfe.png", b"a\nb.png", b"a" * 255, b"b" * 251 + b".png"])
def test_names_of_every_kind(toy, tmp_path, capsys, name):
    path, out = tmp_path / os.fsdecode(name), tmp_path / "out"
    picture(tmp_path / "a.png").rename(path)
    assert signsal("explain", path, "--out", out) == 0
    (entry,) = results_of(out)["images"]
    assert entry["image"] == str(path)
    assert {entry["figure"], entry["maps"], "results.json"} == {file.name for file in out.iterdir()}
    assert capsys.readouterr().out.count("\n") == 2


def test_methods_without_rivals_need_one_pullback(toy, tmp_path, monkeypatch):
    apply_fn, counts = toys.counted(toy.apply_fn)
    model = toy._replace(apply_fn=apply_fn)
    monkeypatch.setattr(NetworkOptions, "load", lambda self, default=None: model)
    monkeypatch.setattr("signsal_jax.cli.explain.HostedExtrema", None)
    path, out = picture(tmp_path / "a.png"), tmp_path / "out"
    methods = ["vanilla", "negative"]
    assert signsal("explain", path, "--methods", *methods, "--out", out) == 0
    assert counts[0] == 1
    gray = read_image(path, SHAPE)[None]
    expected = signsal_jax.saliency_maps(toy.apply_fn, toy.variables, gray)
    with np.load(out / "a.npz") as maps:
        assert list(maps) == methods
        for method in methods:
            np.testing.assert_allclose(maps[method], expected.maps[method][0], atol=1e-5)
    assert results_of(out)["configuration"]["methods"] == methods


def test_the_gradient_method_is_the_librarys_and_recorded(toy, tmp_path):
    path, out = picture(tmp_path / "a.png"), tmp_path / "out"
    options = ["--estimator", "smooth_grad", "--samples", 3, "--seed", 5]
    assert signsal("explain", path, *options, "--out", out) == 0
    smooth = signsal_jax.smooth_grad(jax.random.key(5), samples=3)
    expected = jax.jit(
        lambda variables, images: signsal_jax.saliency_maps(
            toy.apply_fn, variables, images, estimator=smooth
        )
    )(toy.variables, read_image(path, SHAPE)[None])
    with np.load(out / "a.npz") as maps:
        for method in METHODS:
            np.testing.assert_allclose(maps[method], expected.maps[method][0], atol=1e-5)
    assert results_of(out)["estimator"] == json.loads(json.dumps(gradients.describe(smooth)))


def test_an_option_of_another_gradient_method(toy, tmp_path, capsys):
    arguments = ["explain", picture(tmp_path / "a.png"), "--steps", 3]
    message = "--steps: expected with --estimator integrated_gradients, got plain"
    assert_refused(capsys, tmp_path, message, arguments=arguments)


def test_without_figures(toy, tmp_path, capsys):
    out = tmp_path / "out"
    (out).mkdir()
    (out / "a.png").write_text("mine")
    assert signsal("explain", picture(tmp_path / "a.png"), "--no-figures", "--out", out) == 0
    assert {file.name for file in out.iterdir()} == {"a.png", "a.npz", "results.json"}
    assert (out / "a.png").read_text() == "mine"
    assert results_of(out)["images"][0]["figure"] is None


def test_many_pictures_are_computed_in_batches_and_drawn_by_others(toy, tmp_path):
    paths = [picture(tmp_path / "in" / f"{seed:02}.png", seed) for seed in range(18)]
    out = tmp_path / "out"
    assert signsal("explain", *paths, "--out", out) == 0
    results = results_of(out)["images"]
    assert [entry["image"] for entry in results] == [*map(str, paths)]
    for path, entry in zip(paths, results, strict=True):
        logits = toy.apply_fn(toy.variables, read_image(path, SHAPE)[None])[0]
        np.testing.assert_allclose(entry["logits"], logits, rtol=1e-5)
        with Image.open(out / entry["figure"]) as figure:
            figure.load()


def test_class_names_from_a_file(run, tmp_path, capsys):
    names = tmp_path / "names.txt"
    names.write_text("eins\nzwei\ndrei $x$\n", encoding="utf-8")
    path, out = picture(tmp_path / "a.png"), tmp_path / "out"
    arguments = ["explain", path, "--run", run, "--class-names", names, "--out", out]
    assert signsal(*arguments, "--target", 2) == 0
    assert results_of(out)["images"][0]["target_class"] == "drei $x$"
    capsys.readouterr()
    for text, message in (("eins\nzwei\n", "expected 3 lines"), ("a\n\nc\n", "none on line 2")):
        names.write_text(text)
        assert_refused(capsys, tmp_path, "--class-names", message, arguments=arguments)


def test_photos_are_cropped_as_the_network_expects(toy, tmp_path, monkeypatch):
    photos = {"crop": 0.5, "interpolation": "bicubic"}
    model = toy._replace(photos=photos)
    monkeypatch.setattr(NetworkOptions, "load", lambda self, default=None: model)
    path, out = picture(tmp_path / "a.png", size=64), tmp_path / "out"
    assert signsal("explain", path, "--out", out) == 0
    results = json.loads((out / "results.json").read_text())
    assert results["photos"] == photos
    image = read_image(path, SHAPE, **photos)[None]
    expected = model.apply_fn(model.variables, image)[0]
    np.testing.assert_allclose(results["images"][0]["logits"], expected, rtol=1e-5)


# evaluate


@pytest.fixture
def sets(monkeypatch):
    """A data set in memory in the place of all others."""
    asked = []

    def load(name, split, *, data_dir, image_size):
        asked.append((name, split, image_size))
        noise = runs.random_dataset(7, SHAPE, 3, split=split)
        return data.Dataset("noise:1.0.0", split, NAMES, SHAPE, noise.source, noise.note)

    monkeypatch.setattr(evaluate_command.data, "load", load)
    return asked


def test_evaluate_end_to_end(toy, tmp_path, capsys, sets, monkeypatch):
    results, evaluate = [], evaluation.evaluate

    def recorded(model, dataset, **options):
        assert model is toy
        assert (options["batch_size"], options["fractions"]) == (4, (0.0, 0.1, 0.5))
        results.append(evaluate(model, dataset, **options))
        return results[0]

    monkeypatch.setattr(evaluate_command, "evaluate", recorded)
    out, folder = tmp_path / "report", tmp_path / "run"
    arguments = ["evaluate", "--run", folder, "--dataset", "noise", "--split", "train"]
    fractions = ["--fractions", "0", "0.1", "0.5"]
    assert signsal(*arguments, *fractions, "--batch-size", 4, "--seed", 3, "--out", out) == 0
    assert sets == [("noise", "train", (16, 16))]
    shown = capsys.readouterr().out
    table = (out / "table.md").read_text()
    assert table in shown
    assert str(out) in shown
    assert "Noise, not pictures." in shown

    (expected,) = results
    results = json.loads((out / "results.json").read_text())
    assert results["results"] == evaluation.summarize(expected, seed=3)
    assert results["results"]["images"] == 7
    assert results["dataset"] == {
        "name": "noise:1.0.0",
        "split": "train",
        "note": "Noise, not pictures.",
    }
    configuration = results["configuration"]
    assert (configuration["seed"], configuration["batch_size"]) == (3, 4)
    assert configuration["fractions"] == [0.0, 0.1, 0.5]
    assert configuration["network"]["run"] == str(folder)
    assert results["network"] == {"model": "toy"}
    assert results["versions"] == _provenance.versions()
    assert results["device"].startswith("cpu")

    with (out / "table.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["auc_mean"]) for row in rows] == [
        curve["auc"]["mean"] for curve in results["results"]["curves"]
    ]
    with np.load(out / "per_image.npz") as arrays:
        assert [tuple(name) for name in arrays["curves"]] == list(PAPER_CURVES)
        for name in ("labels", "predicted", "agreement", "deleted"):
            np.testing.assert_array_equal(arrays[name], getattr(expected, name))
    for name in ("curves.png", "maps.png"):
        with Image.open(out / name) as figure:
            figure.load()
            assert figure.width > 1000
    assert {file.name for file in out.iterdir()} == {
        "maps.png", "curves.png", "table.md", "table.csv", "results.json", "per_image.npz",
    }  # fmt: skip


def test_evaluate_needs_a_network(tmp_path, capsys):
    assert_refused(
        capsys, tmp_path, "expected one of --run DIR and --model NAME, got neither",
        arguments=["evaluate", "--dataset", "mnist5k"],
    )  # fmt: skip


def test_evaluate_without_the_data(run, tmp_path, capsys):
    folder = tmp_path / "data"
    arguments = ["evaluate", "--run", run, "--dataset", "cifar10", "--data-dir", folder]
    assert_refused(
        capsys,
        tmp_path,
        f"not prepared in {folder}",
        "signsal prepare cifar10",
        arguments=arguments,
    )


def test_evaluate_with_an_unknown_data_set(run, tmp_path, capsys):
    arguments = ["evaluate", "--run", run, "--dataset", "nothing", "--data-dir", tmp_path]
    assert_refused(capsys, tmp_path, "mnist5k", "got 'nothing'", arguments=arguments)


@pytest.mark.parametrize("fractions", [["0.5"], ["0", "0.5", "0.3"], ["0", "1.5"]])
def test_fractions_are_checked_before_the_work(run, tmp_path, capsys, sets, monkeypatch, fractions):
    monkeypatch.setattr(evaluate_command, "evaluate", None)
    arguments = ["evaluate", "--run", run, "--dataset", "noise", "--out", tmp_path / "out"]
    assert_refused(
        capsys, tmp_path, "fractions: expected", arguments=[*arguments, "--fractions", *fractions]
    )


def test_an_interrupted_report_has_no_results(run, tmp_path, sets, monkeypatch):
    """A folder with results.json has everything, and of one evaluation."""
    out = tmp_path / "report"
    _files.write_json(out / "results.json", {"earlier": True})
    blank = evaluation.Evaluation(
        (0.0, 0.5),
        PAPER_CURVES,
        *(np.zeros(3, int), np.ones(3, int)),
        *(np.ones((3, 6, 2), bool), np.zeros((3, 6, 2))),
        {method: np.zeros(3, bool) for method in METHODS},
    )
    monkeypatch.setattr(evaluate_command, "evaluate", lambda *_, **__: blank)

    def full(*_, **__):
        raise OSError("No space left on device")

    monkeypatch.setattr(evaluate_command.report, "curves_figure", full)
    arguments = ["--dataset", "noise", "--fractions", "0", "0.5", "--out", out]
    assert signsal("evaluate", "--run", run, *arguments) == 1
    assert list(out.iterdir()) == []


def test_prepare_without_tensorflow_names_the_extra(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    arguments = ["prepare", "cifar10", "--data-dir", tmp_path / "data"]
    assert_refused(capsys, tmp_path, "signsal_jax[prepare]", arguments=arguments)


def test_provenance_is_plain_json(run):
    model = checkpoint.load_run(run)
    command = cli.Explain(images=(run / "a.png",), network=NetworkOptions(run=run))
    head = provenance(command, model)
    assert json.loads(json.dumps(head))["configuration"] == head["configuration"]
    assert head["configuration"]["network"]["run"] == str(run)
