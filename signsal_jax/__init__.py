"""Signed saliency maps for any JAX image classifier, from its input Jacobian over all classes."""

import importlib
from typing import TYPE_CHECKING, Any

from signsal_jax._extras import extra
from signsal_jax._image_checks import (
    PixelRangeWarning as PixelRangeWarning,
    check_images as check_images,
)
from signsal_jax._two_class import two_class as two_class
from signsal_jax._types import ApplyFn as ApplyFn
from signsal_jax.attribution import saliency_maps as saliency_maps
from signsal_jax.contrasts import CONTRASTS as CONTRASTS, class_contrast as class_contrast
from signsal_jax.evaluations.deletion import (
    PAPER_CURVES as PAPER_CURVES,
    DeletionCurve as DeletionCurve,
    deletion_curve as deletion_curve,
    evaluate_deletion as evaluate_deletion,
)
from signsal_jax.evaluations.perturbation import (
    PAPER_FRACTIONS as PAPER_FRACTIONS,
    delete as delete,
    deletion_masks as deletion_masks,
)
from signsal_jax.gradients import (
    ClassExtrema as ClassExtrema,
    Estimator as Estimator,
    blur_integrated_gradients as blur_integrated_gradients,
    class_extrema as class_extrema,
    completeness_gap as completeness_gap,
    deconvnet as deconvnet,
    expected_gradients as expected_gradients,
    full_grad as full_grad,
    grad_cam as grad_cam,
    gradient_x_input as gradient_x_input,
    guided_backprop as guided_backprop,
    guided_integrated_gradients as guided_integrated_gradients,
    hires_cam as hires_cam,
    integrated_gradients as integrated_gradients,
    layer_cam as layer_cam,
    lrp as lrp,
    mean_of as mean_of,
    occlusion as occlusion,
    path_gradient as path_gradient,
    plain as plain,
    rect_grad as rect_grad,
    rise as rise,
    signed_jacobian as signed_jacobian,
    smooth_grad as smooth_grad,
    smooth_grad_squared as smooth_grad_squared,
    var_grad as var_grad,
)
from signsal_jax.maps import (
    ALL_METHODS as ALL_METHODS,
    METHODS as METHODS,
    Saliency as Saliency,
    kept_gradient as kept_gradient,
    maps_from_extrema as maps_from_extrema,
    runner_up as runner_up,
)
from signsal_jax.metrics import (
    Interval as Interval,
    auc as auc,
    bootstrap_interval as bootstrap_interval,
    fidelity as fidelity,
    paired_difference as paired_difference,
)
from signsal_jax.nn import accelerate as accelerate
from signsal_jax.scaling import normalize_maps as normalize_maps, reduce_channels as reduce_channels

if TYPE_CHECKING:
    from signsal_jax import (
        bridges as bridges,
        brightness as brightness,
        checkpoint as checkpoint,
        data as data,
        models as models,
        plan as plan,
        report as report,
        sharding as sharding,
        statistics as statistics,
        study as study,
        truth as truth,
        weights as weights,
    )
    from signsal_jax.models import from_nnx as from_nnx
    from signsal_jax.study import open_study as open_study

__version__ = "0.2.0"

# Flax, orbax and the storage of studies take longer to import than everything else together, so
# these modules are imported on first use.
_SUBMODULES = (
    "bridges",
    "brightness",
    "checkpoint",
    "data",
    "models",
    "plan",
    "report",
    "sharding",
    "statistics",
    "study",
    "truth",
    "weights",
)
_LAZY_NAMES = {"from_nnx": "models", "open_study": "study"}


def __getattr__(name: str) -> Any:
    if name == "checkpoint":
        extra("orbax.checkpoint", "study")
    if name in _SUBMODULES:
        return importlib.import_module(f"{__name__}.{name}")
    if name in _LAZY_NAMES:
        return getattr(importlib.import_module(f"{__name__}.{_LAZY_NAMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_SUBMODULES, *_LAZY_NAMES})
