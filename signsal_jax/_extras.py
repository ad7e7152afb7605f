"""Packages that only some users need, imported when they are."""

import importlib
from typing import Any


def extra(module: str, extra_name: str) -> Any:
    """Imports a module that an extra brings; the error names the extra.

    A folder whose files need one calls this first in its `__init__`, before it imports them.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"{module} is not installed: run  pip install 'signsal_jax[{extra_name}]'"
        ) from error
