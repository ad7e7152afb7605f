"""Figures by what is drawn in them."""

import matplotlib.style
import numpy as np
import pytest
from matplotlib.figure import Figure

from signsal_jax import report


def drawn(figure, axis=0, layer=-1):
    return np.asarray(figure.axes[axis].images[layer].get_array())


def test_signed_maps_are_centered_on_zero_and_say_their_scale():
    values = np.asarray([[[0.5, -2.0], [0.0, 1.0]], [[3.0, 0.0], [0.0, 0.0]]])
    figure = report.plot_signed(values, titles=["$cat$", "dog"])
    for axis, each, end in zip(figure.axes, values, (2, 3), strict=True):
        (image,) = axis.images
        np.testing.assert_array_equal(image.get_array(), each)
        assert image.get_clim() == (-end, end)
        assert image.cmap(0.5)[:3] == pytest.approx((1, 1, 1), abs=0.05)
        assert axis.get_xlabel() == f"±{end}"
    assert [axis.get_title() for axis in figure.axes] == ["$cat$", "dog"]
    figure.savefig("/dev/null", format="png")  # the $ is no formula
    shared = report.plot_signed(values, shared_scale=True)
    assert [axis.images[0].get_clim() for axis in shared.axes] == [(-3, 3)] * 2


def test_clipping_and_smoothing_are_said():
    values = np.zeros((1, 9, 9))
    values[0, 4, 4], values[0, 0, 0] = 100, 1
    figure = report.plot_signed(values, percentile=99.0)
    end = np.percentile(np.abs(values), 99)
    assert figure.axes[0].images[0].get_clim() == (-end, end)
    assert "99th percentile" in figure.axes[0].get_xlabel()
    values[0, 0, 0] = 0
    smooth = report.plot_signed(values, smoothing=1.0)
    assert "smoothed by 1 px" in smooth.axes[0].get_xlabel()
    x = np.arange(-4, 5)
    bell = np.exp(-0.5 * x**2) * (np.abs(x) <= 3)
    inner = 100 * np.outer(bell, bell)[3:6, 3:6] / bell.sum() ** 2
    np.testing.assert_allclose(drawn(smooth)[3:6, 3:6], inner, rtol=1e-6)
    # A constant map stays what it is, at the edges too.
    constant = report.plot_signed(np.full((1, 5, 7), 3.0), smoothing=2.0)
    np.testing.assert_allclose(drawn(constant), 3.0)


def test_a_map_of_zeros_or_nan_is_drawn():
    figure = report.plot_signed(np.stack([np.zeros((2, 2)), np.full((2, 2), np.nan)]))
    assert [axis.images[0].get_clim() for axis in figure.axes] == [(-1, 1)] * 2
    figure.savefig("/dev/null", format="png")


def test_over_a_photo_the_map_fades_where_it_is_small():
    values = np.asarray([[[1.0, 0.25, 0.0]]])
    figure = report.plot_signed(values, images=np.full((1, 1, 3, 3), 0.5))
    photo, saliency = figure.axes[0].images
    np.testing.assert_allclose(photo.get_array(), 0.5)
    np.testing.assert_allclose(saliency.get_alpha(), [[1, 0.5, 0]])


def test_the_runner_up_map_names_the_five_most_frequent():
    classes = np.repeat(np.arange(7), [1, 8, 3, 4, 5, 6, 2]).reshape(1, 29)
    margin = np.where(classes == 5, -1.0, 1.0)
    figure = report.plot_runner_up(classes, list("abcdefg"), margin=margin)
    labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert labels == ["b 35 %", "e 22 %", "d 17 %", "c 13 %", "g 9 %", "others 4 %"]
    np.testing.assert_array_equal(drawn(figure)[classes == 5], 6)
    np.testing.assert_array_equal(drawn(figure)[classes == 1], 0)
    np.testing.assert_array_equal(drawn(figure)[classes == 0], 5)
    empty = report.plot_runner_up(np.full((2, 2), -1), ["a"])
    assert empty.axes[0].get_legend() is None


def test_effects_are_dots_with_intervals():
    intervals = np.asarray([[-0.2, 0.1], [0.0, 0.4]])
    figure = report.plot_effects(["a", "b"], [-0.1, 0.2], intervals, label="effect")
    axis = figure.axes[0]
    (segments,) = (c.get_segments() for c in axis.collections)
    np.testing.assert_allclose([segment[:, 0] for segment in segments], intervals)
    np.testing.assert_allclose(axis.lines[-1].get_xdata(), [-0.1, 0.2])
    assert [label.get_text() for label in axis.get_yticklabels()] == ["a", "b"]


def test_every_figure_draws_into_axes_of_ones_own():
    own = Figure()
    axes = own.subplots(1, 2)
    assert report.plot_signed(np.ones((2, 3, 3)), axes=axes) is own
    for plot in (
        lambda axis: report.plot_runner_up(np.zeros((2, 2), int), ["a"], axes=axis),
        lambda axis: report.plot_effects(["a"], [0.0], [[0.0, 0.0]], label="x", axes=axis),
        lambda axis: report.plot_classes(np.eye(1), ["a"], label="x", axes=axis),
        lambda axis: report.plot_deletion(np.zeros((1, 2, 2, 3)), [0.0], ["a"], axes=[axis]),
    ):
        own = Figure()
        assert plot(own.subplots()) is own
        assert own.axes[0].has_data()


@pytest.mark.parametrize("style", ["default", "dark_background"])
def test_text_follows_the_style(style):
    with matplotlib.style.context(style):
        figure = report.plot_deletion(np.zeros((1, 2, 2, 1)), [0.5], ["cat 0.9"])
        assert figure.axes[0].title.get_color() == matplotlib.rcParams["axes.titlecolor"].replace(
            "auto", matplotlib.rcParams["text.color"]
        )
        assert figure.get_facecolor() == matplotlib.colors.to_rgba(
            matplotlib.rcParams["figure.facecolor"]
        )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: report.plot_signed(np.ones((2, 2))), r"expected \[n, h, w\], got shape \(2, 2\)"),
        (lambda: report.plot_signed(np.ones((1, 2, 2)), percentile=0.0), "at most 100, got 0.0"),
        (lambda: report.plot_signed(np.ones((1, 2, 2)), smoothing=-1.0), "0 pixels, got -1.0"),
        (lambda: report.plot_signed(np.ones((1, 2, 2)), images=np.ones((1, 3, 2, 3))), "images: "),
        (lambda: report.plot_signed(np.ones((2, 2, 2)), axes=[None]), "axes: expected 2, got 1"),
        (lambda: report.plot_runner_up(np.ones((2, 2)), ["a"]), r"integers, got float64"),
        (lambda: report.plot_runner_up(np.ones((2, 2), int), ["a"]), "classes below 1, got 1"),
        (
            lambda: report.plot_effects(["a"], [1, 2], [[0, 1]], label=""),
            r"got \(2,\) and \(1, 2\)",
        ),
        (lambda: report.plot_effects(["a"], [1], [[2, 1]], label=""), "low end above"),
        (lambda: report.plot_deletion(np.ones((1, 2, 2, 1)), [0.0, 1.0], ["a"]), ", 2 and 1"),
        (lambda: report.plot_classes(np.eye(2), ["a"], label=""), r"\(1, 1\), got \(2, 2\)"),
    ],
)
def test_what_cannot_be_drawn_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
