"""Results to files: figures that open, tables that say what the results say."""

import csv
import io

import numpy as np
import pytest
from PIL import Image

from signsal_jax import report
from signsal_jax.evaluations.deletion import PAPER_CURVES
from signsal_jax.maps import METHODS

FRACTIONS = [0.0, 0.03, 0.5]


@pytest.fixture
def summary():
    """Made up, with a different number in every place."""
    numbers = iter(np.random.default_rng(0).random(100).tolist())

    def bounds():
        return {bound: next(numbers) for bound in ("mean", "low", "high")}

    curves = [
        {
            "fill": fill,
            "map": method,
            "auc": bounds(),
            "auc_minus_vanilla": bounds(),
            "fidelity": [next(numbers) for _ in FRACTIONS],
            "deleted": [next(numbers) for _ in FRACTIONS],
        }
        for fill, method in PAPER_CURVES
    ]
    return {"images": 7, "accuracy": 0.5, "fractions": FRACTIONS, "curves": curves}


def example(channels, seed=0, title="cat"):
    generator = np.random.default_rng(seed)
    image = generator.random((12, 10, channels)).astype(np.float32)
    return report.Example(image, title, {method: generator.random((12, 10)) for method in METHODS})


def opened(path):
    with Image.open(path) as picture:
        picture.load()
        return np.asarray(picture.convert("RGB"))


@pytest.mark.parametrize("channels", [1, 3])
def test_maps_figure_opens_and_grows_with_the_rows(tmp_path, channels):
    path = tmp_path / "new" / "maps.png"
    heights = {}
    for rows in (1, 3):
        examples = [example(channels, seed) for seed in range(rows)]
        assert report.maps_figure(examples, path) == path
        height, width, _ = opened(path).shape
        assert 1000 < width < 1600
        heights[rows] = height
    assert 200 < heights[1] < 350
    assert 2.3 * heights[1] < heights[3] < 3.3 * heights[1]
    assert [file.name for file in path.parent.iterdir()] == ["maps.png"]


def test_maps_are_drawn_in_the_papers_order_from_black_to_white(tmp_path):
    """A map of ones is white in "hot", a map of zeros black, in the column of its method."""
    for lit, method in enumerate(METHODS):
        maps = {other: np.full((12, 12), float(other == method)) for other in METHODS}
        path = report.maps_figure(
            [report.Example(np.full((12, 12, 3), 0.5), "", maps)], tmp_path / "maps.png"
        )
        pixels = opened(path)
        columns = np.array_split(pixels[pixels.shape[0] * 2 // 3], len(METHODS) + 1)
        means = [column.mean() for column in columns[1:]]
        assert np.argmax(means) == lit
        assert means[lit] > 230
        assert all(mean < 60 for place, mean in enumerate(means) if place != lit)


def test_signed_maps_are_red_above_zero_blue_below_and_white_at_it(tmp_path):
    """Half of each magnitude, so that the color is not that of the end of the scale."""
    maps = {method: np.zeros((12, 12)) for method in METHODS}
    thirds = np.repeat([4.0, 0.0, -4.0], 4)[:, None] * np.ones((1, 12))
    thirds[0, 0] = 8.0
    shown = report.Example(np.full((12, 12, 3), 0.5), "", maps, {"gradient": thirds / 1000})
    pixels = opened(report.maps_figure([shown], tmp_path / "maps.png")).astype(int)
    top, inch = 0.3, 150
    column = pixels[:, pixels.shape[1] - int(0.85 * inch)]
    red, white, blue = (column[int((top + 1.5 * at) * inch)] for at in (0.2, 0.5, 0.7))
    assert red[0] > red[2] + 50
    assert blue[2] > blue[0] + 50
    assert white.min() > 240


def test_a_signed_map_of_zeros_is_white(tmp_path):
    maps = {method: np.zeros((12, 12)) for method in METHODS}
    shown = report.Example(np.full((12, 12, 3), 0.5), "", maps, {"gradient": np.zeros((12, 12))})
    pixels = opened(report.maps_figure([shown], tmp_path / "maps.png"))
    assert pixels[150, pixels.shape[1] - 128].min() > 240


def test_grayscale_images_are_gray_in_absolute_terms(tmp_path):
    """A dark picture stays dark: its contrast is not stretched."""
    maps = {method: np.zeros((12, 12)) for method in METHODS}
    image = np.full((12, 12, 1), 0.2, np.float32)
    image[0, 0] = 0.3
    pixels = opened(report.maps_figure([report.Example(image, "", maps)], tmp_path / "maps.png"))
    height, width, _ = pixels.shape
    corner = pixels[height * 2 // 3, width // 12]
    assert corner.tolist() == pytest.approx([51] * 3, abs=2)


def test_curves_figure_opens(tmp_path, summary):
    pixels = opened(report.curves_figure(summary, tmp_path / "curves.png", "noise"))
    height, width, _ = pixels.shape
    assert 1200 < width < 1600
    assert 450 < height < 700
    # Something is drawn in both panels.
    for half in np.array_split(pixels, 2, axis=1):
        assert (half.std(axis=(0, 1)) > 5).all()


def test_csv_says_exactly_what_the_results_say(summary):
    rows = list(csv.DictReader(io.StringIO(report.csv_table(summary))))
    assert [(row["fill"], row["map"]) for row in rows] == list(PAPER_CURVES)
    for row, curve in zip(rows, summary["curves"], strict=True):
        for bound in ("mean", "low", "high"):
            assert float(row[f"auc_{bound}"]) == curve["auc"][bound]
            against = row[f"auc_minus_vanilla_{bound}"]
            if curve["map"] == "vanilla":
                assert against == ""
            else:
                assert float(against) == curve["auc_minus_vanilla"][bound]
        for name in ("fidelity", "deleted"):
            values = [float(row[f"{name}_{key}"]) for key in ("0", "0.03", "0.5")]
            assert values == curve[name]


def test_csv_has_a_column_for_every_fraction(summary):
    close = [0.1234567, 0.1234568, 0.5]
    header = next(csv.reader(io.StringIO(report.csv_table({**summary, "fractions": close}))))
    assert len(set(header)) == len(header)


def test_markdown_table(summary):
    lines = report.markdown_table(summary).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert {len(row) for row in cells} == {7}
    assert set(cells[1]) == {"---"}
    body = cells[2:]
    assert [tuple(row[:2]) for row in body] == list(PAPER_CURVES)
    for row, curve in zip(body, summary["curves"], strict=True):
        assert row[2] == f"{curve['auc']['mean']:.4f}"
        assert row[3] == f"{curve['auc']['low']:.4f} to {curve['auc']['high']:.4f}"
        against = curve["auc_minus_vanilla"]
        if curve["map"] == "vanilla":
            assert row[4:6] == ["", ""]
        else:
            assert row[4] == f"{against['mean']:+.4f}"
            assert row[5] == f"{against['low']:+.4f} to {against['high']:+.4f}"
        assert row[6] == f"{curve['deleted'][-1]:.3f}"


@pytest.mark.parametrize("channels", [1, 3])
def test_maps_over_the_photo(tmp_path, channels):
    # Where a map is zero the photo shows in gray, where it is one the map's white hides it.
    image = np.full((10, 10, channels), 0.25, np.float32)
    half = np.repeat([[0.0] * 5 + [1.0] * 5], 10, axis=0)
    shown = report.Example(image, "cat", dict.fromkeys(METHODS, half))
    alone = opened(report.maps_figure([shown], tmp_path / "alone.png"))
    figure = opened(report.maps_figure([shown], tmp_path / "a.png", over_photo=True))
    assert figure.shape[0] > 1.7 * alone.shape[0]
    row = figure[int(0.75 * figure.shape[0])]
    dark, white = (np.abs(row - np.full(3, level)).max(1) <= 1 for level in (64, 255))
    # Of six columns the first is all gray and five are half of it.
    assert 0.5 < dark.mean() < 0.62
    assert white.mean() > 0.35


def test_class_names_and_notes_are_plain_text(tmp_path, summary):
    # Taken for formulas, the first would not parse and the second would lose its signs.
    for text in (r"$\frac{$", "$5 and $6"):
        assert report.maps_figure([example(3, title=text)], tmp_path / "a.png", text)
        assert report.curves_figure(summary, tmp_path / "b.png", title=text, note=text)
