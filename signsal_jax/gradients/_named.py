"""Estimators by name, with plain settings: for command lines and configuration files."""

from collections.abc import Callable
from typing import Any

import jax

from signsal_jax import _checks
from signsal_jax.gradients._estimator import Estimator
from signsal_jax.gradients._path import integrated_gradients
from signsal_jax.gradients._plain import plain
from signsal_jax.gradients._smooth import smooth_grad


def _smooth_grad(*, noise_seed: int = 0, **settings: Any) -> Estimator:
    return smooth_grad(jax.random.key(noise_seed), **settings)


# A new estimator adds a line: how it is made, and the settings that it takes.
_MAKERS: dict[str, tuple[Callable[..., Estimator], tuple[str, ...]]] = {
    "plain": (plain, ()),
    "smooth_grad": (_smooth_grad, ("samples", "noise", "noise_seed")),
    "integrated_gradients": (integrated_gradients, ("steps", "baseline")),
}
NAMES = tuple(_MAKERS)


def named_estimator(name: str, **settings: Any) -> Estimator:
    """Makes the estimator of a name; settings that are not given are its own defaults.

    Args:
      name: "plain", "smooth_grad" or "integrated_gradients".
      **settings: `samples`, `noise` and `noise_seed` of `smooth_grad`, `steps` and `baseline` of
        `integrated_gradients`.

    Raises:
      ValueError: an unknown name, a setting of another estimator, or a value that it cannot have.

    >>> from signsal_jax import gradients
    >>> gradients.named_estimator("smooth_grad", samples=4).name
    'smooth_grad'
    """
    _checks.check_member("estimator", name, NAMES)
    owners = {setting: other for other, (_, own) in _MAKERS.items() for setting in own}
    for setting in settings:
        _checks.check_member("settings", setting, tuple(owners))
        if owners[setting] != name:
            raise ValueError(
                f"{setting}: expected with the estimator {owners[setting]}, got {name}"
            )
    return _MAKERS[name][0](**settings)
