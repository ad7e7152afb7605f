"""The benchmark: one row per task, network and seed, each in a file of its own, and their tables.

A run that was killed goes on with the rows that are missing.
"""

import dataclasses
import functools
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from signsal_jax import _files, _provenance
from signsal_jax._progress import progress
from signsal_jax._types import ApplyFn
from signsal_jax.truth.explain import MAPS, About, compute_maps, known, score_map
from signsal_jax.truth.follow import draw, follow
from signsal_jax.truth.render import CHANNELS, SIZE
from signsal_jax.truth.tasks import TASKS, Task
from signsal_jax.truth.training import NETWORKS, train_network
from signsal_jax.truth.truth import ENOUGH

ROWS = "rows"
_RESAMPLES = 1000
_CLASSIFIED = 1000
"""Test images on which the accuracy is measured."""


@dataclasses.dataclass(frozen=True)
class TruthConfig:
    """What is trained and scored."""

    tasks: tuple[str, ...] = tuple(TASKS)
    networks: tuple[str, ...] = NETWORKS
    seeds: int = 5
    twins: tuple[str, ...] = ("cnn", "vit")
    """The networks that have an adversarially trained twin."""
    steps: int = 3000
    """Batches that a network is trained on, at most: training ends where it follows the design."""
    images: int = 500
    """Test images whose maps are scored, and on which the agreement is measured."""

    def rows(self) -> list[dict[str, Any]]:
        """What identifies each row: task, network, seed, adversarial, steps and images."""
        return [
            {
                "task": task,
                "network": network,
                "seed": seed,
                "adversarial": adversarial,
                "steps": self.steps,
                "images": self.images,
            }
            for seed in range(self.seeds)
            for network in self.networks
            for adversarial in ((False, True) if network in self.twins else (False,))
            for task in self.tasks
        ]


def run(config: TruthConfig, out: Path) -> list[dict[str, Any]]:
    """Computes the rows that `out` does not hold yet, and returns all.

    Args:
      config: what is trained and scored.
      out: the folder; each row is written to `out/rows` as soon as it is complete.

    Returns:
      The rows, see `compute_row`.
    """
    wanted, rows = config.rows(), []
    with progress("known truth", len(wanted), "network") as bar:
        for identity in wanted:
            path = out / ROWS / f"{row_name(identity)}.json"
            row = _existing(path, identity)
            if row is None:
                row = compute_row(identity)
                _files.write_json(path, row)
            rows.append(row)
            bar.update()
    return rows


def row_name(identity: dict[str, Any]) -> str:
    """The name of a row's file, without its ending."""
    twin = "-adversarial" if identity["adversarial"] else ""
    return f"{identity['task']}-{identity['network']}{twin}-{identity['seed']}"


def _existing(path: Path, identity: dict[str, Any]) -> dict[str, Any] | None:
    """The row of an earlier run, if it was made with the same settings."""
    if not path.exists():
        return None
    row = json.loads(path.read_text(encoding="utf-8"))
    return row if identity.items() <= row.items() else None


def compute_row(identity: dict[str, Any]) -> dict[str, Any]:
    """Trains a network and scores its maps.

    Returns:
      The identity; the steps "trained"; "accuracy", "agreement", "leak" and whether the row
      "counts"; the seconds of "training", of all, and of all cores together; by map of `MAPS` and
      score the mean with its bootstrap interval (`None` where nothing could be asked).
    """
    start, cpu = time.perf_counter(), time.process_time()
    task, images = TASKS[identity["task"]], identity["images"]
    network = train_network(
        task,
        identity["network"],
        seed=identity["seed"],
        steps=identity["steps"],
        adversarial=identity["adversarial"],
    )
    trained = time.perf_counter()
    counted = max(images, _CLASSIFIED)
    found = follow(
        network.logits_fn, network.variables, task, "test", images=counted, marked=images
    )
    key = jax.random.key(identity["seed"])
    samples = found.samples
    maps = _maps_fn(network.apply_fn)(network.variables, found.images, samples.label, key)
    truth = known(task, samples)
    scores = {
        name: summarize(score_map(about, maps[name], *truth), np.asarray(found.right))
        for name, about in MAPS.items()
    }
    accuracy = found.accuracy
    share, leak = float(found.agreement.share), float(found.agreement.leak)
    return {
        **identity,
        "trained": network.steps,
        "accuracy": accuracy,
        "agreement": _or_none(share),
        "leak": _or_none(leak),
        "counts": bool(accuracy >= ENOUGH and share >= ENOUGH),
        "seconds": {
            "training": round(trained - start, 1),
            "all": round(time.perf_counter() - start, 1),
            "all, of all cores": round(time.process_time() - cpu, 1),
        },
        "maps": scores,
        "device": _provenance.device(),
        "versions": _provenance.versions(),
    }


@functools.cache
def _maps_fn(apply_fn: ApplyFn) -> Callable[..., Any]:
    """The maps of a network, compiled once for all tasks."""
    return jax.jit(functools.partial(compute_maps, apply_fn))


def summarize(scores: Any, right: np.ndarray) -> dict[str, Any]:
    """The mean of each score over images that are classified right, with a bootstrap interval.

    Args:
      scores: by name `[b]` or per mark `[b, m]`, NaN where there is nothing to ask.
      right: `[b]`.

    Returns:
      By name `{"mean", "low", "high", "images"}`, or None if no image has anything to ask. Images
      are resampled, with all their marks.
    """
    rng, found = np.random.default_rng(0), {}
    for name, values in scores.items():
        values = np.asarray(values, np.float64).reshape(len(right), -1)[right]
        values = values[np.isfinite(values).any(1)]
        if not len(values):
            found[name] = None
            continue
        sums, counts = np.nansum(values, 1), np.isfinite(values).sum(1)
        drawn = rng.integers(0, len(values), (_RESAMPLES, len(values)))
        means = sums[drawn].sum(1) / counts[drawn].sum(1)
        low, high = np.quantile(means, [0.025, 0.975])
        found[name] = {
            "mean": float(sums.sum() / counts.sum()),
            "low": float(low),
            "high": float(high),
            "images": len(values),
        }
    return found


def score_own(task: Task, values: np.ndarray) -> dict[str, Any]:
    """Scores maps from elsewhere, of the first images of a task's test split, by design.

    Args:
      task: one of `TASKS`.
      values: `[n, h, w]` or `[n, h, w, c]`, of the labels of the images; with signs, positive where
        brighter helps, if any value is negative.

    Returns:
      As `summarize`.

    Raises:
      ValueError: values of another shape, or not finite.
    """
    shape = values.shape
    if (
        values.ndim not in (3, 4)
        or shape[1:3] != (SIZE, SIZE)
        or shape[3:] not in ((), (CHANNELS,))
    ):
        raise ValueError(
            f"maps: expected [n, {SIZE}, {SIZE}] or [n, {SIZE}, {SIZE}, {CHANNELS}], got {shape}"
        )
    if not np.issubdtype(values.dtype, np.floating) or not np.isfinite(values).all():
        raise ValueError(f"maps: expected finite floating-point numbers, got {values.dtype}")
    whole = values if values.ndim == 4 else np.repeat(values[..., None], CHANNELS, 3)
    samples, _ = draw(task, "test", len(values))
    about = About(signed=bool((values < 0).any()))
    scores = score_map(about, (jnp.asarray(whole, jnp.float32), None), *known(task, samples))
    return summarize(scores, np.ones(len(values), bool))


def _or_none(value: float) -> float | None:
    return value if np.isfinite(value) else None
