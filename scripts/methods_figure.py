"""Draws the five maps of several gradient methods for four photographs, in one figure.

    pip install -e '.[all,demo]' && python scripts/methods_figure.py --out docs/figures/methods.jpg

EfficientNet-Lite0 with ImageNet weights; active and inactive among the 20 classes with the highest
scores. The row "weighted contrast" has the contrast in place of the gradient: its vanilla, positive
and negative parts, beside active and inactive, which are the same for a contrast.
"""

import dataclasses
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import skimage
import tyro
from PIL import Image

from signsal_jax import _files, brightness, data, models, report
from signsal_jax.data.photos import read_image
from signsal_jax.gradients import Estimator, class_extrema, named_estimator
from signsal_jax.maps import METHODS, maps_from_extrema

PHOTOS = ("chelsea.png", "coffee.png", "rocket.jpg", "astronaut.png")
RIVALS = 20
CONTRAST = "weighted contrast"
# Half the resolution of the figures: it is small in a page, and large as a file.
_SHRINK = 2


@dataclasses.dataclass(frozen=True)
class MethodsFigure:
    """Draw the five maps of several gradient methods for four photographs."""

    samples: int = 16
    """Samples of smooth_grad, steps of integrated_gradients."""
    out: Path = Path("runs/methods.jpg")
    """The figure."""


def estimators(samples: int) -> dict[str, Estimator]:
    """The methods, by the title of their rows."""
    return {
        "plain": named_estimator("plain"),
        "smooth_grad": named_estimator("smooth_grad", samples=samples),
        "integrated_gradients": named_estimator("integrated_gradients", steps=samples),
        "guided_backprop": named_estimator("guided_backprop"),
        CONTRAST: named_estimator("plain"),
    }


def explained(model: models.Model, title: str, estimator: Estimator, images: np.ndarray) -> Any:
    """The maps and the signed maps of all photographs by one method."""

    @jax.jit
    def explain(variables: Any, images: jax.Array) -> Any:
        contrasts = ("weighted",) if title == CONTRAST else ()
        settings = {"rivals": RIVALS, "contrasts": contrasts, "estimator": estimator}
        extrema = class_extrema(model.apply_fn, variables, images, **settings)
        saliency, signed = maps_from_extrema(extrema), brightness.brightness_maps(extrema)
        maps = dict(saliency.maps)
        if contrasts:
            assert extrema.contrasts is not None
            alone = extrema._replace(gradient=extrema.contrasts["weighted"])
            methods = ("vanilla", "positive", "negative")
            maps |= maps_from_extrema(alone, methods=methods).maps
            signed = {**signed, brightness.GRADIENT: alone.gradient.sum(-1)}
        return maps, dict(signed), saliency.target

    return jax.device_get(explain(model.variables, images))


def main() -> int:
    command = tyro.cli(MethodsFigure, description=__doc__)
    model = models.load("efficientnet_lite0")
    folder = Path(skimage.__file__).parent / "data"
    photos = [folder / name for name in PHOTOS]
    images = np.stack(
        [read_image(path, model.input_shape, **(model.photos or {})) for path in photos]
    )
    found = {
        title: explained(model, title, estimator, images)
        for title, estimator in estimators(command.samples).items()
    }
    examples = []
    for place in range(len(photos)):
        for title, (maps, signed, target) in found.items():
            name = data.display_name(model.class_names[int(target[place])])
            examples.append(
                report.Example(
                    images[place],
                    f"{name}: {title}",
                    {method: maps[method][place] for method in METHODS},
                    {
                        kind: signed[kind][place]
                        for kind in (brightness.GRADIENT, brightness.COMPARED)
                    },
                )
            )
    figure = report.maps_figure(examples, command.out.with_suffix(".png"))
    with Image.open(figure) as drawn:
        small = drawn.convert("RGB").reduce(_SHRINK)
    _files.write_atomically(command.out, lambda file: small.save(file, format="JPEG", quality=85))
    figure.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
