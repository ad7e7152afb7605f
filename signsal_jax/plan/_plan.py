"""Plans of studies before a chip is rented: memory, FLOPs, time and storage on a TPU pod."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from signsal_jax.gradients import describe, describe_cut
from signsal_jax.plan._chips import FLOAT32_PASSES, Chip
from signsal_jax.plan._compile import (
    CHANNELS,
    COMPILER_OPTIONS,
    CompiledStep as CompiledStep,
    DoesNotFitError as DoesNotFitError,
    Workload as Workload,
    compile_step as compile_step,
    topology_devices as topology_devices,
)
from signsal_jax.plan._fleet import expected_hours as expected_hours, stored_objects
from signsal_jax.plan._hlo_cost import Cost
from signsal_jax.study import array_specs


def storage_bytes(workload: Workload) -> dict[str, int]:
    """Bytes that a study stores before compression: for maps, and for everything else.

    Every array with one value per pixel counts as a map.

    >>> from signsal_jax.study import StudyConfig
    >>> config = StudyConfig("", store=("maps",))
    >>> storage_bytes(Workload("v5e:4x4", "resnet18", config, images=1))["maps"] == 5 * 224**2 * 2
    True
    """
    shape = (workload.pixels, workload.pixels, CHANNELS)
    total = {"maps": 0, "statistics": 0}
    for spec in array_specs(workload.config, shape, workload.classes, workload.cut).values():
        part = "maps" if "height" in spec.dimensions else "statistics"
        total[part] += spec.nbytes * workload.images
    return total


def step_seconds(cost: Cost, chip: Chip, utilization: float) -> float:
    """Seconds that a step takes at this share of the chip's peak.

    Raises:
      ValueError: a utilization outside (0, 1].

    >>> from signsal_jax.plan._chips import CHIPS
    >>> step_seconds(Cost(197 * 10**12, 6 * 197 * 10**12, {}), CHIPS["v5e"], 0.5)
    12.0
    """
    if not 0 < utilization <= 1:
        raise ValueError(f"utilization: expected a share in (0, 1], got {utilization}")
    return cost.bf16_flops / (chip.bf16_flops * utilization)


def largest_fitting(
    needs: Callable[[int], int | None],
    start: int,
    used: int,
    *,
    limit: int,
    available: int,
    tries: int,
) -> int:
    """The largest value found whose need is within `available`, in at most `tries` trials.

    Memory grows about linearly with the value. So each trial is the value that just fits according
    to the line through two known points (at first, the start and the origin).

    Args:
      needs: returns the bytes that a value needs; None if even that is unknown.
      start: a value that fits, and takes `used` bytes.
      limit: no larger value makes sense.

    >>> largest_fitting(lambda n: 10 + 3 * n, 4, 22, limit=1000, available=100, tries=4)
    30
    """
    fitting, other, too_large = (start, used), (0, 0), limit + 1
    for _ in range(tries):
        slope = (fitting[1] - other[1]) / (fitting[0] - other[0])
        room = int((available - fitting[1]) / max(slope, 1))
        candidate = min(fitting[0] + room, too_large - 1)
        if candidate <= fitting[0]:
            break
        found = needs(candidate)
        if found is None or found > available:
            too_large, other = candidate, (candidate, found or 2 * available)
        else:
            other, fitting = fitting, (candidate, found)
    return fitting[0]


def make_plan(
    workload: Workload,
    *,
    utilization: float,
    compilations: int,
    workers: int = 1,
    preemptions: float = 0.0,
    restart_minutes: float = 10.0,
) -> dict[str, Any]:
    """Compiles the study's step for a pod and works out what the whole study takes.

    Args:
      workload: the study.
      utilization: the share of the chip's peak that is assumed for the time.
      compilations: the most compilations to run; those after the first look for a larger class
        chunk, then for a larger batch, that still fit.
      workers: that share the study, each on a topology of its own.
      preemptions: of each worker per hour.
      restart_minutes: until another takes a preempted worker's place.

    Returns:
      A dict ready for JSON: the chip's figures, memory per chip, FLOPs per chip and per image,
      collectives, the cut that class gradients are computed through, time, chip-hours, storage and
      its number of objects, the expected hours of preempted workers, and the largest chunk and
      batch that were found to fit (None without trials). A chip that is several devices to JAX
      counts per device, except in the number of chips and chip-hours.

    Raises:
      ValueError: `DoesNotFitError`, or as in `topology_devices`, `compile_step`, `step_seconds`.
      RuntimeError: libtpu is not installed.
    """
    chip, devices = topology_devices(workload.topology)
    # Refuse bad numbers before the work.
    step_seconds(Cost(0, 0, {}), chip, utilization)
    fleet: dict[str, Any] = {
        "workers": workers,
        "preemptions": preemptions,
        "restart": restart_minutes / 60,
    }
    expected_hours(0, 0.0, **fleet)
    step = compile_step(workload, devices)
    if step.memory > chip.hbm_bytes:
        raise DoesNotFitError(
            f"the step does not fit {workload.topology}: expected at most "
            f"{chip.hbm_bytes / 1e9:.0f} GB per chip, got {step.memory / 1e9:.2f} GB",
            step.memory,
        )
    config = workload.config
    images_a_step = workload.batch_per_device * len(devices) // workload.class_devices
    seconds = step_seconds(step.cost, chip, utilization)
    chunks = -(-workload.images // images_a_step)
    hours = chunks * seconds / 3600
    chips = len(devices) // chip.devices
    cut = workload.cut
    expected = expected_hours(chunks, seconds / 3600, **fleet)
    return {
        "workload": {
            **{
                field.name: getattr(workload, field.name)
                for field in dataclasses.fields(workload)
                if field.name != "config"
            },
            "image_size": workload.pixels,
            "class_chunk": config.class_chunk,
            "methods": list(config.methods),
            "store": list(config.store),
            "estimator": describe(config.make_estimator()),
            "storage": config.storage,
            "precision": config.precision,
        },
        "compiler_options": dict(COMPILER_OPTIONS),
        "chip": {**chip._asdict(), "chips": chips},
        "through": describe_cut(cut),
        "memory_bytes_per_chip": {
            "arguments": step.arguments,
            "outputs": step.outputs,
            "outputs_of_the_step_before": step.outputs,
            "temporary": step.temporary,
            "program": step.program,
            "total": step.memory,
        },
        "flops_per_chip_and_step": step.cost.flops,
        "bf16_flops_per_chip_and_step": step.cost.bf16_flops,
        "flops_per_image": step.cost.flops * len(devices) / images_a_step,
        "collectives_per_step": {
            kind: found._asdict() for kind, found in sorted(step.cost.collectives.items())
        },
        "time": {
            "utilization": utilization,
            "float32_passes": FLOAT32_PASSES[config.precision],
            "seconds_per_step": seconds,
            "images_per_second": images_a_step / seconds,
            "hours": hours,
            "chip_hours": hours * chips,
        },
        "fleet": {
            "workers": workers,
            "preemptions_per_worker_hour": preemptions,
            "restart_minutes": restart_minutes,
            "chunks": chunks,
            "expected_hours": expected,
            "expected_chip_hours": expected * chips * workers,
            "objects": stored_objects(workload, images_a_step),
        },
        "storage_bytes": storage_bytes(workload),
        "largest_that_fit": _suggestion(workload, chip, devices, step, compilations - 1),
    }


def _suggestion(
    workload: Workload, chip: Chip, devices: Sequence[Any], step: CompiledStep, tries: int
) -> dict[str, int] | None:
    """The largest class chunk at this batch, and the largest batch at this class chunk."""
    if tries < 1:
        return None
    own_classes = -(-workload.classes // workload.class_devices)
    given = workload.config.class_chunk
    chunk = min(given, own_classes) if isinstance(given, int) else own_classes

    def needs(**changes: Any) -> int | None:
        try:
            return compile_step(dataclasses.replace(workload, **changes), devices).memory
        except DoesNotFitError as error:
            return error.needed

    def with_chunk(value: int) -> int | None:
        return needs(config=dataclasses.replace(workload.config, class_chunk=value))

    # Chips that share an image's classes split the deletions among them: try only multiples.
    shares = workload.class_devices

    def with_batch(value: int) -> int | None:
        return needs(batch_per_device=value * shares)

    found = largest_fitting(
        with_chunk,
        chunk,
        step.memory,
        limit=own_classes,
        available=chip.hbm_bytes,
        tries=-(-tries // 2),
    )
    batch = largest_fitting(
        with_batch,
        workload.batch_per_device // shares,
        step.memory,
        limit=workload.images,
        available=chip.hbm_bytes,
        tries=tries // 2,
    )
    return {"class_chunk": found, "batch_per_device": batch * shares}
