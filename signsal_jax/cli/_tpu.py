"""The TPU library on machines without a TPU, where it only compiles."""

import importlib.util
import os
from pathlib import Path

_QUIET = {
    # libtpu looks for these on the network and complains on stderr where there is none.
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_SKIP_MDS_QUERY": "1",
    # Without a TPU there is nothing that two processes could not share.
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "true",
}


def quiet_without_tpu() -> None:
    """Where libtpu is installed and no TPU is, lets JAX fall back to the CPU without a word.

    To be called before JAX starts its backends. What the user set is left as it is.
    """
    chips = [*Path("/dev").glob("accel*"), *Path("/dev").glob("vfio/[0-9]*")]
    if not chips and importlib.util.find_spec("libtpu") is not None:
        for name, value in _QUIET.items():
            os.environ.setdefault(name, value)
