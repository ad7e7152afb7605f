"""Estimators by name, with plain settings: for command lines and configuration files."""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

import jax

from signsal_jax import _checks
from signsal_jax.gradients._blur import blur_integrated_gradients
from signsal_jax.gradients._cam import grad_cam, hires_cam, layer_cam
from signsal_jax.gradients._estimator import Estimator
from signsal_jax.gradients._full_grad import full_grad
from signsal_jax.gradients._gradient_x_input import gradient_x_input
from signsal_jax.gradients._guided_path import guided_integrated_gradients
from signsal_jax.gradients._lrp import LRP_RULES, lrp
from signsal_jax.gradients._masked import occlusion, rise
from signsal_jax.gradients._mean_of import mean_of
from signsal_jax.gradients._path import integrated_gradients, path_gradient
from signsal_jax.gradients._plain import plain
from signsal_jax.gradients._relu import deconvnet, guided_backprop, rect_grad
from signsal_jax.gradients._smooth import smooth_grad
from signsal_jax.gradients._squares import smooth_grad_squared, var_grad


def _seeded(make: Callable[..., Estimator]) -> Callable[..., Estimator]:
    return lambda noise_seed=0, **settings: make(jax.random.key(noise_seed), **settings)


def _from_black_and_white(**settings: Any) -> Estimator:
    return mean_of(*(integrated_gradients(baseline, **settings) for baseline in (0.0, 1.0)))


_NOISE = ("samples", "noise", "noise_seed")
# A new estimator adds a line: how it is made, and the settings that it takes.
_MAKERS: dict[str, tuple[Callable[..., Estimator], tuple[str, ...]]] = {
    "plain": (plain, ()),
    "smooth_grad": (_seeded(smooth_grad), _NOISE),
    "smooth_grad_squared": (_seeded(smooth_grad_squared), _NOISE),
    "var_grad": (_seeded(var_grad), _NOISE),
    "integrated_gradients": (integrated_gradients, ("steps", "baseline")),
    "integrated_gradients_black_white": (_from_black_and_white, ("steps",)),
    "blur_integrated_gradients": (blur_integrated_gradients, ("steps", "max_sigma")),
    "guided_integrated_gradients": (
        guided_integrated_gradients,
        ("steps", "baseline", "fraction", "max_distance"),
    ),
    "path_gradient": (path_gradient, ("steps", "baseline")),
    "gradient_x_input": (gradient_x_input, ("baseline",)),
    "grad_cam": (grad_cam, ("layer",)),
    "hires_cam": (hires_cam, ("layer",)),
    "layer_cam": (layer_cam, ("layer",)),
    "guided_backprop": (guided_backprop, ()),
    "deconvnet": (deconvnet, ()),
    "rect_grad": (rect_grad, ("percentile",)),
    "lrp": (lrp, ("rules", "epsilon", "gamma", "alpha")),
    "full_grad": (full_grad, ("signed",)),
    "occlusion": (occlusion, ("window", "stride", "baseline")),
    "rise": (_seeded(rise), ("samples", "cells", "kept", "noise_seed")),
}
NAMES = tuple(_MAKERS)


@dataclasses.dataclass(frozen=True, kw_only=True)
class EstimatorConfig:
    """The gradient method by name, and its settings; those not given are its own defaults."""

    estimator: Literal[NAMES] = "plain"  # pyright: ignore[reportInvalidTypeForm]
    """The gradient at the image (plain), averaged over noise or along a path, times the image, at
    a layer, or with another backward pass through ReLUs or all layers; or the scores of masked
    images."""
    samples: int | None = None
    """For smooth_grad, smooth_grad_squared and var_grad: noisy copies (default: 32). For rise:
    masks (default: 1024)."""
    noise: float | None = None
    """For smooth_grad, smooth_grad_squared and var_grad: the standard deviation of the noise, in
    units of pixel value (default: 0.1)."""
    noise_seed: int | None = None
    """For the same and rise: the seed of noise and masks (default: 0)."""
    steps: int | None = None
    """For integrated gradients of any kind and path_gradient: points on the path (default: 32)."""
    baseline: float | None = None
    """For integrated_gradients, guided_integrated_gradients, path_gradient, gradient_x_input and
    occlusion: the gray level that the image is compared with, or hidden by (default: 0, black)."""
    fraction: float | None = None
    """For guided_integrated_gradients: the share of pixels moved together (default: 0.25)."""
    max_distance: float | None = None
    """For guided_integrated_gradients: how far a pixel may leave the straight line, as a share of
    its way (default: 0.02)."""
    max_sigma: float | None = None
    """For blur_integrated_gradients: the strongest blur, in pixels (default: 50)."""
    layer: str | None = None
    """For grad_cam, hires_cam and layer_cam: the layer's name (default: features, the last one with
    positions in the networks of this package)."""
    percentile: float | None = None
    """For rect_grad: the share of each layer that is stopped, in per cent (default: 98)."""
    rules: Literal[LRP_RULES] | None = None  # pyright: ignore[reportInvalidTypeForm]
    """For lrp: the rule of all layers, or a composite (default: epsilon_plus)."""
    epsilon: float | None = None
    """For lrp: what is added to denominators (default: 1e-6)."""
    gamma: float | None = None
    """For lrp with gamma: how much more contributions of the output's sign count (default:
    0.25)."""
    alpha: float | None = None
    """For lrp with alpha_beta: how often positive contributions count (default: 2)."""
    signed: bool | None = None
    """For full_grad: keep the sign, or the authors' absolute values (default: signed)."""
    window: int | None = None
    """For occlusion: the side of the window that hides pixels (default: 8)."""
    stride: int | None = None
    """For occlusion: the step between places of the window (default: 4)."""
    cells: int | None = None
    """For rise: cells of a mask along each side (default: 7)."""
    kept: float | None = None
    """For rise: the probability that a cell is seen (default: 0.5)."""

    def estimator_fields(self) -> dict[str, Any]:
        """The values of the fields above by name."""
        return {
            field.name: getattr(self, field.name) for field in dataclasses.fields(EstimatorConfig)
        }

    def make_estimator(self) -> Estimator:
        """The gradient method that the fields describe.

        Raises:
          ValueError: a setting of another method, or a value that it cannot have.
        """
        fields = self.estimator_fields()
        name = fields.pop("estimator")
        return named_estimator(name, **{k: v for k, v in fields.items() if v is not None})


def named_estimator(name: str, **settings: Any) -> Estimator:
    """Makes the estimator of a name; settings that are not given are its own defaults.

    Args:
      name: one of `NAMES`.
      **settings: as the fields of `EstimatorConfig`.

    Raises:
      ValueError: an unknown name, a setting of another estimator, or a value that it cannot have.

    >>> from signsal_jax import gradients
    >>> gradients.named_estimator("smooth_grad", samples=4).name
    'smooth_grad'
    """
    _checks.check_member("estimator", name, NAMES)
    make, own = _MAKERS[name]
    for setting in settings:
        owners = [other for other, (_, theirs) in _MAKERS.items() if setting in theirs]
        if not owners:
            known = tuple(field.name for field in dataclasses.fields(EstimatorConfig))
            _checks.check_member("settings", setting, known)
        if setting not in own:
            raise ValueError(
                f"{setting}: expected with the estimator {' or '.join(owners)}, got {name}"
            )
    return make(**settings)
