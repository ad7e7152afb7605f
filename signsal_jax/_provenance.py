"""The software that a result was computed with, for its records."""

import platform
from importlib import metadata

import jax

_PACKAGES = ("signsal_jax", "jax", "jaxlib", "flax", "optax", "numpy")


def versions() -> dict[str, str]:
    """Returns the versions of Python and of the packages that the numbers depend on."""
    return {
        "python": platform.python_version(),
        **{package: metadata.version(package) for package in _PACKAGES},
    }


def device() -> str:
    """The kind of device that computes, such as "cpu: cpu"."""
    first = jax.devices()[0]
    return f"{first.platform}: {first.device_kind}"
