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
