"""The interface of all gradient methods, which turn class scores into attributions.

Everything in this library that needs gradients gets them from an `Estimator`. The simplest is
`plain`, the gradient itself; `smooth_grad` averages it over noise, `integrated_gradients` along a
path. Estimators are pytrees: pass them through `jax.jit` as arguments, or close over them.

A new estimator rarely needs `jax.vjp`: it calls `plain` on other images, or on a changed
classifier, and combines the pullbacks (see the guide on estimators in the documentation).
"""

import dataclasses
import hashlib
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from signsal_jax._types import ApplyFn, Gradients, Images, Logits, Variables

Pullback = Callable[[Float[Array, "b k"]], Gradients]

# Longer arrays are recorded by their digest.
_MAX_LISTED = 16


@runtime_checkable
class Estimator(Protocol):
    """A gradient method: a classifier and images in, logits and a pullback out.

    The pullback maps a cotangent `[b, k]` of the class scores (one-hot for the gradient of one
    class) to an attribution `[b, h, w, c]`. It is called once per class, inside loops and
    `jax.vmap`, so random numbers must be drawn before, once for all classes. Each image's
    attribution must depend on that image alone, and a zero cotangent must give zeros: then results
    do not depend on chunks, devices or padding.

    Attributes:
      name: for messages and records.
      linear: whether the pullback is linear in the cotangent, so that the attribution of a
        weighted sum of scores is the weighted sum of their attributions.

    An estimator whose values have no sign (a square, a variance) says so by `signed = False`; then
    maps that are chosen by sign are refused.
    """

    @property
    def name(self) -> str: ...

    @property
    def linear(self) -> bool: ...

    def __call__(
        self,
        apply_fn: ApplyFn,
        variables: Variables,
        images: Images,
        /,
        *,
        output: str,
        precision: str | None,
    ) -> tuple[Logits, Pullback]:
        """Returns the logits of `images`, always raw, and the pullback of the class scores.

        Args:
          apply_fn: the classifier; its logits are checked already.
          variables: the classifier's pytree of weights.
          images: float `[b, h, w, c]`, pixels in [0, 1].
          output: the score that is pulled back: "logits", "log_softmax" or "softmax".
          precision: of float32 products, see `signed_jacobian`.
        """
        ...


def check_estimator(estimator: Any) -> None:
    """Raises unless `estimator` has the interface of `Estimator`."""
    missing = [name for name in ("name", "linear") if not hasattr(estimator, name)]
    if missing or not callable(estimator) or isinstance(estimator, type):
        got = getattr(estimator, "__name__", type(estimator).__name__)
        raise TypeError(
            "estimator: expected a callable with the attributes name and linear, such as "
            f"signsal_jax.plain(), got {got}"
        )


def has_sign(estimator: Estimator) -> bool:
    """Whether the sign of the attributions means something: unless they say `signed = False`.

    >>> import jax
    >>> from signsal_jax import gradients
    >>> gradients.has_sign(gradients.plain())
    True
    >>> gradients.has_sign(gradients.var_grad(jax.random.key(0)))
    False
    """
    return getattr(estimator, "signed", True)


def require_linear(estimator: Estimator, what: str) -> None:
    """Raises unless the pullback of `estimator` is linear in the cotangent.

    Args:
      estimator: the estimator to check.
      what: the name of the operation that needs linearity, for the message.

    Raises:
      ValueError: an estimator that is not linear.

    >>> from signsal_jax import gradients
    >>> gradients.require_linear(gradients.plain(), "gram")
    """
    check_estimator(estimator)
    if not estimator.linear:
        raise ValueError(
            f"estimator: expected one that is linear in the class scores, which {what} needs, got "
            f"{estimator.name}"
        )


def describe(estimator: Estimator) -> dict[str, Any]:
    """Describes an estimator by values that JSON can hold: its name and its settings.

    Two estimators that give different numbers have different descriptions, so that a result can
    record which one it comes from. Reads arrays, so it cannot be used inside `jax.jit`.

    Args:
      estimator: any; the settings are its fields if it is a dataclass.

    Returns:
      "name", and each field by its name; short arrays as lists, random keys as their raw
      data, longer arrays as shape, type and SHA-256 digest.

    >>> import jax
    >>> from signsal_jax import gradients
    >>> gradients.describe(gradients.smooth_grad(jax.random.key(7), samples=4, noise=0.1))
    {'name': 'smooth_grad', 'key': [0, 7], 'samples': 4, 'noise': 0.1}
    """
    settings = {}
    if dataclasses.is_dataclass(estimator):
        for field in dataclasses.fields(estimator):
            settings[field.name] = _plain_data(getattr(estimator, field.name))
    return {"name": estimator.name, **settings}


def _plain_data(value: Any) -> Any:
    if isinstance(value, tuple):
        return [describe(item) if isinstance(item, Estimator) else item for item in value]
    if isinstance(value, Array) and jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
        value = jax.random.key_data(value)
    if not isinstance(value, Array | np.ndarray | np.generic):
        return value
    values = np.asarray(value)
    if values.size <= _MAX_LISTED:
        return values.tolist()
    digest = hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()
    return {"shape": list(values.shape), "dtype": str(values.dtype), "sha256": digest}
