"""The figures by which results draw themselves, by what is drawn in them."""

import io

import matplotlib.style
import numpy as np
import pytest
from matplotlib.figure import Figure

import signsal_jax
from signsal_jax import report
from signsal_jax.study import Store
from tests import toys

NAMES = ("cat", "$dog$", "eel")
PANELS = ["vanilla", "positive", "negative", "active", "inactive", "active − inactive"]


@pytest.fixture(scope="module")
def explained():
    """Two images of a linear network, the second one not finite."""
    weights = np.random.default_rng(0).standard_normal((3, 4, 5, 3)).astype(np.float32)
    images = np.array(toys.random_images(1, (2, 4, 5, 3)))
    images[1, 0, 0, 0] = np.nan
    variables = weights, np.zeros(3, np.float32)
    saliency = signsal_jax.saliency_maps(toys.linear, variables, images, target=0)
    return weights, images, saliency


def drawn(axis):
    return np.asarray(axis.images[-1].get_array())


def test_a_saliency_draws_every_map_in_the_color_of_its_sign(explained):
    weights, images, saliency = explained
    figure = saliency.plot(images, class_names=NAMES, percentile=100.0)
    photo, *panels = figure.axes[:7]
    np.testing.assert_array_equal(photo.images[0].get_array(), images[0])
    assert photo.get_title().startswith("cat ")
    assert [axis.get_title() for axis in panels] == PANELS
    for axis, name in zip(panels, PANELS[:5], strict=False):
        sign = -1 if name in ("negative", "inactive") else 1
        np.testing.assert_allclose(drawn(axis), sign * saliency.maps[name][0], rtol=1e-6)
        low, high = axis.images[-1].get_clim()
        assert (low, high) == ((0, 1) if name == "vanilla" else (-1, 1))
        assert axis.get_xlabel() == "0 to 1"
    # Per channel above, or below, both other classes; the larger margin of the channels.
    above = (weights[0] - weights[1:].max(0)).max(-1)
    below = (weights[1:].min(0) - weights[0]).max(-1)
    margins = np.maximum(above, 0) - np.maximum(below, 0)
    end = np.abs(margins).max()
    np.testing.assert_allclose(drawn(panels[5]), margins / end, rtol=1e-5, atol=1e-6)
    assert panels[5].get_xlabel() == f"±{end:.2g}"
    cmap = panels[5].images[-1].cmap
    assert cmap(0.5)[:3] == pytest.approx((1, 1, 1), abs=0.05)
    assert cmap(1.0)[0] > cmap(1.0)[2]
    assert cmap(0.0)[0] < cmap(0.0)[2]
    # The second image.
    assert {axis.get_xlabel() for axis in figure.axes[8:]} == {"not valid"}


def test_overlay_clipping_and_smoothing_are_drawn_and_said(explained):
    _, images, saliency = explained
    figure = saliency.plot(images, overlay=True, percentile=90.0, smoothing=1.0)
    axis = figure.axes[1]
    assert axis.get_xlabel().endswith(", 90th percentile,\nsmoothed by 1 px")
    photo, layer = axis.images
    np.testing.assert_allclose(photo.get_array(), images[0].mean(-1), rtol=1e-6)
    assert photo.get_alpha() == 0.5
    np.testing.assert_allclose(layer.get_alpha(), np.sqrt(layer.get_array()))
    assert layer.get_array().max() == 1.0
    plain = saliency.plot(images, percentile=90.0).axes[1]
    end = np.percentile(saliency.maps["vanilla"][0], 90)
    expected = np.minimum(np.asarray(saliency.maps["vanilla"][0]) / end, 1)
    np.testing.assert_allclose(drawn(plain), expected, rtol=1e-6)


def test_signed_channels_are_summed_and_empty_maps_say_so(explained):
    weights, images, _ = explained
    variables = np.stack([weights[0], np.zeros_like(weights[0])]), np.zeros(2, np.float32)
    saliency = signsal_jax.saliency_maps(
        toys.linear,
        variables,
        images[:1],
        target=1,
        methods=["vanilla", "negative"],
        channel="none",
        normalize=False,
    )
    assert [axis.get_xlabel() for axis in saliency.plot().axes] == ["empty", "empty"]
    own = saliency._replace(maps={"vanilla": weights[:1]})
    (axis,) = own.plot(percentile=100.0).axes
    summed = weights[0].sum(-1)
    np.testing.assert_allclose(drawn(axis), summed / np.abs(summed).max(), rtol=1e-5)
    assert axis.images[-1].get_clim() == (-1, 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"overlay": True}, "images: expected images to draw over"),
        ({"images": np.ones((1, 4, 5, 3))}, r"images: expected \(2, 4, 5\) and channels"),
        ({"percentile": 0.0}, "percentile: "),
        ({"smoothing": -1.0}, "smoothing: "),
        ({"axes": [None]}, "axes: expected 12, got 1"),
    ],
)
def test_what_cannot_be_drawn_is_named(explained, options, message):
    with pytest.raises(ValueError, match=message):
        explained[2].plot(**options)


def test_classes_fill_rows_of_ten():
    figure = report.plot_signed(np.ones((12, 2, 2)))
    assert len(figure.axes) == 20
    assert [axis.axison for axis in figure.axes] == [True] * 12 + [False] * 8
    first, last = figure.axes[0].get_subplotspec(), figure.axes[11].get_subplotspec()
    assert (first.rowspan.start, last.rowspan.start, last.colspan.start) == (0, 1, 1)


class Stored(Store):
    """What the figures read of a study."""

    def __init__(self, **arrays):
        self.folder, self.manifest = "here", {"names": {"class": ["n01440764", "b"]}}
        self._arrays = arrays

    def arrays(self):
        return self._arrays

    def available(self):
        return np.arange(len(self._arrays["valid"]))


def test_sign_agreement_and_cosines_are_means_of_valid_images():
    agreement = np.asarray([[[1, 0.5], [0.5, 1]], [[1, -0.1], [-0.1, 1]], [[9, 9], [9, 9]]])
    # Cosines 0.5 and -1; of the last, invalid image 1.
    gram = np.asarray([[[4, 1], [1, 1]], [[4, -6], [-6, 9]], [[1, 1], [1, 1]]])
    valid = np.asarray([True, True, False])
    store = Stored(valid=valid, sign_agreement=agreement, gram=gram)
    figure = report.plot_pairs(store)
    signs, cosines = (axis for axis in figure.axes if axis.images)
    np.testing.assert_allclose(drawn(signs), [[1, 0.2], [0.2, 1]])
    np.testing.assert_allclose(drawn(cosines), [[1, -0.25], [-0.25, 1]])
    assert cosines.images[0].get_clim() == (-1, 1)
    assert [label.get_text() for label in signs.get_yticklabels()] == ["tench", "b"]
    with pytest.raises(ValueError, match="expected stored sign_agreement or gram, got valid"):
        report.plot_pairs(Stored(valid=valid))
    with pytest.raises(ValueError, match="expected a valid image, got none of 3"):
        report.plot_pairs(Stored(valid=valid & False, gram=gram))


def test_an_evaluation_draws_its_curves(monkeypatch):
    curves = [
        {"fill": fill, "map": name, "auc": {"mean": 0.25}, "fidelity": [1.0, 0.5, 0.2]}
        for fill in ("black", "white")
        for name in ("vanilla", "active")
    ]
    summary = {"fractions": [0.0, 0.1, 0.5], "images": 100, "curves": curves}
    monkeypatch.setattr(report, "summarize", lambda store: summary)
    figure = Stored(valid=[]).plot()
    assert [axis.get_title() for axis in figure.axes] == ["black deletion", "white deletion"]
    line = figure.axes[0].lines[1]
    assert line.get_label() == "active (0.250)"
    np.testing.assert_allclose(line.get_xydata(), [[0, 1.0], [10, 0.5], [50, 0.2]])
    band = figure.axes[0].collections[1].get_paths()[0].get_extents()
    assert band.y0 == pytest.approx(0.2 - 1.96 * np.sqrt(0.2 * 0.8 / 100))
    own = Figure()
    assert report.plot_curves(summary, axes=own.subplots(1, 2)) is own
    with pytest.raises(ValueError, match="curves: expected at least one, got none"):
        report.plot_curves({"images": 1, "fractions": []})


def test_training_curves_are_those_of_the_file(tmp_path):
    head = "step,epoch,train_loss,train_accuracy,test_accuracy,images_per_second"
    lines = ["10,0.5,2.1,0.2,,100", "20,1.0,1.9,0.3,0.25,100", "30,1.5,1.7,0.4,,100"]
    (tmp_path / "metrics.csv").write_text("\n".join([head, *lines]))
    loss, accuracy = report.plot_training(tmp_path).axes
    np.testing.assert_allclose(loss.lines[0].get_xydata(), [[0.5, 2.1], [1, 1.9], [1.5, 1.7]])
    train, test = accuracy.lines
    assert train.get_label() == "train"
    np.testing.assert_allclose(test.get_xydata(), [[1, 0.25]])
    for path in (tmp_path / "none", tmp_path / "other.csv"):
        if path.suffix:
            path.write_text("a,b\n1,2\n")
        with pytest.raises(ValueError, match="expected "):
            report.plot_training(path)


@pytest.mark.parametrize("style", ["default", "dark_background"])
def test_figures_are_files_of_every_kind(explained, tmp_path, style):
    _, images, saliency = explained
    with matplotlib.style.context(style):
        figure = saliency.plot(images, class_names=NAMES)
        for suffix, start in ((".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF")):
            path = report.save_figure(figure, tmp_path / f"figure{suffix}")
            assert path.read_bytes().startswith(start)
        assert io.BytesIO(figure._repr_png_()).read(4) == b"\x89PNG"
        background = matplotlib.colors.to_rgba(matplotlib.rcParams["figure.facecolor"])
        assert figure.get_facecolor() == background
    assert len(list(tmp_path.iterdir())) == 3
