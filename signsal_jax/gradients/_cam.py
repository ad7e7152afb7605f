"""Class activation maps of a layer, without their ReLU: Grad-CAM, HiResCAM and LayerCAM."""

import dataclasses

import jax
import jax.numpy as jnp
from jax import Array

from signsal_jax import _checks
from signsal_jax._precision import matmul_precision
from signsal_jax._types import ApplyFn, Gradients, Images, Logits, Variables
from signsal_jax._vma import varying_like
from signsal_jax.gradients._estimator import Estimator, Pullback
from signsal_jax.gradients._layer import at_layer
from signsal_jax.gradients._plain import scores_of


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class GradCam:
    """See `grad_cam`."""

    layer: str = dataclasses.field(metadata={"static": True})

    name = "grad_cam"
    linear = True

    def combine(self, gradient: Array, features: Array) -> Array:
        """Maps the gradient and output of the layer `[b, h, w, c]` to one value per position."""
        return (gradient.mean((1, 2), keepdims=True) * features).sum(-1)

    def __call__(
        self,
        apply_fn: ApplyFn,
        variables: Variables,
        images: Images,
        /,
        *,
        output: str = "logits",
        precision: str | None = "highest",
    ) -> tuple[Logits, Pullback]:
        images = jnp.asarray(images)
        with matmul_precision(precision):
            classify, offset = at_layer(apply_fn, variables, images, self.layer)

            def scores(offset: Array) -> tuple[Array, tuple[Logits, Array]]:
                logits, features = classify(offset)
                return scores_of(logits, output), (logits, features)

            _, pullback, (logits, features) = jax.vjp(
                scores, varying_like(offset, images), has_aux=True
            )

        def attribution(cotangent: Array) -> Gradients:
            values = self.combine(pullback(cotangent)[0], features)[..., None]
            shape = (*images.shape[:3], 1)
            values = jax.image.resize(values, shape, "linear", antialias=False)
            return jnp.broadcast_to(values, images.shape).astype(images.dtype)

        return logits, attribution


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class HiResCam(GradCam):
    """See `hires_cam`."""

    name = "hires_cam"

    def combine(self, gradient: Array, features: Array) -> Array:
        return (gradient * features).sum(-1)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class LayerCam(GradCam):
    """See `layer_cam`."""

    name = "layer_cam"
    linear = False

    def combine(self, gradient: Array, features: Array) -> Array:
        return (jax.nn.relu(gradient) * features).sum(-1)


def grad_cam(layer: str = "features") -> Estimator:
    """Weighs a layer's channels by their mean gradient and adds them up, without Grad-CAM's ReLU.

    A positive value says that the features at a position support the class, if every position
    counted alike; a negative one that they speak against it. The positive map is the authors'
    Grad-CAM. Because gradients are averaged over positions, the map can point at features that the
    class does not use; `hires_cam` cannot. The result has the resolution of the layer: it is scaled
    up bilinearly, and all channels of the image get the same value.

    Cost: one forward pass, and per class one backward pass down to the layer.

    Args:
      layer: the name that the network's code gives to the layer's output `[b, h, w, c]` by
        `jax.ad_checkpoint.checkpoint_name(features, "name")`, outside of loops. The networks of
        this package call the last one with positions "features".

    Returns:
      An `Estimator`, linear in the class scores; attributions are in units of the score.

    Raises:
      TypeError: a layer that is not a string. ValueError, once the network is known: no layer of
        this name, several, or one of another rank.

    Reference: arXiv 1610.02391, equations 1 and 2, without the ReLU.

    >>> import jax.numpy as jnp, signsal_jax
    >>> from jax.ad_checkpoint import checkpoint_name
    >>> def apply_fn(variables, images):
    ...     features = checkpoint_name(images**2, "squares")
    ...     return features.sum((1, 2)) @ variables
    >>> weights, images = jnp.asarray([[2.0, -1.0]]), jnp.full((1, 1, 2, 1), 0.5)
    >>> _, attributions = signsal_jax.signed_jacobian(
    ...     apply_fn, weights, images, estimator=signsal_jax.grad_cam("squares"))
    >>> attributions[0, 1].ravel().tolist()
    [-0.25, -0.25]
    """
    return GradCam(_checks.check_string("layer", layer))


def hires_cam(layer: str = "features") -> Estimator:
    """Multiplies a layer's output by its gradient, position by position, and adds up the channels.

    A positive value says that the features at a position support the class. If what follows the
    layer is linear, the values add up to the score without its bias, so every position shown was
    used; `grad_cam` does not guarantee that.

    Cost, resolution and arguments: as `grad_cam`.

    Args:
      layer: the layer's name, see `grad_cam`.

    Returns:
      An `Estimator`, linear in the class scores; attributions are in units of the score.

    Raises:
      TypeError, ValueError: as `grad_cam`.

    Reference: arXiv 2011.08891, equation 4.

    >>> import signsal_jax
    >>> signsal_jax.hires_cam("squares").linear
    True
    """
    return HiResCam(_checks.check_string("layer", layer))


def layer_cam(layer: str = "features") -> Estimator:
    """Multiplies a layer's output by the positive part of its gradient, and adds up the channels.

    Behind a ReLU, whose outputs are not negative, no value is negative: the map shows what supports
    the class and hides what speaks against it. `hires_cam` shows both.

    Cost, resolution and arguments: as `grad_cam`.

    Args:
      layer: the layer's name, see `grad_cam`.

    Returns:
      An `Estimator` that is not linear in the class scores; attributions are in units of the score.

    Raises:
      TypeError, ValueError: as `grad_cam`.

    Reference: Jiang et al., LayerCAM, IEEE TIP 2021, equations 6 to 8, without the last ReLU.

    >>> import signsal_jax
    >>> signsal_jax.layer_cam("squares").linear
    False
    """
    return LayerCam(_checks.check_string("layer", layer))
