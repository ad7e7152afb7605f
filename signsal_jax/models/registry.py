"""Networks by name."""

from collections.abc import Callable
from typing import NamedTuple

import jax
from flax import nnx
from jax import Array

from signsal_jax import _checks
from signsal_jax.models.cifar_resnet import CifarResNet
from signsal_jax.models.cnn import BasicCNN
from signsal_jax.models.convnext import ConvNeXt
from signsal_jax.models.efficientnet import EfficientNetLite0
from signsal_jax.models.resnet import IMAGENET_CLASSES, Bottleneck, ResNet, WithHead
from signsal_jax.models.vit import ViT

_Builder = Callable[[int, int, nnx.Rngs], nnx.Module]


class _Architecture(NamedTuple):
    build: _Builder
    image_size: int
    """The height and width it was designed for; every network here also accepts others."""
    has_head: bool
    """Whether `create` keeps the 1000-way ImageNet layer and puts a linear one on top of it."""


def _cnn(num_classes: int, in_features: int, rngs: nnx.Rngs) -> nnx.Module:
    return BasicCNN(num_classes, in_features=in_features, rngs=rngs)


def _resnet18(num_classes: int, in_features: int, rngs: nnx.Rngs) -> nnx.Module:
    return ResNet(num_classes, in_features=in_features, rngs=rngs)


def _resnet34(num_classes: int, in_features: int, rngs: nnx.Rngs) -> nnx.Module:
    return ResNet(num_classes, in_features=in_features, depths=(3, 4, 6, 3), rngs=rngs)


def _resnet50(num_classes: int, in_features: int, rngs: nnx.Rngs) -> nnx.Module:
    depths = (3, 4, 6, 3)
    return ResNet(num_classes, in_features=in_features, depths=depths, block=Bottleneck, rngs=rngs)


def _convnext_tiny(num_classes: int, in_features: int, rngs: nnx.Rngs) -> nnx.Module:
    return ConvNeXt(num_classes, in_features=in_features, rngs=rngs)


def _efficientnet_lite0(num_classes: int, in_features: int, rngs: nnx.Rngs) -> nnx.Module:
    return EfficientNetLite0(num_classes, in_features=in_features, rngs=rngs)


def _vit(features: int, heads: int) -> _Builder:
    def build(num_classes: int, in_features: int, rngs: nnx.Rngs) -> nnx.Module:
        return ViT(num_classes, in_features=in_features, features=features, heads=heads, rngs=rngs)

    return build


def _cifar_resnet(depth: int) -> _Builder:
    def build(num_classes: int, in_features: int, rngs: nnx.Rngs) -> nnx.Module:
        return CifarResNet(num_classes, in_features=in_features, depth=depth, rngs=rngs)

    return build


_ARCHITECTURES: dict[str, _Architecture] = {
    "cnn": _Architecture(_cnn, image_size=32, has_head=False),
    "resnet18": _Architecture(_resnet18, image_size=224, has_head=True),
    "resnet34": _Architecture(_resnet34, image_size=224, has_head=True),
    "resnet50": _Architecture(_resnet50, image_size=224, has_head=True),
    "convnext_tiny": _Architecture(_convnext_tiny, image_size=224, has_head=True),
    "efficientnet_lite0": _Architecture(_efficientnet_lite0, image_size=224, has_head=True),
    "vit_ti_16": _Architecture(_vit(192, 3), image_size=224, has_head=True),
    "vit_s_16": _Architecture(_vit(384, 6), image_size=224, has_head=True),
    "vit_b_16": _Architecture(_vit(768, 12), image_size=224, has_head=True),
    "cifar_resnet20": _Architecture(_cifar_resnet(20), image_size=32, has_head=False),
    "cifar_resnet32": _Architecture(_cifar_resnet(32), image_size=32, has_head=False),
    "cifar_resnet44": _Architecture(_cifar_resnet(44), image_size=32, has_head=False),
    "cifar_resnet56": _Architecture(_cifar_resnet(56), image_size=32, has_head=False),
}
MODELS = tuple(_ARCHITECTURES)
# Far above any image classifier, yet small enough that the weights cannot exhaust memory.
MOST_CLASSES = 100_000
MOST_CHANNELS = 1024
# Networks that keep their ImageNet layer and get a linear one on top, as in the paper.
HEADED = tuple(name for name, architecture in _ARCHITECTURES.items() if architecture.has_head)


def _checked_rngs(name: str, num_classes: int, in_features: int, key: Array | None) -> nnx.Rngs:
    _checks.check_member("name", name, MODELS)
    _checks.check_integer("num_classes", num_classes, least=2, most=MOST_CLASSES)
    _checks.check_integer("in_features", in_features, least=1, most=MOST_CHANNELS)
    if key is None:
        key = jax.random.key(0)
    _checks.check_key("key", key)
    return nnx.Rngs(params=key)


def create(
    name: str, num_classes: int, *, in_features: int = 3, key: Array | None = None
) -> nnx.Module:
    """Creates a network of the zoo with fresh weights, as the paper trains it.

    Args:
      name: one of `MODELS`. "cnn" is the paper's Basic CNN. The ImageNet networks ("resnet18",
        "resnet34", "resnet50", "convnext_tiny", "efficientnet_lite0", "vit_ti_16", "vit_s_16",
        "vit_b_16") keep their 1000-way layer and get the paper's linear layer on top;
        `create_backbone` omits it. The "cifar_resnet"
        networks end directly in `num_classes` logits.
      num_classes: number of logits, 2 to 100,000.
      in_features: image channels: 1 for grayscale, 3 for color.
      key: a `jax.random` key for the initial weights (torch's defaults: uniform within
        1/sqrt(fan in)); None for `jax.random.key(0)`.

    Returns:
      A Flax NNX module taking images `[b, h, w, in_features]` in [0, 1]; `from_nnx` turns it
      into `apply_fn` and variables.

    Raises:
      TypeError, ValueError: an unknown name (the message lists the valid ones), too few or too
        many classes or channels, or an invalid key.

    Reference: arXiv 2309.12913, the networks.

    >>> import jax.numpy as jnp, signsal_jax
    >>> model = signsal_jax.models.create("cnn", num_classes=7, in_features=1)
    >>> model(jnp.zeros((1, 28, 28, 1))).shape
    (1, 7)
    """
    rngs = _checked_rngs(name, num_classes, in_features, key)
    architecture = _ARCHITECTURES[name]
    if not architecture.has_head:
        return architecture.build(num_classes, in_features, rngs)
    backbone = architecture.build(IMAGENET_CLASSES, in_features, rngs)
    return WithHead(backbone, num_classes, rngs=rngs)


def create_backbone(
    name: str,
    num_classes: int = IMAGENET_CLASSES,
    *,
    in_features: int = 3,
    key: Array | None = None,
) -> nnx.Module:
    """Creates a network of the zoo with fresh weights and no layer on top, as it was published.

    Arguments, result and errors are as in `create`. Published weights fit this module.

    >>> from signsal_jax.models import registry
    >>> registry.create_backbone("cifar_resnet20", 10).classifier.kernel.shape
    (64, 10)
    """
    rngs = _checked_rngs(name, num_classes, in_features, key)
    return _ARCHITECTURES[name].build(num_classes, in_features, rngs)


def image_size(name: str) -> int:
    """The height and width that a network was designed for.

    Raises:
      ValueError: an unknown name.

    >>> from signsal_jax.models import registry
    >>> registry.image_size("efficientnet_lite0")
    224
    """
    _checks.check_member("name", name, MODELS)
    return _ARCHITECTURES[name].image_size
