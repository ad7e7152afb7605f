"""The explorer of a network and a few images, for a notebook or a file."""

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from signsal_jax import _checks, _files, _image_checks
from signsal_jax._types import ApplyFn, Images, Variables
from signsal_jax.brightness import brightness_maps
from signsal_jax.gradients import Estimator, class_extrema, has_sign, plain
from signsal_jax.maps import METHODS, maps_from_extrema
from signsal_jax.models import Model
from signsal_jax.report.explorer.compute import class_gradients
from signsal_jax.report.explorer.page import explorer_html
from signsal_jax.report.explorer.subject import MOST_IMAGES, Subject, subject


class Explorer:
    """A page that a notebook shows, and that can be saved.

    Attributes:
      html: the page, which needs nothing from elsewhere.
    """

    def __init__(self, text: str):
        self.html = text

    def save(self, path: str | Path) -> Path:
        """Writes the page to a file, atomically."""
        return _files.write_text(Path(path), self.html)

    def _repr_html_(self) -> str:
        # In a frame of its own, whose script cannot reach the notebook.
        return (
            '<iframe title="signsal explorer" sandbox="allow-scripts allow-downloads" '
            'style="width: 100%; height: 900px; border: 0" '
            f'srcdoc="{html.escape(self.html)}"></iframe>'
        )


def explore(
    apply_fn: ApplyFn,
    variables: Variables,
    images: Images,
    *,
    class_names: Sequence[str] | None = None,
    titles: Sequence[str] | None = None,
    target: Any = "predicted",
    estimators: Mapping[str, Estimator] | None = None,
    precision: str | None = "highest",
) -> Explorer:
    """Computes everything that the explorer shows of a few images: the last line of a cell.

    Args:
      apply_fn: `apply_fn(variables, images) -> logits`, see `signsal_jax.ApplyFn`.
      variables: the classifier's pytree of weights.
      images: float `[b, h, w, c]`, pixels in [0, 1], at most 20.
      class_names: of all classes; None for their indices.
      titles: of the images; None for numbers.
      target: the class explained, as for `class_extrema`.
      estimators: by the name that the page shows; None for `plain` alone. Those without a sign
        give the vanilla map only.
      precision: of float32 products, see `signed_jacobian`.

    Returns:
      `Explorer`, which a notebook shows as the page; `save` writes it to a file.

    Raises:
      TypeError, ValueError: as `class_extrema`; too many images; names or titles of another
        number.

    >>> import jax.numpy as jnp
    >>> from signsal_jax import report
    >>> def apply_fn(variables, images):
    ...     return images.mean((1, 2)) @ variables
    >>> weights = jnp.asarray([[2.0, -1.0]])
    >>> page = report.explore(apply_fn, weights, jnp.ones((1, 2, 2, 1)), class_names=["a", "b"])
    >>> page.html.startswith("<!doctype html>")
    True
    """
    _checks.check_classifier(apply_fn)
    _image_checks.check_image_batch(images)
    images = np.asarray(images)
    if len(images) > MOST_IMAGES:
        raise ValueError(f"images: expected at most {MOST_IMAGES}, got {len(images)}")
    titles = [str(number) for number in range(len(images))] if titles is None else [*titles]
    if len(titles) != len(images):
        raise ValueError(f"titles: expected {len(images)}, one per image, got {len(titles)}")
    found: list[Subject] = []
    for name, estimator in (estimators or {"plain": plain()}).items():
        methods = METHODS if has_sign(estimator) else ("vanilla",)

        @jax.jit
        def compute(
            variables: Variables,
            images: Images,
            methods: Sequence[str] = methods,
            estimator: Estimator = estimator,
        ) -> Any:
            extrema = class_extrema(
                apply_fn,
                variables,
                images,
                target=target,
                class_chunk="auto",
                precision=precision,
                estimator=estimator,
            )
            signed = brightness_maps(extrema) if has_sign(estimator) else {}
            maps = maps_from_extrema(extrema, methods=methods).maps
            return extrema.logits, extrema.target, dict(maps), dict(signed)

        logits, targets, maps, signed = jax.device_get(compute(variables, images))
        names = _class_names(class_names, logits.shape[1])
        model = Model(apply_fn, variables, names, images.shape[1:], {})
        of_image = class_gradients(model, estimator=estimator, precision=precision)
        for place, image in enumerate(images):
            own = {method: maps[method][place] for method in methods}
            classes = of_image(image, logits[place], int(targets[place]), own)
            in_signs = {key: values[place] for key, values in signed.items()}
            shown = subject(titles[place], classes, name, own, in_signs)
            if len(found) == place:
                found.append(shown)
            else:
                views = {**found[place].views, **shown.views}
                found[place] = found[place]._replace(views=views)
    return Explorer(explorer_html(found, title="Signed saliency", about={}))


def _class_names(names: Sequence[str] | None, count: int) -> tuple[str, ...]:
    if names is None:
        return tuple(str(index) for index in range(count))
    if len(names) != count:
        raise ValueError(f"class_names: expected {count}, one per class, got {len(names)}")
    return tuple(names)
