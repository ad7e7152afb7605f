"""Networks by name."""

from collections.abc import Callable

import jax
from flax import nnx
from jax import Array

from signsal_jax import _checks
from signsal_jax.models.cnn import BasicCNN
from signsal_jax.models.resnet import ResNet, WithHead


def _cnn(num_classes: int, in_features: int, rngs: nnx.Rngs) -> nnx.Module:
    return BasicCNN(num_classes, in_features=in_features, rngs=rngs)


def _resnet18(num_classes: int, in_features: int, rngs: nnx.Rngs) -> nnx.Module:
    return WithHead(ResNet(1000, in_features=in_features, rngs=rngs), num_classes, rngs=rngs)


_BUILDERS: dict[str, Callable[[int, int, nnx.Rngs], nnx.Module]] = {
    "cnn": _cnn,
    "resnet18": _resnet18,
}
MODELS = tuple(_BUILDERS)


def create(
    name: str, num_classes: int, *, in_features: int = 3, key: Array | None = None
) -> nnx.Module:
    """A network of the zoo with fresh weights.

    Args:
      name: "cnn" (the paper's Basic CNN) or "resnet18" (torchvision's with its 1000-way layer,
        and the paper's linear layer on top).
      num_classes: how many logits, at least 2.
      in_features: image channels: 1 for grayscale, 3 for colour.
      key: a `jax.random` key for the initial weights (torch's defaults: uniform within
        1/sqrt(fan in)); None for `jax.random.key(0)`.

    Returns:
      A Flax NNX module taking images `[b, h, w, in_features]` in [0, 1]; `from_nnx` turns it
      into `apply_fn` and variables.

    Raises:
      ValueError: an unknown name (the message lists the valid ones), fewer than two classes or
        no channel.

    Reference: arXiv 2309.12913, the networks.

    >>> import jax.numpy as jnp, signsal_jax
    >>> model = signsal_jax.models.create("cnn", num_classes=7, in_features=1)
    >>> model(jnp.zeros((1, 28, 28, 1))).shape
    (1, 7)
    """
    _checks.check_member("model", name, MODELS)
    if num_classes < 2:
        raise ValueError(f"num_classes: expected at least 2, got {num_classes}")
    if in_features < 1:
        raise ValueError(f"in_features: expected at least 1, got {in_features}")
    rngs = nnx.Rngs(params=jax.random.key(0) if key is None else key)
    return _BUILDERS[name](num_classes, in_features, rngs)
