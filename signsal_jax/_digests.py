"""Checksums of a pytree's arrays, to detect numbers that changed in storage."""

import hashlib
from typing import Any

import jax
import numpy as np


def digests(tree: Any) -> dict[str, str]:
    """Returns the SHA-256 of each array's dtype, shape and values, keyed by dotted path.

    One per array, so that a part of a checkpoint can be checked without the rest. Arrays that
    several processes share must be replicated.

    >>> import numpy as np
    >>> {path: digest[:8] for path, digest in digests({"a": [np.zeros(2, np.float32)]}).items()}
    {'a.0': 'd26c7653'}
    """
    return {
        jax.tree_util.keystr(path, simple=True, separator="."): _digest(leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def _digest(leaf: Any) -> str:
    array = np.ascontiguousarray(leaf)
    digest = hashlib.sha256(f"{array.dtype.name} {np.shape(leaf)}".encode())
    # As bytes: hashlib refuses dtypes that Python does not know, such as bfloat16.
    digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
