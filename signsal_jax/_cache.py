"""The persistent compilation cache that the command lines turn on."""

import os
from pathlib import Path

import jax


def enable_compilation_cache() -> None:
    """Keeps compiled programs in the user's cache folder, so that the next run starts at once.

    A cache that the user has configured (`JAX_COMPILATION_CACHE_DIR`) stays in use.
    """
    if jax.config.values["jax_compilation_cache_dir"] is None:
        base = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
        jax.config.update("jax_compilation_cache_dir", str(base / "signsal_jax" / "xla"))
