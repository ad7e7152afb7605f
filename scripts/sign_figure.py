"""Draws what the usual saliency map shows of a photograph, and what the sign adds.

    pip install -e '.[demo]' && python scripts/sign_figure.py --out docs/figures/sign.png

The photographs of scikit-image at 32x32 pixels, explained by the network in this package.
"""

import dataclasses
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import skimage
import tyro
from matplotlib.figure import Figure

import signsal_jax
from signsal_jax import _files, brightness, models
from signsal_jax.data.photos import read_image
from signsal_jax.maps import maps_from_extrema

PHOTOS = ("chelsea.png", "horse.png")
PERCENTILE = 99.5
"""Of the magnitudes of a signed panel: what is above gets the color at the end of the scale."""


@dataclasses.dataclass(frozen=True)
class SignFigure:
    """Draw the usual saliency map of photographs beside their signed maps."""

    out: Path = Path("runs/sign.png")
    """The figure."""


def draw(images: np.ndarray, vanilla: Any, gradient: Any, compared: Any, names: Any) -> Figure:
    """One row per image: the image, its saliency map, its signed gradient, its signed rivalry."""
    titles = ("photo", "usual saliency map", "signed gradient", "active and inactive")
    figure = Figure(figsize=(8, 1.62 * len(images) + 0.65), layout="constrained")
    panels = figure.subplots(len(images), len(titles), squeeze=False)
    drawn: Any = None
    for row, name in enumerate(names):
        panels[row, 0].imshow(images[row])
        panels[row, 0].set_ylabel(name)
        panels[row, 1].imshow(vanilla[row], cmap="hot", vmin=0, vmax=1)
        for place, signed in ((2, gradient[row]), (3, compared[row])):
            scale = np.percentile(np.abs(signed), PERCENTILE)
            drawn = panels[row, place].imshow(signed / scale, cmap="RdBu_r", vmin=-1, vmax=1)
    for place, title in enumerate(titles):
        panels[0, place].set_title(title, fontsize=10)
    for panel in panels.flat:
        panel.set(xticks=[], yticks=[])
    bar = figure.colorbar(drawn, ax=panels, shrink=0.8, ticks=[-1, 0, 1])
    bar.set_ticklabels(["darker\nhelps", "0", "brighter\nhelps"])
    note = f"each signed panel: color scale ends at its {PERCENTILE}th percentile of magnitudes"
    figure.supxlabel(note, fontsize=8)
    return figure


def main() -> int:
    command = tyro.cli(SignFigure, description=__doc__)
    model = models.load("cnn-cifar10")
    folder = Path(skimage.__file__).parent / "data"
    images = np.stack([read_image(folder / photo, model.input_shape) for photo in PHOTOS])

    @jax.jit
    def explain(variables: Any, images: jax.Array) -> Any:
        extrema = signsal_jax.class_extrema(model.apply_fn, variables, images)
        signed = brightness.brightness_maps(extrema)
        vanilla = maps_from_extrema(extrema, methods=["vanilla"]).maps["vanilla"]
        return vanilla, signed[brightness.GRADIENT], signed[brightness.COMPARED], extrema.target

    vanilla, gradient, compared, target = jax.device_get(explain(model.variables, images))
    names = [model.class_names[place] for place in target]
    figure = draw(images, vanilla, gradient, compared, names)
    _files.write_atomically(command.out, lambda file: figure.savefig(file, dpi=150))
    return 0


if __name__ == "__main__":
    sys.exit(main())
