"""What a result must record about its making."""

import platform
from importlib import metadata

_PACKAGES = ("signsal_jax", "jax", "jaxlib", "flax", "optax", "numpy")


def versions() -> dict[str, str]:
    """The versions of Python and of the packages that the numbers depend on."""
    return {
        "python": platform.python_version(),
        **{package: metadata.version(package) for package in _PACKAGES},
    }
