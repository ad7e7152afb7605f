"""SmoothGrad: the gradient averaged over noisy copies of the image."""

import dataclasses
import functools
import math
from typing import Any

import jax
from jax import Array

from signsal_jax import _checks
from signsal_jax._jaxpr import run_once
from signsal_jax.gradients._average import Averaged, Places
from signsal_jax.gradients._estimator import Estimator


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class SmoothGrad(Averaged):
    """See `smooth_grad`."""

    key: Any
    samples: int = dataclasses.field(metadata={"static": True})
    noise: float = dataclasses.field(metadata={"static": True})

    name = "smooth_grad"

    def places(self, images: Array) -> Places:
        def draw(key: Array) -> Array:
            return self.noise * jax.random.normal(key, (1, *images.shape[1:]), images.dtype)

        # Draw one sample at a time: drawing all at once briefly takes four times the memory.
        draw_all = functools.partial(jax.lax.map, draw)
        offsets = run_once(draw_all, jax.random.split(self.key, self.samples))
        return Places(offsets, lambda offset: images + offset)


def smooth_grad(key: Any, samples: int = 32, noise: float = 0.1) -> Estimator:
    """Averages the gradient over copies of the image with Gaussian noise.

    The noise is drawn once and is the same for all classes and images: classes are compared on
    equal terms, and an image's attribution does not depend on batches, devices or padding. For
    different noise per image, use `jax.vmap` over keys. Noisy pixels may leave [0, 1].

    Cost: one forward pass, and per class `samples` backward passes, each with a forward pass of
    its own that classes of the same chunk share (on CPU classes do not share it). Memory: the
    noise, and otherwise as `plain`, whatever the number of samples.

    Args:
      key: from `jax.random.key`.
      samples: the number of noisy copies, at least 1.
      noise: the noise's standard deviation in units of pixel value, at least 0; the authors
        recommend 0.1 to 0.2 of the range of pixels.

    Returns:
      An `Estimator`, linear in the class scores. Its logits are those of the images without noise.
      With one sample and no noise it equals `plain`, bit for bit.

    Raises:
      TypeError, ValueError: a key that is not a `jax.random` key, samples below 1, noise that is
        negative or not finite.

    Reference: arXiv 1706.03825.

    >>> import jax, jax.numpy as jnp, signsal_jax
    >>> def apply_fn(variables, images):
    ...     return images.sum((1, 2)) @ variables
    >>> weights, images = jnp.asarray([[2.0, -1.0]]), jnp.ones((1, 2, 2, 1))
    >>> smooth = signsal_jax.smooth_grad(jax.random.key(0), samples=8, noise=0.1)
    >>> saliency = signsal_jax.saliency_maps(
    ...     apply_fn, weights, images, estimator=smooth, normalize=False)
    >>> saliency.maps["positive"][0].tolist()
    [[2.0, 2.0], [2.0, 2.0]]
    """
    return SmoothGrad(*check_noise(key, samples, noise))


def check_noise(key: Any, samples: int, noise: float) -> tuple[Any, int, float]:
    """Returns the settings of `smooth_grad`; raises as it does."""
    _checks.check_key("key", key)
    samples = _checks.check_integer("samples", samples, least=1)
    noise = _checks.check_real("noise", noise)
    if not (noise >= 0 and math.isfinite(noise)):
        raise ValueError(f"noise: expected a finite standard deviation of at least 0, got {noise}")
    return key, samples, noise
