"""`signsal plan`: what a study takes on a TPU pod, found out without one."""

import dataclasses
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import jax

from signsal_jax import _files, _provenance
from signsal_jax._extras import extra
from signsal_jax.gradients import THROUGH, EstimatorConfig
from signsal_jax.models import MODELS
from signsal_jax.plan import Workload, make_plan
from signsal_jax.study import STORABLE, STORAGES, StudyConfig

_DEFAULTS = StudyConfig("")


@dataclasses.dataclass(frozen=True)
class Plan(EstimatorConfig):
    """Compile a study's step for a TPU pod: memory, FLOPs, time and storage (extra `plan`).

    Takes minutes of compiling; no TPU is needed, and no weights or data.
    """

    topology: str
    """Chip and shape, such as v5e:16x16; chips: v4, v5e, v5p, v6e, tpu7x (Ironwood)."""
    model: Literal[MODELS]  # pyright: ignore[reportInvalidTypeForm]
    """The network."""
    classes: int = 1000
    """Its classes."""
    images: float = 1.28e6
    """Of the whole study."""
    batch_per_device: int = 8
    """Images on each chip at a time."""
    class_chunk: int = 50
    """Classes pulled back at a time on each chip."""
    class_devices: int = 1
    """How many chips share the classes of an image."""
    image_size: int | None = None
    """Height and width (default: what the network was designed for)."""
    store: tuple[Literal[STORABLE], ...] = _DEFAULTS.store  # pyright: ignore[reportInvalidTypeForm]
    """What to store, see signsal study."""
    storage: Literal[STORAGES] = _DEFAULTS.storage  # pyright: ignore[reportInvalidTypeForm]
    """The type that maps are stored in."""
    precision: Literal["highest", "high", "default"] = "highest"
    """Of float32 products: 6, 3 or 1 passes of the chip's bfloat16 units."""
    through: Literal[THROUGH] = "auto"  # pyright: ignore[reportInvalidTypeForm]
    """A pullback per class (scores), per feature (features), or what costs less (auto)."""
    workers: int = 1
    """How many share the study, each on chips of that topology of its own."""
    preemptions: float = 0.0
    """Of each worker, per hour."""
    restart_minutes: float = 10.0
    """Until another takes a preempted worker's place; an assumption."""
    utilization: float = 0.4
    """The share of the chip's peak assumed for the time; an assumption, not a measurement."""
    compilations: int = 1
    """At most so many; from the second on, in search of the largest class chunk and batch."""
    out: Path | None = None
    """A JSON file for the plan."""

    def run_command(self) -> int:
        if self.images != int(self.images):
            raise ValueError(f"--images: expected a whole number, got {self.images}")
        if self.compilations < 1:
            raise ValueError(f"--compilations: expected at least 1, got {self.compilations}")
        if self.out is not None:
            _files.check_writable(self.out.parent)
        workload = Workload(
            topology=self.topology,
            model=self.model,
            config=StudyConfig(
                "",
                store=self.store,
                **self.estimator_fields(),
                storage=self.storage,
                precision=self.precision,
                class_chunk=self.class_chunk,
                through=self.through,
            ),
            classes=self.classes,
            images=int(self.images),
            batch_per_device=self.batch_per_device,
            class_devices=self.class_devices,
            image_size=self.image_size,
        )
        extra("libtpu", "plan")
        # What is compiled for a chip that is not here cannot be read back, and JAX would warn.
        jax.config.update("jax_enable_compilation_cache", False)
        plan = make_plan(
            workload,
            utilization=self.utilization,
            compilations=self.compilations,
            workers=self.workers,
            preemptions=self.preemptions,
            restart_minutes=self.restart_minutes,
        )
        print("\n".join(plan_lines(plan)))
        if self.out is not None:
            plan["versions"] = _provenance.versions() | {"libtpu": metadata.version("libtpu")}
            _files.write_json(self.out, plan)
        return 0


def plan_lines(plan: dict[str, Any]) -> list[str]:
    """The plan as a table for a terminal."""
    work, chip, time = plan["workload"], plan["chip"], plan["time"]
    memory, storage = plan["memory_bytes_per_chip"], plan["storage_bytes"]
    through, fleet = plan["through"], plan["fleet"]
    ways = f"the features, {through['width']} of them" if "width" in through else "the scores"
    rows = [
        ("network", f"{work['model']}, {work['classes']} classes, {work['image_size']} pixels"),
        ("chips", f"{chip['chips']} of {work['topology']} ({chip['source']})"),
        ("memory per chip", f"{memory['total'] / 1e9:.2f} of {chip['hbm_bytes'] / 1e9:.0f} GB"),
        ("class gradients", f"through {ways}"),
        ("FLOPs per image", f"{plan['flops_per_image']:.4g}"),
        ("FLOPs per chip and step", f"{plan['flops_per_chip_and_step']:.4g}"),
    ]
    for kind, found in plan["collectives_per_step"].items():
        sizes = f"{found['bytes']} bytes, the largest {found['largest_bytes']}"
        rows.append((kind, f"{found['runs']} per step, {sizes}"))
    if not plan["collectives_per_step"]:
        rows.append(("collectives", "none"))
    rows += [
        (
            "peak",
            f"{chip['bf16_flops'] / 1e12:.0f} TFLOP/s bfloat16, {time['float32_passes']} passes "
            f"for float32 at precision {work['precision']}",
        ),
        ("utilization", f"{time['utilization']:.0%}, assumed"),
        ("images per second", f"{time['images_per_second']:.1f}"),
        (
            f"{work['images']} images",
            f"{time['hours']:.2f} hours, {time['chip_hours']:.0f} chip-hours",
        ),
        ("storage, maps", f"{storage['maps'] / 1e9:.1f} GB before compression"),
        ("storage, all else", f"{storage['statistics'] / 1e9:.1f} GB before compression"),
        ("stored objects", f"{fleet['objects']} of {fleet['chunks']} chunks"),
        (
            f"{fleet['workers']} workers" if fleet["workers"] > 1 else "1 worker",
            f"{fleet['expected_hours']:.2f} hours, {fleet['expected_chip_hours']:.0f} chip-hours, "
            f"at {fleet['preemptions_per_worker_hour']:g} preemptions of each per hour",
        ),
    ]
    if largest := plan["largest_that_fit"]:
        rows += [
            ("largest class chunk", f"{largest['class_chunk']} at this batch"),
            ("largest batch per chip", f"{largest['batch_per_device']} at this class chunk"),
        ]
    width = max(len(name) for name, _ in rows)
    return [f"{name:<{width}}  {value}" for name, value in rows]
