"""Expected gradients: integrated gradients from random baselines, at random places."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from signsal_jax import _checks
from signsal_jax._precision import at_least_float32
from signsal_jax._types import Gradients
from signsal_jax.gradients._average import Averaged, Places
from signsal_jax.gradients._estimator import Estimator


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ExpectedGradients(Averaged):
    """See `expected_gradients`."""

    key: Any
    baselines: Any
    samples: int = dataclasses.field(metadata={"static": True})

    name = "expected_gradients"

    def places(self, images: Array) -> Places:
        baselines = jnp.asarray(self.baselines, images.dtype)
        if baselines.shape[1:] != images.shape[1:]:
            raise ValueError(
                f"baselines: expected [n, h, w, c] like the images {images.shape}, got shape "
                f"{baselines.shape}"
            )
        choice_key, place_key = jax.random.split(self.key)
        chosen = jax.random.randint(choice_key, (self.samples,), 0, len(baselines))
        wide = at_least_float32(images.dtype)
        # One place in each of `samples` equal parts of the line: less noise than free draws.
        within = jax.random.uniform(place_key, (self.samples,), wide)
        along = (jnp.arange(self.samples) + within) / self.samples

        def difference(place: tuple[Array, Array]) -> Array:
            return images - baselines[place[0]][None]

        def move(place: tuple[Array, Array]) -> Array:
            back = (1 - place[1]) * difference(place)
            return (images - back).astype(images.dtype)

        def weigh(place: tuple[Array, Array], gradient: Gradients) -> Gradients:
            return difference(place) * gradient

        return Places((chosen, along.astype(wide)), move, weigh)


def expected_gradients(key: Any, baselines: Any, samples: int = 32) -> Estimator:
    """Averages integrated gradients over baselines: images of a data set, drawn at random.

    No single baseline is privileged. The attributions of a class add up, in expectation, to its
    score minus its mean score over the baselines. As for `integrated_gradients`, the sign is that
    of a contribution: (image - baseline) times the gradient between them.

    Baselines and places are drawn once, the same for all classes and images, one place in each of
    `samples` equal parts of the line. Cost and memory: as `smooth_grad`, and the baselines.

    Args:
      key: from `jax.random.key`.
      baselines: float `[n, h, w, c]`, of the images' size; drawn with replacement.
      samples: the number of draws, at least 1.

    Returns:
      An `Estimator`, linear in the class scores; attributions are in units of the score.

    Raises:
      TypeError, ValueError: a key that is not a `jax.random` key, baselines that are not a batch
        of images, samples below 1. Baselines of another size than the images raise once these are
        known.

    Reference: arXiv 1906.10670, equation 3.

    >>> import jax, jax.numpy as jnp, signsal_jax
    >>> def apply_fn(variables, images):
    ...     return images.sum((1, 2)) @ variables
    >>> weights, images = jnp.asarray([[2.0, -1.0]]), jnp.full((1, 1, 2, 1), 0.5)
    >>> expected = signsal_jax.expected_gradients(
    ...     jax.random.key(0), jnp.zeros((3, 1, 2, 1)), samples=4)
    >>> _, attributions = signsal_jax.signed_jacobian(
    ...     apply_fn, weights, images, estimator=expected)
    >>> attributions[0, 0].ravel().tolist()
    [1.0, 1.0]
    """
    _checks.check_key("key", key)
    baselines = _checks.check_numbers("baselines", baselines, ranks=(4,))
    if not len(baselines):
        raise ValueError("baselines: expected at least one image, got none")
    return ExpectedGradients(key, baselines, _checks.check_integer("samples", samples, least=1))
