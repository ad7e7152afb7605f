"""The training loop: data in, steps, metrics, checkpoints; resumes exactly."""

import dataclasses
import json
import math
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from tqdm import tqdm

from signsal_jax import _files, _provenance, checkpoint, data
from train import step as steps, task as tasks
from train.config import TrainConfig
from train.metrics_file import MetricsFile

SUMMARY = "summary.json"


def _described(
    config: TrainConfig, train_set: data.Dataset, origin: dict[str, Any]
) -> dict[str, Any]:
    """The configuration as it is recorded, with what only the data could tell."""
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


def _accuracy(eval_step: Any, state: steps.TrainState, batches: list[data.Batch]) -> float:
    sums = [eval_step(state, *batch) for batch in batches]
    return float(sum(s.correct for s in sums) / sum(s.images for s in sums))


def _finite(state: steps.TrainState) -> bool:
    leaves = jax.tree.leaves((state.params, state.rest))
    return bool(jnp.stack([jnp.isfinite(leaf).all() for leaf in leaves]).all())


def _saved(task: tasks.Task, state: steps.TrainState) -> dict[str, Any]:
    """What a checkpoint holds: the whole network, frozen part included, and the optimizer."""
    trained = nnx.to_pure_dict(nnx.merge_state(state.params, state.rest))
    return {"variables": task.whole(trained), "opt_state": jax.tree.leaves(state.opt_state)}


def _restored(task: tasks.Task, state: steps.TrainState, saved: dict[str, Any]) -> steps.TrainState:
    variables = nnx.merge_state(state.params, state.rest)
    nnx.replace_by_pure_dict(variables, task.part(saved["variables"]))
    params, rest = nnx.split_state(variables, nnx.Param, ...)
    treedef = jax.tree.structure(state.opt_state)
    return steps.TrainState(params, rest, jax.tree.unflatten(treedef, saved["opt_state"]))


def _finished(run: Path, steps: int) -> float | None:
    """The test accuracy of a run that has nothing left to do."""
    try:
        summary = json.loads((run / SUMMARY).read_text())
        whole = summary["steps"] == steps and (run / checkpoint.CHECKPOINTS / str(steps)).is_dir()
        return float(summary["test_accuracy"]) if whole else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def train(config: TrainConfig) -> float:
    """Trains, or resumes, the run that `config` describes; returns the final test accuracy.

    Raises:
      checkpoint.RunError: the folder holds something else, or a damaged checkpoint (those of a
        finished run are not read).
      FloatingPointError: the loss became NaN or infinite; the last checkpoint is kept.
    """
    train_set = data.load(
        config.dataset, "train", data_dir=config.data_dir, image_size=config.image_size
    )
    test_set = data.load(
        config.dataset, "test", data_dir=config.data_dir, image_size=config.image_size
    )
    last = config.epochs * len(train_set) // config.batch_size
    if last < 1:
        raise ValueError(
            f"batch_size: expected at most epochs x images = {config.epochs * len(train_set)}, got "
            f"{config.batch_size}"
        )
    network, origin = tasks.start(config, len(train_set.class_names), train_set.image_shape[2])
    checkpoint.claim(config.out, _described(config, train_set, origin))
    accuracy = _finished(config.out, last)
    if accuracy is not None:
        return accuracy
    task = tasks.make(config, network, train_set, test_set)
    optimizer = optax.adamw(config.learning_rate, weight_decay=config.weight_decay)
    graph, state = steps.init(task.network, optimizer)
    train_step = steps.make_train_step(graph, optimizer)
    eval_step = steps.make_eval_step(graph)

    every = config.checkpoint_every or math.ceil(len(train_set) / config.batch_size)
    stream = data.training_batches(task.train_set, config.batch_size, config.seed)

    with checkpoint.manager(config.out) as opened:
        found = checkpoint.restore(opened, _saved(task, state))
        start = 0
        if found is not None:
            start, state = found[0], _restored(task, state, found[1])
        metrics = MetricsFile(config.out / "metrics.csv", start)
        bar = tqdm(total=last, initial=start, desc=f"training {config.model}", unit="step", delay=2)
        sums, since = [], time.monotonic()
        for number in range(start + 1, last + 1):
            state, step_sums = train_step(state, *stream[number - 1])
            sums.append(step_sums)
            bar.update()
            is_end = number % every == 0 or number == last
            if number % config.log_every == 0 or is_end:
                total = jax.tree.map(lambda *parts: jnp.stack(parts).sum(), *sums)
                loss, accuracy = (
                    float(total.loss / total.images),
                    float(total.correct / total.images),
                )
                # The loss is that before the update, whose weights may be the first to go.
                if not (math.isfinite(loss) and (not is_end or _finite(state))):
                    raise FloatingPointError(
                        f"the loss ({loss}) or the weights are no numbers at step {number}: the "
                        f"last checkpoint in {config.out} is kept; try a smaller --learning-rate"
                    )
                row = {
                    "step": number,
                    "epoch": round(number * config.batch_size / len(train_set), 4),
                    "train_loss": loss,
                    "train_accuracy": accuracy,
                    "images_per_second": round(int(total.images) / (time.monotonic() - since), 1),
                }
                if is_end:
                    row["test_accuracy"] = _accuracy(eval_step, state, task.test_batches)
                metrics.write(**row)
                shown = {k: f"{row[k]:.3f}" for k in row if k.endswith(("loss", "accuracy"))}
                bar.set_postfix(shown)
                sums, since = [], time.monotonic()
            if is_end:
                checkpoint.save(opened, number, _saved(task, state))
        bar.close()
    accuracy = _accuracy(eval_step, state, task.test_batches)
    _files.write_json(
        config.out / SUMMARY,
        {
            "steps": last,
            "test_accuracy": accuracy,
            "test_images": len(test_set),
            "versions": _provenance.versions(),
            "device": jax.devices()[0].device_kind,
        },
    )
    return accuracy
