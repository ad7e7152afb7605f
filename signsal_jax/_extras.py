"""Optional packages, imported only when they are needed."""

import importlib
from typing import Any


def extra(module: str, extra_name: str) -> Any:
    """Imports a module that an extra installs; the error for a missing one names the extra.

    A package whose files need such a module calls this in its `__init__` before it imports them.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"{module} is not installed: run  pip install 'signsal_jax[{extra_name}]'"
        ) from error


def figures() -> Any:
    """`signsal_jax.report`, for the methods by which a result draws itself.

    Layers compute and import no figures, so that a computation on a pod never waits for
    matplotlib. A method that draws is called by whoever looks at the result; it asks here, the one
    place through which a layer reaches the figures.
    """
    extra("matplotlib", "cli")
    return importlib.import_module("signsal_jax.report")
