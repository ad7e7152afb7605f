"""The `signsal` command, as a user types it."""

import csv
import dataclasses
import errno
import json
import os
import sys

import jax
import numpy as np
import pytest
from PIL import Image

import signsal_jax
from signsal_jax import _files, _provenance, checkpoint, cli, data, gradients, report, study
from signsal_jax.cli import _computation
from signsal_jax.cli._network import NetworkOptions, provenance
from signsal_jax.data.photos import read_image
from signsal_jax.evaluations.deletion import PAPER_CURVES
from signsal_jax.maps import METHODS
from signsal_jax.models import Model
from signsal_jax.study import StudyConfig, open_study
from signsal_jax.study._writer import Writer
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
    """Without the explorer, which takes as long to compile as the maps, unless asked for it."""
    quick = ["--no-explorer"] if arguments[:1] == ("explain",) else []
    if {"--explorer", "--help"} & {*arguments} or len(arguments) == 1:
        quick = []
    return cli.main([str(argument) for argument in (*arguments, *quick)])


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

    monkeypatch.setattr(report.explanation, "maps_figure", buggy)
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
        assert set(maps) == {*METHODS, "gradient", "active & inactive"}
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


def test_the_explorer_of_explained_pictures(toy, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(report.explorer, "MOST_IMAGES", 2)
    names = (b"\xff<script>.png", b"b.png", b"c.png")
    paths = [picture(tmp_path / os.fsdecode(name), seed) for seed, name in enumerate(names)]
    out = tmp_path / "out"
    arguments = ["explain", *paths, "--explorer", "--out", out]
    assert signsal(*arguments) == 0
    # Of the first two.
    kept = [entry["classes"] for entry in results_of(out)["images"]]
    assert [name is None for name in kept] == [False, False, True]
    found = report.explorer.load(out / kept[0])
    image = read_image(paths[0], SHAPE)
    jacobian = toys.oracle_jacobian(toy.apply_fn, toy.variables, image[None])[0].sum(-1)
    toys.assert_close(found.gradients, jacobian[found.classes])
    assert signsal(*arguments) == 0
    assert "3 of 3 are explained already" in capsys.readouterr().out
    before = runs.contents(out)
    assert signsal("report", out) == 0
    shown = capsys.readouterr().out
    assert shown == f"The first 2 of 3 pictures\nExplorer: {out}/explorer.html\n"
    text = (out / "explorer.html").read_text()
    assert "The first 2 of 3 pictures." in text
    assert "udcff\\u003cscript\\u003e.png" in text
    after = runs.contents(out)
    assert {name: after[name] for name in before} == before
    assert after.keys() - before.keys() == {"explorer.html"}


def test_no_explorer_of_pictures_explained_without(toy, tmp_path, capsys):
    out = tmp_path / "out"
    assert signsal("explain", picture(tmp_path / "a.png"), "--out", out) == 0
    assert "signsal report" not in capsys.readouterr().out
    message = "expected pictures explained with --explorer, got none of 1"
    assert_refused(capsys, tmp_path, message, arguments=["report", out])


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

    monkeypatch.setattr(report.explanation, "maps_figure", interrupted)
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

    monkeypatch.setattr(report.explanation, "maps_figure", recorded)

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


@pytest.mark.parametrize(
    ("pictures", "one_class", "shape"),
    [
        (1, False, (1, 8)),
        (3, False, (2, 4)),
        (9, False, (8, 1)),
        (1, True, (1, 1)),
        (9, True, (8, 1)),
    ],
)
def test_pictures_are_split_over_the_devices_and_then_classes(pictures, one_class, shape):
    mesh = _computation.make_mesh(pictures, one_class=one_class)
    assert (mesh.shape["data"], mesh.shape["class"]) == shape


def test_a_folder_stands_for_the_pictures_in_it(toy, tmp_path, capsys):
    (tmp_path / "in/deep").mkdir(parents=True)
    paths = [picture(tmp_path / "in" / name) for name in ("b.png", "deep/a.png")]
    (tmp_path / "in/.hidden").write_text("")
    out = tmp_path / "out"
    assert signsal("explain", tmp_path / "in", paths[1], "--out", out) == 0
    assert [entry["image"] for entry in results_of(out)["images"]] == [str(path) for path in paths]
    assert_refused(capsys, tmp_path, "--out", arguments=["explain", out, "--out", out / "deeper"])
    (tmp_path / "none").mkdir()
    arguments = ["explain", tmp_path / "none", "--out", out]
    assert_refused(capsys, tmp_path, "expected pictures, got none", arguments=arguments)


def test_methods_without_rivals_need_one_pullback(toy, tmp_path, monkeypatch):
    apply_fn, counts = toys.counted(toy.apply_fn)
    model = toy._replace(apply_fn=apply_fn)
    monkeypatch.setattr(NetworkOptions, "load", lambda self, default=None: model)
    monkeypatch.setattr("signsal_jax.cli._computation.HostedExtrema", None)
    path, out = picture(tmp_path / "a.png"), tmp_path / "out"
    methods = ["vanilla", "negative"]
    assert signsal("explain", path, "--methods", *methods, "--out", out) == 0
    assert counts[0] == 1
    gray = read_image(path, SHAPE)[None]
    expected = signsal_jax.saliency_maps(toy.apply_fn, toy.variables, gray)
    with np.load(out / "a.npz") as maps:
        assert list(maps) == [*methods, "gradient"]
        for method in methods:
            np.testing.assert_allclose(maps[method], expected.maps[method][0], atol=1e-5)
        signed = signsal_jax.class_extrema(toy.apply_fn, toy.variables, gray).gradient
        np.testing.assert_allclose(maps["gradient"], signed[0].sum(-1), atol=1e-5)
    assert results_of(out)["configuration"]["methods"] == methods


def test_contrasts_and_margins_are_the_librarys(toy, tmp_path):
    path, out = picture(tmp_path / "a.png"), tmp_path / "out"
    methods = ["active_margin", "weighted_contrast_positive", "mean_contrast"]
    assert signsal("explain", path, "--methods", *methods, "--out", out) == 0
    expected = jax.jit(
        lambda variables, images: signsal_jax.saliency_maps(
            toy.apply_fn, variables, images, methods=methods
        )
    )(toy.variables, read_image(path, SHAPE)[None])
    with np.load(out / "a.npz") as maps:
        assert list(maps) == [*methods, "gradient", "active & inactive"]
        for method in methods:
            np.testing.assert_allclose(maps[method], expected.maps[method][0], atol=1e-5)


def test_an_estimator_without_sign_gives_vanilla_alone(toy, tmp_path, capsys):
    path, out = picture(tmp_path / "a.png"), tmp_path / "out"
    options = ["explain", path, "--estimator", "var_grad", "--samples", 2, "--out", out]
    assert_refused(capsys, out, "expected vanilla alone with var_grad", arguments=options)
    assert signsal(*options, "--methods", "vanilla") == 0
    with np.load(out / "a.npz") as maps:
        assert list(maps) == ["vanilla"]


def test_the_gradient_method_is_the_librarys_and_recorded(toy, tmp_path):
    path, out = picture(tmp_path / "a.png"), tmp_path / "out"
    options = ["--estimator", "smooth_grad", "--samples", 3, "--noise-seed", 5]
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


@pytest.mark.parametrize(
    ("given", "rivals"), [(["1"], 1), (["eel"], [2]), (["0", "2"], [0, 2]), (["all"], "all")]
)
def test_rivals_are_the_librarys_and_recorded(toy, tmp_path, given, rivals):
    path, out = picture(tmp_path / "a.png"), tmp_path / "out"
    assert signsal("explain", path, "--target", 1, "--rivals", *given, "--out", out) == 0
    expected = jax.jit(
        lambda variables, images: signsal_jax.saliency_maps(
            toy.apply_fn, variables, images, target=1, rivals=rivals
        )
    )(toy.variables, read_image(path, SHAPE)[None])
    with np.load(out / "a.npz") as maps:
        for method in METHODS:
            np.testing.assert_allclose(maps[method], expected.maps[method][0], atol=1e-5)
    assert results_of(out)["configuration"]["rivals"] == given


@pytest.mark.parametrize("given", [["0"], ["3"], ["cow"], ["0", "cat"], ["0", "7"]])
def test_impossible_rivals(toy, tmp_path, capsys, given):
    arguments = ["explain", picture(tmp_path / "a.png"), "--rivals", *given]
    assert_refused(capsys, tmp_path, "--rivals: expected", arguments=arguments)


def test_an_option_of_another_gradient_method(toy, tmp_path, capsys):
    arguments = ["explain", picture(tmp_path / "a.png"), "--steps", 3]
    message = "steps: expected with the estimator integrated_gradients or "
    assert_refused(capsys, tmp_path, message, arguments=arguments)


def test_without_figures(toy, tmp_path, capsys):
    out = tmp_path / "out"
    (out).mkdir()
    (out / "a.png").write_text("mine")
    assert signsal("explain", picture(tmp_path / "a.png"), "--no-figures", "--out", out) == 0
    files = {"a.png", "a.npz", "results.json"}
    assert {file.name for file in out.iterdir()} == files
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
        np.testing.assert_allclose(entry["logits"], logits, rtol=1e-5, atol=1e-6)
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


# evaluate, study and report


@pytest.fixture
def sets(monkeypatch):
    """A data set in memory in the place of all others."""
    asked = []

    def load(name, split, *, image_size, **_):
        asked.append((name, split, image_size))
        noise = runs.random_dataset(7, SHAPE, 3, split=split)
        return data.Dataset("noise:1.0.0", split, NAMES, SHAPE, noise.source, noise.note)

    monkeypatch.setattr("signsal_jax.cli._engine.data.load", load)
    return asked


EVALUATION = ["--dataset", "noise", "--fractions", "0", "0.1", "0.5", "--chunk", 4]


def test_evaluate_end_to_end(toy, tmp_path, capsys, sets):
    out, folder = tmp_path / "report", tmp_path / "run"
    arguments = ["evaluate", *EVALUATION, "--run", folder, "--split", "train", "--seed", 3]
    assert signsal(*arguments, "--out", out) == 0
    assert sets == [("noise", "train", (16, 16))]
    shown = capsys.readouterr().out
    table = (out / "table.md").read_text()
    assert table in shown
    assert str(out) in shown
    assert "Noise, not pictures." in shown

    store = open_study(out / "study")
    results = json.loads((out / "results.json").read_text())
    assert results["results"] == report.summarize(store, seed=3)
    assert results["results"]["images"] == 7
    assert results["dataset"] == {
        "name": "noise:1.0.0",
        "split": "train",
        "note": "Noise, not pictures.",
    }
    configuration = results["configuration"]
    assert (configuration["seed"], configuration["chunk"]) == (3, 4)
    assert configuration["fractions"] == [0.0, 0.1, 0.5]
    assert configuration["run"] == str(folder)
    assert results["network"] == {"model": "toy"}
    assert results["versions"] == _provenance.versions()
    assert results["device"].startswith("cpu")

    with (out / "table.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["auc_mean"]) for row in rows] == [
        curve["auc"]["mean"]
        for curve in (*results["results"]["curves"], *results["results"]["controls"])
    ]
    with np.load(out / "per_image.npz") as arrays:
        assert [tuple(name) for name in arrays["curves"]] == list(PAPER_CURVES)
        for name, stored in {"labels": "label", "predicted": "predicted"}.items():
            np.testing.assert_array_equal(arrays[name], store.arrays()[stored][:])
        for name in ("agreement", "deleted", "valid"):
            np.testing.assert_array_equal(arrays[name], store.arrays()[name][:])
        assert arrays["numbers"].tolist() == list(range(7))
    for name in ("curves.png", "maps.png"):
        with Image.open(out / name) as figure:
            figure.load()
            assert figure.width > 1000
    written = {"maps.png", "curves.png", "explorer.html", "results.json", "per_image.npz"}
    written.add("scores.md")
    written |= {f"table.{kind}" for kind in ("md", "csv", "tex")}
    assert {file.name for file in out.iterdir()} == {*written, "study", "examples.npz"}

    page = (out / "explorer.html").read_text().partition('id="content">')[2]
    page = json.loads(page.partition("</script>")[0])
    curves = results["results"]["curves"]
    assert [row[:3] for row in page["tables"][0]["rows"]] == [
        [curve["fill"], curve["map"], curve["auc"]["mean"]] for curve in curves
    ]
    with np.load(out / "examples.npz") as arrays:
        assert [image["title"] for image in page["images"]] == arrays["titles"].tolist()
        for place, image in enumerate(page["images"]):
            indices = [entry["index"] for entry in image["classes"]]
            assert indices == arrays[f"classes: {place} classes"].tolist()
            assert image["views"][0]["deleted"]["methods"] == list(METHODS)

    # The report again, from the folder alone: the same files, nothing else.
    before = runs.contents(out)
    for name in written:
        (out / name).unlink()
    assert signsal("report", out, "--seed", 3) == 0
    assert capsys.readouterr().out == shown
    after = runs.contents(out)
    assert after.keys() == before.keys()
    assert [name for name in before if before[name] != after[name]] in ([], ["per_image.npz"])


def test_a_half_finished_evaluation_is_reported_as_such(toy, tmp_path, capsys, sets, monkeypatch):
    out = tmp_path / "report"
    write = Writer.write

    def stopped(self, *arguments):
        write(self, *arguments)
        raise KeyboardInterrupt

    arguments = ["evaluate", *EVALUATION, "--run", tmp_path, "--out", out]
    with monkeypatch.context() as patch:
        patch.setattr(Writer, "write", stopped)
        assert signsal(*arguments) == 130
    capsys.readouterr()
    assert signsal("report", out) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("noise:1.0.0 test, 4 images so far of 7 (unfinished), accuracy")
    half = json.loads((out / "results.json").read_text())["results"]
    assert (half["images"], half["of"], half["complete"]) == (4, 7, False)
    assert not (out / "maps.png").exists()

    assert signsal(*arguments) == 0  # goes on
    assert signsal("evaluate", *EVALUATION, "--run", tmp_path, "--out", tmp_path / "other") == 0
    assert (out / "results.json").read_bytes() == (tmp_path / "other/results.json").read_bytes()


def test_another_evaluation_claims_no_folder(toy, tmp_path, capsys, sets):
    arguments = ["evaluate", *EVALUATION, "--run", tmp_path / "run", "--out", tmp_path / "out"]
    assert signsal(*arguments) == 0
    assert_refused(
        capsys, tmp_path, "config.rule: 'paper' there, 'exact' now",
        arguments=[*arguments, "--rule", "exact"],
    )  # fmt: skip


def test_the_report_of_a_study(toy, tmp_path, capsys, sets):
    out = tmp_path / "out"
    store = ["--store", "logits", "insertion"]
    assert signsal("study", *EVALUATION, *store, "--run", tmp_path, "--out", out) == 0
    assert "7 images, accuracy 0." in capsys.readouterr().out
    assert signsal("report", out) == 0
    files = {"results.json", "per_image.npz", "scores.md", "explorer.html"}
    assert {file.name for file in (out / "report").iterdir()} == files
    results = json.loads((out / "report" / "results.json").read_text())["results"]
    assert [(curve["fill"], curve["map"]) for curve in results["insertion"]] == [
        *PAPER_CURVES,
        *(("blurred", method) for method in METHODS),
    ]
    assert "curves" not in results
    assert signsal("report", out, "--out", tmp_path / "elsewhere") == 0
    assert (tmp_path / "elsewhere" / "results.json").exists()


@pytest.mark.parametrize("command", ["study", "evaluate"])
@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('precision = "x"', "precision: expected one of highest, high, default; got 'x'"),
        ("target = [1]", "target: expected int | str, got (1,)"),
        ("chunk = true", "chunk: expected int, got True"),
        ('split = "test+test"', "split: expected each split once, got 'test+test'"),
        ("store = 3", "store: expected"),
        ('methods = ["vanilla", 1]', "methods: expected one of vanilla"),
        ('fractions = ["0"]', "fractions: expected float, got '0'"),
        ("colour = 1", "expected fields of estimator,"),
        ("dataset", "expected TOML"),
    ],
)
@pytest.mark.usefixtures("no_typecheck")
def test_a_file_with_wrong_values_claims_no_folder(tmp_path, capsys, command, line, message):
    file = tmp_path / "study.toml"
    file.write_text(f"{line}\nimages = 1\n")
    assert_refused(
        capsys, tmp_path, message, str(file),
        arguments=[command, "--config", file, "--dataset", "noise", "--out", tmp_path / "out"],
    )  # fmt: skip


@pytest.mark.parametrize(
    "arguments",
    [["--precision", "x"], ["--split", "test+test"], ["--class-chunk", "x"]],
)
def test_flags_with_wrong_values_claim_no_folder(tmp_path, capsys, arguments):
    with pytest.raises(SystemExit) as exited:
        signsal("study", "--dataset", "noise", "--out", tmp_path / "out", *arguments)
    assert exited.value.code == 2
    assert arguments[0].strip("-") in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_flags_win_over_the_file(tmp_path):
    file = tmp_path / "study.toml"
    file.write_text('dataset = "cifar10"\nchunk = 8\nstore = ["logits"]\nrule = "exact"\n')
    command = cli.parse(["study", "--config", str(file), "--chunk", "64", "--out", "x"])
    assert command.study == StudyConfig("cifar10", chunk=64, store=("logits",), rule="exact")
    assert command.out == "x"
    # What the file leaves open is the command's own default.
    command = cli.parse(["evaluate", "--config", str(file), "--chunk", "9"])
    assert command.study == StudyConfig("cifar10", chunk=9, store=("logits",), rule="exact")
    file.write_text('dataset = "cifar10"\n')
    command = cli.parse(["evaluate", "--config", str(file)])
    assert command.study == StudyConfig("cifar10", chunk=128, store=study.EVALUATION)


def test_options_are_declared_once(tmp_path, capsys):
    """Flags, TOML and Python have the same fields with the same defaults."""
    fields = dataclasses.fields(StudyConfig)
    assert cli.parse(["study"]).study == StudyConfig()
    assert cli.parse(["evaluate"]).study == StudyConfig(store=study.EVALUATION, chunk=128)
    for command in ("study", "evaluate"):
        with pytest.raises(SystemExit):
            signsal(command, "--help")
        shown = capsys.readouterr().out
        for field in fields:
            assert f"--{field.name.replace('_', '-')}" in shown
        assert all(name in shown for name in study.STORABLE)
    file = tmp_path / "all.toml"
    values = {
        name: value
        for name, value in dataclasses.asdict(StudyConfig()).items()
        if value is not None
    }
    file.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in values.items()))
    assert cli.parse(["evaluate", "--config", str(file)]).study == StudyConfig()


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


@pytest.mark.parametrize("fractions", [["0.5"], ["0", "0.5", "0.3"]])
def test_fractions_are_checked_before_the_work(run, tmp_path, capsys, sets, fractions):
    arguments = ["evaluate", "--run", run, "--dataset", "noise", "--out", tmp_path / "out"]
    assert_refused(
        capsys, tmp_path, "fractions: expected", arguments=[*arguments, "--fractions", *fractions]
    )


def test_an_interrupted_report_has_no_results(toy, tmp_path, sets, monkeypatch):
    """A folder with results.json has everything, and of one evaluation."""
    out = tmp_path / "report"
    _files.write_json(out / "results.json", {"earlier": True})

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("signsal_jax.report.write.curves_figure", full)
    assert signsal("evaluate", *EVALUATION, "--run", tmp_path / "run", "--out", out) == 1
    assert not (out / "results.json").exists()


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
