"""The conversion tables: one per architecture and source."""

import functools
from collections.abc import Callable, Collection

from signsal_jax import _checks
from signsal_jax.weights.table import Layout, with_head
from signsal_jax.weights.tables import cifar_resnet, cnn, convnext, efficientnet, resnet, vit

_TABLES: dict[str, Callable[[str], tuple[Layout, ...]]] = {
    "cnn": cnn.layouts,
    "resnet18": resnet.layouts,
    "resnet34": resnet.layouts,
    "resnet50": resnet.layouts,
    "convnext_tiny": convnext.layouts,
    "efficientnet_lite0": efficientnet.layouts,
    "vit_ti_16": vit.layouts,
    "vit_s_16": vit.layouts,
    "vit_b_16": vit.layouts,
    "cifar_resnet20": cifar_resnet.layouts,
    "cifar_resnet32": cifar_resnet.layouts,
    "cifar_resnet44": cifar_resnet.layouts,
    "cifar_resnet56": cifar_resnet.layouts,
}
ARCHITECTURES = tuple(_TABLES)


@functools.cache
def layouts(name: str, *, head: bool = False) -> tuple[Layout, ...]:
    """The source layouts known for an architecture.

    Args:
      name: one of `ARCHITECTURES`, as in `signsal_jax.models.create`.
      head: whether the network has the paper's linear layer on top.

    Raises:
      ValueError: an unknown name.

    >>> [layout.source for layout in layouts("convnext_tiny")]
    ['torchvision', 'timm', 'transformers']
    """
    _checks.check_member("model", name, ARCHITECTURES)
    known = _TABLES[name](name)
    return tuple(with_head(layout) for layout in known) if head else known


def select_layout(name: str, keys: Collection[str]) -> Layout:
    """Selects the layout, with or without a head, that shares the most keys with a file.

    Raises:
      ValueError: an unknown name.

    >>> select_layout("resnet18", ["conv1.weight", "fc.bias"]).source
    'torchvision, timm'
    """
    known = (*layouts(name), *layouts(name, head=True))
    return max(known, key=lambda layout: len(layout.required.keys() & keys))


def identify(keys: Collection[str]) -> Layout | None:
    """Finds the first layout, of any architecture, with exactly these keys; None if none has.

    >>> identify([rule.source for rule in layouts("resnet50")[0].rules]).architecture
    'resnet50'
    """
    present = frozenset(keys)
    for name in ARCHITECTURES:
        for layout in (*layouts(name), *layouts(name, head=True)):
            if present - layout.ignorable == layout.required.keys():
                return layout
    return None
