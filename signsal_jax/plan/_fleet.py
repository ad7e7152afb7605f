"""What a study takes on workers that may be preempted: hours, and the files that it writes."""

import dataclasses
import math

from signsal_jax.plan._compile import CHANNELS, Workload
from signsal_jax.study import array_specs, constant_specs, resolve_group

# The manifest, the metadata of the arrays' group, and the summary.
_SINGLE_FILES = 3


def expected_hours(
    chunks: int, chunk_hours: float, *, workers: int, preemptions: float, restart: float
) -> float:
    """Hours that chunks take in expectation, dealt to workers that are preempted at random.

    A preempted worker's chunk is computed anew, and one that takes its place comes after the
    restart. Preemptions are a Poisson process; committing takes no time.

    Args:
      chunks: of the whole study.
      chunk_hours: that a worker takes for one.
      workers: each on a whole topology.
      preemptions: of each worker per hour of its work.
      restart: hours until another takes a preempted worker's place.

    Raises:
      ValueError: fewer than one worker; a negative rate or time; preemptions so frequent that no
        chunk is ever finished.

    Reference: Daly, A higher order estimate of the optimum checkpoint interval (2006), equation 13
    without a cost of the checkpoint.

    >>> expected_hours(100, 0.01, workers=4, preemptions=0.0, restart=1.0)
    0.25
    """
    if workers < 1:
        raise ValueError(f"workers: expected at least 1, got {workers}")
    for name, value in (("preemptions", preemptions), ("restart", restart)):
        if not (math.isfinite(value) and value >= 0):
            raise ValueError(f"{name}: expected a number of at least 0, got {value}")
    each = chunk_hours
    if preemptions:
        try:
            each = (1 / preemptions + restart) * math.expm1(preemptions * chunk_hours)
        except OverflowError:
            raise ValueError(
                f"preemptions: expected at most some per chunk of {chunk_hours:.3g} hours, got "
                f"{preemptions} per hour"
            ) from None
    return -(-chunks // workers) * each


def stored_objects(workload: Workload, chunk: int) -> int:
    """Counts the files of a finished study: an array's and a commit per group, and metadata.

    Args:
      workload: the study.
      chunk: images of a chunk.
    """
    shape = (workload.pixels, workload.pixels, CHANNELS)
    cut = workload.cut
    specs = array_specs(workload.config, shape, workload.classes, cut)
    constants = constant_specs(specs, cut)
    config = dataclasses.replace(workload.config, chunk=chunk)
    groups = -(-workload.images // (chunk * resolve_group(config, workload.images, specs)))
    return groups * (len(specs) + 1) + len(specs) + 2 * len(constants) + _SINGLE_FILES
