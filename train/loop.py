"""The training loop: data in, steps, metrics, checkpoints; resumes exactly."""

import contextlib
import dataclasses
import json
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import optax

from signsal_jax import _files, _provenance, checkpoint, data, sharding
from signsal_jax._progress import progress
from train import saved, step as steps, task as tasks, together
from train.config import TrainConfig
from train.metrics_file import MetricsFile

SUMMARY = "summary.json"
_AHEAD = 2  # steps that may wait for the device; each holds its batch in memory


def _described(
    config: TrainConfig, train_set: data.Dataset, origin: dict[str, Any]
) -> dict[str, Any]:
    """The configuration to record, with the values that only the data determine."""
    values = dataclasses.asdict(config)
    return {
        **values,
        "out": str(config.out),
        "data_dir": None if config.data_dir is None else str(config.data_dir),
        "image_size": list(config.image_size) if config.image_size else None,
        "weights_origin": origin,
        "preprocessing": origin.get("preprocessing"),
        "dataset_version": train_set.name,
        "dataset_note": train_set.note,
        "train_images": len(train_set),
        "class_names": list(train_set.class_names),
        "image_shape": list(train_set.image_shape),
    }


def _check_batch_size(config: TrainConfig, images: int, devices: int) -> None:
    if config.batch_size > config.epochs * images:
        raise ValueError(
            f"batch_size: expected at most epochs x images = {config.epochs * images}, got "
            f"{config.batch_size}"
        )
    # A padded batch would do for the loss, but not for batch statistics.
    if config.batch_size % devices:
        raise ValueError(
            f"batch_size: expected a multiple of the {devices} devices that share a batch, got "
            f"{config.batch_size}: choose another, or hide some devices "
            "(such as CUDA_VISIBLE_DEVICES=0)"
        )


def _accuracy(eval_step: Any, state: steps.TrainState, batches: list[Any]) -> float:
    sums = [eval_step(state, *batch) for batch in batches]
    return float(sum(s.correct for s in sums) / sum(s.images for s in sums))


def _finite(state: steps.TrainState) -> bool:
    leaves = jax.tree.leaves((state.params, state.rest))
    return bool(jnp.stack([jnp.isfinite(leaf).all() for leaf in leaves]).all())


def _finished(run: Path, steps: int) -> float:
    """The test accuracy of a finished run, otherwise NaN."""
    try:
        summary = json.loads((run / SUMMARY).read_text())
        whole = summary["steps"] == steps and (run / checkpoint.CHECKPOINTS / str(steps)).is_dir()
        return float(summary["test_accuracy"]) if whole else math.nan
    except (OSError, ValueError, KeyError, TypeError):
        return math.nan


def _claimed(config: TrainConfig, described: dict[str, Any], last: int) -> float:
    """Claims the run folder; returns the test accuracy if the run is finished, otherwise NaN."""
    checkpoint.claim(config.out, described)
    return _finished(config.out, last)


def train(config: TrainConfig, *, devices: Sequence[Any] | None = None) -> float:
    """Trains, or resumes, the run that `config` describes; returns the final test accuracy.

    Every batch is split over the devices. Gradients and batch statistics are computed over the
    whole batch, so the number of devices changes the weights only by rounding. With several
    processes (`jax.distributed.initialize()`), each calls this with the same configuration and
    reads its own rows of every batch; only process 0 touches the run folder.

    Args:
      config: the run; its batch size must be a multiple of the number of devices.
      devices: the devices to use; None for all devices of all processes.

    Raises:
      checkpoint.RunError: the folder holds something else, or a damaged checkpoint (those of a
        finished run are not read).
      FloatingPointError: the loss became NaN or infinite; the last checkpoint is kept.
      ValueError: a batch larger than the whole training, or not a multiple of the devices.
    """
    train_set, test_set = (
        data.load(config.dataset, split, data_dir=config.data_dir, image_size=config.image_size)
        for split in ("train", "test")
    )
    mesh = sharding.make_mesh(jax.devices() if devices is None else devices)
    _check_batch_size(config, len(train_set), mesh.size)
    last = config.epochs * len(train_set) // config.batch_size
    network, origin = tasks.start(config, len(train_set.class_names), train_set.image_shape[2])
    described = _described(config, train_set, origin)
    accuracy = together.on_first(lambda: _claimed(config, described, last), math.nan)
    if math.isnan(accuracy):
        task = tasks.make(config, network, train_set, test_set, mesh)
        accuracy = _train(config, task, last, mesh)
        summary = {
            "steps": last,
            "test_accuracy": accuracy,
            "test_images": len(test_set),
            "versions": _provenance.versions(),
            "device": jax.devices()[0].device_kind,
        }
        if together.is_first():
            _files.write_json(config.out / SUMMARY, summary)
    return float(accuracy)


def _train(config: TrainConfig, task: tasks.Task, last: int, mesh: jax.sharding.Mesh) -> float:
    """Runs the steps up to `last` that the run folder does not have yet."""
    optimizer = optax.adamw(config.learning_rate, weight_decay=config.weight_decay)
    graph, state = steps.init(task.network, optimizer)
    train_step = steps.make_train_step(graph, optimizer, mesh)
    eval_step = steps.make_eval_step(graph, mesh)
    images = len(task.train_set)
    every = config.checkpoint_every or math.ceil(images / config.batch_size)
    stream = data.training_batches(
        task.train_set,
        config.batch_size // jax.process_count(),
        config.seed,
        part=(jax.process_index(), jax.process_count()),
    )
    untrained = 0, saved.from_state(task, state)
    with contextlib.ExitStack() as stack:
        opened, metrics = None, None
        if together.is_first():
            opened = stack.enter_context(checkpoint.manager(config.out))

        def newest() -> tuple[int, Any]:
            return (opened and checkpoint.restore(opened, untrained[1])) or untrained

        start, variables = together.on_first(newest, untrained)
        start, state = int(start), saved.to_state(task, state, variables, mesh)
        if together.is_first():
            metrics = MetricsFile(config.out / "metrics.csv", start)
        bar = stack.enter_context(
            progress(
                f"training {config.model}",
                last,
                "step",
                initial=start,
                hidden=not together.is_first(),
            )
        )
        sums, since = [], time.monotonic()
        for number in range(start + 1, last + 1):
            batch = [sharding.place(mesh, part) for part in stream[number - 1]]
            state, step_sums = train_step(state, *batch)
            sums.append(step_sums)
            if len(sums) > _AHEAD:
                jax.block_until_ready(sums[-1 - _AHEAD])
            bar.update()
            is_end = number % every == 0 or number == last
            if number % config.log_every == 0 or is_end:
                total = jax.tree.map(lambda *parts: jnp.stack(parts).sum(), *sums)
                loss, accuracy = (
                    float(total.loss / total.images),
                    float(total.correct / total.images),
                )
                # The loss is from before the update, which may already have broken the weights.
                if not (math.isfinite(loss) and (not is_end or _finite(state))):
                    raise FloatingPointError(
                        f"the loss ({loss}) or the weights are not finite at step {number}: the "
                        f"last checkpoint in {config.out} is kept; try a smaller --learning-rate"
                    )
                row = {
                    "step": number,
                    "epoch": round(number * config.batch_size / images, 4),
                    "train_loss": loss,
                    "train_accuracy": accuracy,
                    "images_per_second": round(int(total.images) / (time.monotonic() - since), 1),
                }
                if is_end:
                    row["test_accuracy"] = _accuracy(eval_step, state, task.test_batches)
                if metrics is not None:
                    metrics.write(**row)
                shown = {k: f"{row[k]:.3f}" for k in row if k.endswith(("loss", "accuracy"))}
                bar.set_postfix(shown)
                sums, since = [], time.monotonic()
            if is_end and opened is not None:
                checkpoint.save(opened, number, saved.from_state(task, state))
    return _accuracy(eval_step, state, task.test_batches)
