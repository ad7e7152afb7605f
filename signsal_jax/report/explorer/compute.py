"""Class gradients and deletion for the explorer: computed while the network is at hand."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from signsal_jax._precision import matmul_precision
from signsal_jax._types import Images, Variables
from signsal_jax.evaluations import PAPER_FRACTIONS, blur, delete, deletion_masks
from signsal_jax.gradients import Estimator, plain, signed_jacobian
from signsal_jax.models import Model
from signsal_jax.report.explorer.subject import BLUR, ClassGradients, Deleted, shown_classes

_FILLS = ("black", "white", BLUR)


def class_gradients(
    model: Model, *, estimator: Estimator = plain(), precision: str | None = "highest"
) -> Callable[[np.ndarray, np.ndarray, int, Mapping[str, np.ndarray]], ClassGradients]:
    """Returns a function that computes `ClassGradients` of one image after another.

    The function takes the image `[h, w, c]`, its logits `[k]`, the target, and the maps to delete
    by, by name `[h, w]`. It compiles once for images of one shape.

    Args:
      model: the network.
      estimator: of the class gradients; deletion follows the maps.
      precision: of float32 products, see `signed_jacobian`.
    """

    @jax.jit
    def compute(variables: Variables, image: Images, classes: jax.Array, maps: jax.Array) -> Any:
        _, jacobian = signed_jacobian(
            model.apply_fn,
            variables,
            image,
            classes=classes[None],
            class_chunk="auto",
            precision=precision,
            estimator=estimator,
        )
        masks = deletion_masks(maps, fractions=PAPER_FRACTIONS)
        copies = jnp.broadcast_to(image, (len(maps), *image.shape[1:]))
        values = {fill: blur(image)[0] if fill == BLUR else fill for fill in _FILLS}

        def classify(mask: jax.Array) -> tuple[jax.Array, jax.Array]:
            images = jnp.concatenate([delete(copies, mask, values[fill]) for fill in _FILLS])
            with matmul_precision(precision):
                logits = model.apply_fn(variables, images)
            return jax.nn.softmax(logits)[:, classes], jnp.argmax(logits, axis=1)

        probabilities, predicted = jax.lax.map(classify, masks)
        return jacobian[0].sum(-1), (~masks).sum(0), probabilities, predicted

    def of_image(
        image: np.ndarray, logits: np.ndarray, target: int, maps: Mapping[str, np.ndarray]
    ) -> ClassGradients:
        classes = shown_classes(np.asarray(logits), target)
        stacked = np.stack([*maps.values()])
        gradients, first, probabilities, predicted = jax.device_get(
            compute(model.variables, image[None], classes, stacked)
        )

        def by_method(values: np.ndarray) -> np.ndarray:
            """From `[fraction, fill * method, ...]` to `[method, fill, fraction, ...]`."""
            split = values.reshape(len(values), len(_FILLS), len(maps), *values.shape[2:])
            return np.moveaxis(split, (2, 1, 0), (0, 1, 2))

        deleted = Deleted(
            tuple(maps),
            _FILLS,
            np.asarray(PAPER_FRACTIONS),
            first.astype(np.uint8),
            by_method(probabilities),
            by_method(predicted),
        )
        return ClassGradients(
            np.asarray(image),
            tuple(model.class_names),
            np.asarray(logits),
            target,
            classes,
            gradients,
            deleted,
        )

    return of_image
