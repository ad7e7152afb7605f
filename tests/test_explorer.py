"""What the explorer's page holds: rounded arrays, true deletion, and no markup of anyone else."""

import base64
import json
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import signsal_jax
from signsal_jax import cli, report
from signsal_jax.evaluations import blur
from signsal_jax.models import Model
from signsal_jax.report import explorer
from signsal_jax.report.explorer import content, pack, page
from tests import explained as folders, toys

SHAPE, NAMES = (6, 5, 3), ("a", "b", "c")


@pytest.fixture(scope="module")
def network():
    variables = toys.mlp_variables(0, len(NAMES), 90)
    return toys.mlp, variables, np.array(toys.random_images(1, (2, *SHAPE)))


@pytest.fixture(scope="module")
def explored(network):
    """By the library's function, with an estimator without sign besides."""
    apply_fn, variables, images = network
    images = images.copy()
    images[1, 0, 0, 0] = np.nan
    squares = signsal_jax.smooth_grad_squared(jax.random.key(0), samples=2)
    estimators = {"plain": signsal_jax.plain(), "squares": squares}
    names = ["a", "</SCRIPT><!--<script>", "\udcff"]
    return report.explore(
        apply_fn, variables, images, class_names=names, target=1, estimators=estimators
    )


def content_of(text):
    start = text.index('id="content">') + len('id="content">')
    return json.loads(text[start : text.index("</script>", start)])


def decoded(packed, shape, dtype=None):
    """Independent of the page's own decoder: low bytes first, then high ones."""
    raw = np.frombuffer(zlib.decompress(base64.b64decode(packed["data"])), np.uint8)
    size = packed.get("width", 1)
    dtype = dtype or f"<i{size}"
    values = np.ascontiguousarray(raw.reshape(size, -1).T).reshape(-1).view(dtype)
    return values.reshape(shape) * packed["step"]


@pytest.mark.parametrize("outlier", [1.0, 1e3, 1e11])
def test_numbers_are_within_half_a_color_and_keep_their_sign(outlier):
    values = np.random.default_rng(0).standard_normal((3, 20, 20))
    values[0, :2] = 0
    values[1, 0, 0], values[1, 0, 1] = outlier, -1e-12
    packed = pack.pack_signed(values)
    found = decoded(packed, values.shape)
    assert np.abs(found - values).max() <= packed["step"]
    np.testing.assert_array_equal(np.sign(found), np.sign(values))
    assert packed["scale"] == pytest.approx(np.percentile(np.abs(values), 99.5))
    if outlier < 1e9:  # else 32 bits do not hold both
        color = packed["scale"] / 127
        assert packed["step"] < color / 2


@pytest.mark.parametrize("values", [np.zeros((2, 2)), np.full((2, 2), np.nan), np.ones((2, 2))])
def test_empty_and_constant_arrays(values):
    packed = pack.pack_signed(values)
    np.testing.assert_array_equal(decoded(packed, (2, 2)), np.nan_to_num(values))
    packed = pack.pack_shares(values)
    np.testing.assert_allclose(decoded(packed, (2, 2), "u1"), np.nan_to_num(values))
    assert packed["scale"] == np.nan_to_num(values).max()


def test_cells_sum_gradients_and_keep_the_most_salient_pixel():
    values = np.arange(15.0).reshape(1, 3, 5)
    summed = content._cells(values, 2, "sum")
    assert summed.tolist() == [[[12, 20, 13], [21, 25, 14]]]
    assert content._cells(values, 2, "max").tolist() == [[[6, 8, 9], [11, 13, 14]]]


def test_the_colors_of_maps_are_those_of_their_signs():
    kinds = {method: content.map_kind(method) for method in signsal_jax.ALL_METHODS}
    assert kinds["vanilla"] == kinds["mean_contrast"] == "any"
    signs = {"positive": ("positive", "active"), "negative": ("negative", "inactive")}
    for kind, names in signs.items():
        for name in (*names, f"{names[1]}_margin", f"max_contrast_{kind}"):
            assert kinds[name] == kind


def test_gradients_and_deletion_are_those_of_the_network(network):
    apply_fn, variables, images = network
    model = Model(apply_fn, variables, NAMES, SHAPE, {})
    image, rng = images[0], np.random.default_rng(2)
    maps = {"vanilla": rng.random(SHAPE[:2]).astype(np.float32)}
    maps["active"] = np.where(maps["vanilla"] > 0.5, maps["vanilla"], 0)
    logits = np.asarray(apply_fn(variables, image[None])[0])
    found = explorer.class_gradients(model)(image, logits, 1, maps)
    jacobian = toys.oracle_jacobian(apply_fn, variables, image[None])[0].sum(-1)
    assert found.classes.tolist() == np.argsort(-logits).tolist()
    toys.assert_close(found.gradients, jacobian[found.classes])
    deleted = found.deleted
    assert deleted.fills == ("black", "white", "blur")
    blurred = np.asarray(blur(image[None])[0])
    for method, name in enumerate(maps):
        masks = signsal_jax.deletion_masks(maps[name][None], fractions=deleted.fractions)[:, 0]
        for place, mask in enumerate(np.asarray(masks)):
            np.testing.assert_array_equal(deleted.first[method] <= place, mask)
            for fill, filled in enumerate((0.0, 1.0, blurred)):
                emptied = np.where(mask[..., None], filled, image).astype(np.float32)
                scores = np.asarray(apply_fn(variables, emptied[None])[0], np.float64)
                shares = np.exp(scores) / np.exp(scores).sum()
                at = (method, fill, place)
                np.testing.assert_allclose(
                    deleted.probabilities[at], shares[found.classes], atol=1e-5
                )
                assert deleted.predicted[at] == scores.argmax()


def test_files_keep_everything(network, tmp_path):
    rng = np.random.default_rng(0)
    deleted = explorer.Deleted(
        ("active",), ("black",), np.asarray([0.0, 0.5]), np.ones((1, 2, 2), np.uint8),
        rng.random((1, 1, 2, 2)), np.zeros((1, 1, 2), np.int64),
    )  # fmt: skip
    for given in (deleted, None):
        found = explorer.ClassGradients(
            rng.random((2, 2, 3)), ("a", "b"), rng.random(2), 1, np.arange(2),
            rng.random((2, 2, 2)), given,
        )  # fmt: skip
        loaded = explorer.load(explorer.save(tmp_path / "a.classes.npz", found))
        assert jax.tree.structure(loaded) == jax.tree.structure(found)
        jax.tree.map(np.testing.assert_array_equal, loaded, found)
    (tmp_path / "a.classes.npz").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"a\.classes\.npz: expected class gradients of signsal"):
        explorer.load(tmp_path / "a.classes.npz")


def test_the_target_is_always_shown():
    logits = -np.arange(50.0)
    assert explorer.shown_classes(logits, 3).tolist() == list(range(20))
    assert explorer.shown_classes(logits, 40).tolist() == [*range(19), 40]


def test_several_estimators_and_an_invalid_image(explored):
    shown = content_of(explored.html)
    first, second = shown["images"]
    assert [view["estimator"] for view in first["views"]] == ["plain", "squares"]
    plain, squares = first["views"]
    names = {entry["name"] for entry in plain["maps"]}
    assert names == {*signsal_jax.METHODS, "active & inactive"}
    assert [entry["name"] for entry in squares["maps"]] == ["vanilla"]
    assert first["classes"][first["target"]]["index"] == 1
    assert [view["finite"] for view in (plain, second["views"][0])] == [True, False]
    assert [view["signed"] for view in (plain, squares)] == [True, False]


def test_folders_of_several_estimators_are_one_page(tmp_path, capsys):
    plain = folders.folder(tmp_path / "plain", "plain", ["a", "b"])
    times = folders.folder(tmp_path / "times", "gradient_x_input", ["a", "b", "c"], scale=2.0)
    again = folders.folder(tmp_path / "again", "plain", ["b", "a"])
    assert cli.main(["report", *map(str, (plain, times)), "--out", str(tmp_path)]) == 0
    images = content_of((tmp_path / "explorer.html").read_text())["images"]
    assert [image["title"] for image in images] == ["a", "b"]
    for seed, image in enumerate(images):
        assert [view["estimator"] for view in image["views"]] == ["plain", "gradient_x_input"]
        for view, factor in zip(image["views"], (1, 2), strict=True):
            gradients = decoded(view["gradients"], (3, folders.SIDE, folders.SIDE))
            expected = factor * folders.found(seed).gradients
            np.testing.assert_allclose(gradients, expected, atol=view["gradients"]["step"])
    explorer.explain_explorer([plain, again], tmp_path)
    views = content_of((tmp_path / "explorer.html").read_text())["images"][0]["views"]
    assert [view["estimator"] for view in views] == ["1: plain", "2: plain"]
    capsys.readouterr()
    for name, message, made in (
        ("one", "one: expected photos/b, got none", {"names": ["a"]}),
        ("target", "target, a: expected target 0 as in the other folder, got 1", {"target": 1}),
        ("network", f"network: expected the network of {plain}, toy, got x", {"network": "x"}),
    ):
        other = folders.folder(tmp_path / name, "plain", **{"names": ["a", "b"], **made})
        assert cli.main(["report", str(plain), str(other)]) == 1
        assert message in capsys.readouterr().err
    assert cli.main(["report", str(plain), str(tmp_path)]) == 1
    assert "FOLDERS: expected one, or several of signsal explain" in capsys.readouterr().err


def test_no_text_of_others_is_markup(explored):
    text = explored.html
    assert text.lower().count("</script>") == 2
    assert text.lower().count("<script") == 2
    assert "<!--" not in text
    assert content_of(text)["images"][0]["classes"]
    assert "<" not in explored._repr_html_().partition("srcdoc=")[2].removesuffix("></iframe>")


def test_a_title_is_text():
    text = explorer.explorer_html([], title="</title><b>\udcff", about={})
    assert "<title>&lt;/title&gt;&lt;b&gt;?</title>" in text
    text.encode()


def test_wrong_values(network):
    apply_fn, variables, images = network
    for options, message in (
        ({"titles": ["a"]}, "titles: expected 2, one per image, got 1"),
        ({"class_names": ["a"]}, "class_names: expected 3, one per class, got 1"),
    ):
        with pytest.raises(ValueError, match=message):
            report.explore(apply_fn, variables, images, **options)
    with pytest.raises(ValueError, match="images: expected at most 20, got 21"):
        report.explore(apply_fn, variables, jnp.zeros((21, *SHAPE)))


def noise_subject(side, classes, maps):
    """As hard to compress as it gets: noise, of which each image has its own."""
    rng = np.random.default_rng(0)
    found = explorer.ClassGradients(
        rng.random((side, side, 3)).astype(np.float32),
        tuple(map(str, range(classes))),
        rng.standard_normal(classes),
        0,
        np.arange(classes, dtype=np.int32),
        rng.standard_normal((classes, side, side)).astype(np.float32),
        explorer.Deleted(
            tuple(map(str, range(maps))),
            ("black", "white", "blur"),
            np.linspace(0, 1, 13),
            rng.integers(0, 14, (maps, side, side)).astype(np.uint8),
            rng.random((maps, 3, 13, classes)),
            rng.integers(0, classes, (maps, 3, 13)),
        ),
    )
    shares = {str(name): rng.random((side, side)) for name in range(maps)}
    return explorer.subject("noise", found, "plain", shares, {"both": found.gradients[0]})


def test_twenty_small_images_take_less_than_five_megabytes():
    text = explorer.explorer_html([noise_subject(32, 10, 5)] * 20, title="", about={})
    assert len(text.encode()) < 5_000_000
    assert content_of(text)["images"][0]["cell"] == 1


def test_a_page_over_its_limit_joins_pixels(monkeypatch):
    """Here of one photo; the limit for 20 of them, scaled down."""
    monkeypatch.setattr(page, "MOST_BYTES", 15_000_000 // 20)
    text = explorer.explorer_html([noise_subject(224, 20, 5)], title="", about={})
    assert len(text.encode()) <= page.MOST_BYTES
    assert 1 < content_of(text)["images"][0]["cell"] <= 4
