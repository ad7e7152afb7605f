"""Run folders: a training run's configuration and its orbax checkpoints."""

import contextlib
import json
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from flax import nnx

from signsal_jax import _files, _run_config
from signsal_jax._digests import digests
from signsal_jax.models import Model, create, from_nnx
from signsal_jax.models.normalize import Normalize
from signsal_jax.models.resnet import WithHead

CONFIG = "config.json"
CHECKPOINTS = "checkpoints"
# With this field in the configuration, every checkpoint of the run has digests of its arrays; runs
# of version 0.1 lack it.
_FORMAT_FIELD = "checkpoint_format"
_FORMAT = 1
_DIGESTS = "sha256"
_LARGEST_CONFIG = 2**26
# Paths may change when a run is resumed; fields that determine the result may not.
_FREE_FIELDS = ("out", "data_dir", "weights", _FORMAT_FIELD)


class RunError(ValueError):
    """A run folder that cannot be used as asked; the message says why and what to do."""


def read_config(run: Path) -> dict[str, Any]:
    """Reads the configuration of a run folder.

    Raises:
      RunError: no such folder, no configuration in it, or a damaged one.
    """
    path = Path(run) / CONFIG
    if not path.is_file():
        raise RunError(
            f"run {run}: expected a folder made by  python -m train --out {run}, found no {path}"
        )
    try:
        if path.stat().st_size > _LARGEST_CONFIG:
            raise ValueError(f"expected at most {_LARGEST_CONFIG} bytes")
        config = json.loads(path.read_text())
        fields = (config["model"], config["class_names"], config["image_shape"])
        _run_config.check_network(*fields, config.get("preprocessing"))
        return {**config, "class_names": tuple(config["class_names"])}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise RunError(f"run {run}: {path} is damaged ({error!r}): restore or delete it") from error


def _computed(config: dict[str, Any]) -> dict[str, Any]:
    """The fields that determine the result. Weights count by checksum, not by file name."""
    fields = {key: value for key, value in config.items() if key not in _FREE_FIELDS}
    origin = config.get("weights_origin") or {}
    fields["weights_origin"] = {key: value for key, value in origin.items() if key != "weights"}
    return fields


def claim(run: Path, config: dict[str, Any]) -> None:
    """Makes `run` the folder of this configuration, or checks that it already is.

    Raises:
      RunError: the folder holds something else, or a run with another configuration (the
        message names the fields that differ).
    """
    run = Path(run)
    if run.exists() and not run.is_dir():
        raise RunError(f"out: expected a folder, got the file {run}")
    if not (run / CONFIG).exists():
        names = os.listdir(run) if run.exists() else []
        if CONFIG not in names and any(not name.startswith(_files.INCOMPLETE) for name in names):
            raise RunError(f"out: expected a new or empty folder or a run, {run} holds other files")
        text = _files.json_text({_FORMAT_FIELD: _FORMAT, **config})
        _files.create_text(run / CONFIG, text)
    # Read the file back whoever wrote it: if two runs start at once, only one gets the folder.
    now = json.loads(json.dumps(config))
    now["class_names"] = tuple(now["class_names"])
    earlier, now = _computed(read_config(run)), _computed(now)
    differing = [
        f"{key}: {earlier.get(key)!r} there, {now.get(key)!r} now"
        for key in sorted(earlier.keys() | now.keys())
        if earlier.get(key) != now.get(key)
    ]
    if differing:
        raise RunError(
            f"out: {run} holds a run with another configuration ({'; '.join(differing)}): choose "
            "another --out, or delete that folder"
        )


@contextlib.contextmanager
def manager(run: Path, *, read_only: bool = False) -> Iterator[ocp.CheckpointManager]:
    """Opens the orbax manager of a run's checkpoints, which keeps the two newest.

    Of several processes, only process 0 may open a run for writing.
    """
    logging.getLogger("absl").setLevel(logging.ERROR)
    folder = (Path(run) / CHECKPOINTS).absolute()
    if read_only:
        options = ocp.CheckpointManagerOptions(create=False, read_only=True)
    else:
        folder.mkdir(parents=True, exist_ok=True)
        # By default orbax waits for the other processes. With active_processes it does not, but
        # then it does not create the folder either.
        alone = ocp.options.MultiprocessingOptions(primary_host=0, active_processes={0})
        options = ocp.CheckpointManagerOptions(
            max_to_keep=2, create=False, multiprocessing_options=alone
        )
    with ocp.CheckpointManager(folder, options=options) as opened:
        yield opened
        opened.wait_until_finished()


def save(opened: ocp.CheckpointManager, step: int, state: Any) -> None:
    """Saves a pytree of arrays as the checkpoint of `step`, which appears once it is complete.

    The digests are part of it: orbax writes them before it gives the checkpoint its final name.
    """
    metadata = {_DIGESTS: digests(state)}
    opened.save(step, args=ocp.args.PyTreeSave(state), custom_metadata=metadata)


@contextlib.contextmanager
def _no_reports_of_pending_reads() -> Iterator[None]:
    """Suppresses tracebacks that would bury the message of a failed restore.

    The other reads of a failed restore report to orbax's event loop, which is closed by then, and
    each prints a traceback. That may happen late, so only success puts the old hook back.
    """
    report = sys.unraisablehook

    def hook(unraisable: Any) -> None:
        if "Event loop is closed" not in str(unraisable.exc_value):
            report(unraisable)

    sys.unraisablehook = hook
    yield
    sys.unraisablehook = report


def restore(opened: ocp.CheckpointManager, like: Any) -> tuple[int, Any] | None:
    """Returns the newest checkpoint as (step, state shaped like `like`), or None if there is none.

    `like` may be a part of the saved state: the rest is not read.

    Raises:
      RunError: the checkpoint is truncated, damaged (any bit of its arrays), or of another shape.
    """
    step = opened.latest_step()
    if step is None:
        return None
    abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
    restore_args = ocp.checkpoint_utils.construct_restore_args(abstract)
    folder = Path(opened.directory) / str(step)
    request = ocp.args.PyTreeRestore(abstract, restore_args, partial_restore=True)
    try:
        with _no_reports_of_pending_reads():
            state = opened.restore(step, args=request)
    except Exception as error:  # orbax and tensorstore raise many kinds for damaged files
        reason = " ".join(str(error).split())[:300]
        raise RunError(
            f"checkpoint {folder}: expected a whole checkpoint of this network, got "
            f"{type(error).__name__}: {reason}. Delete that folder to fall back on the previous one"
        ) from error
    # Orbax silently returns arrays of other shapes and leaves out missing ones.
    wrong = [
        f"{jax.tree_util.keystr(path, simple=True, separator='.')}: expected {wanted.shape}, got "
        f"{found.shape if isinstance(found, jax.Array | np.ndarray) else 'none'}"
        for (path, wanted), found in zip(
            jax.tree_util.tree_leaves_with_path(abstract), jax.tree.leaves(state), strict=True
        )
        if not isinstance(found, jax.Array | np.ndarray) or found.shape != wanted.shape
    ]
    if wrong:
        raise RunError(
            f"checkpoint {folder}: expected the network of {CONFIG}, got another "
            f"({'; '.join(wrong[:3])}): restore the {CONFIG} it was trained with, or train again"
        )
    _check_digests(opened, step, state)
    return step, state


def _check_digests(opened: ocp.CheckpointManager, step: int, state: Any) -> None:
    """Raises RunError unless the arrays equal the saved ones bit for bit."""
    folder = Path(opened.directory) / str(step)
    way_back = "Delete that folder to fall back on the previous one"
    saved = opened.metadata(step).custom_metadata
    recorded = saved.get(_DIGESTS) if isinstance(saved, dict) else None
    if not isinstance(recorded, dict):
        if _FORMAT_FIELD not in read_config(folder.parents[1]):
            return
        raise RunError(f"checkpoint {folder}: expected digests of its arrays, got none. {way_back}")
    changed = [path for path, digest in digests(state).items() if recorded.get(path) != digest]
    if changed:
        raise RunError(
            f"checkpoint {folder}: expected the arrays that were saved, got others (in "
            f"{', '.join(changed[:3])}): the files are damaged. {way_back}"
        )


def load_run(run: Path) -> Model:
    """Loads the trained network of a run folder; its origin is the run's configuration.

    Raises:
      RunError: no run there, no checkpoint yet, or a damaged one, or NaN weights.
    """
    config = read_config(run)
    shape = tuple(config["image_shape"])
    normalization = config.get("preprocessing")
    network = nnx.eval_shape(
        lambda: create(config["model"], len(config["class_names"]), in_features=shape[2])
    )
    if normalization:
        assert isinstance(network, WithHead)  # only networks with weights under a head have one
        network.backbone = Normalize(network.backbone, **normalization)
    graph, state = nnx.split(network)
    train_it = f"found none: train it first with  python -m train --out {run}"
    if not (Path(run) / CHECKPOINTS).is_dir():
        raise RunError(f"run {run}: expected a checkpoint in {CHECKPOINTS}/, {train_it}")
    with manager(run, read_only=True) as opened:
        found = restore(opened, {"variables": nnx.to_pure_dict(state)})
    if found is None:
        raise RunError(f"run {run}: expected a checkpoint in {CHECKPOINTS}/, {train_it}")
    step, restored = found[0], found[1]["variables"]
    bad = [
        jax.tree_util.keystr(path, simple=True, separator=".")
        for path, leaf in jax.tree_util.tree_leaves_with_path(restored)
        if not np.isfinite(leaf).all()
    ]
    if bad:
        raise RunError(
            f"run {run}: expected finite weights, got NaN or infinity in {bad[:3]}: train it again "
            "with a smaller --learning-rate"
        )
    nnx.replace_by_pure_dict(state, jax.tree.map(jnp.asarray, restored))
    apply_fn, variables = from_nnx(nnx.merge(graph, state))
    origin = {**config, "step": step, "preprocessing": normalization}
    return Model(apply_fn, variables, config["class_names"], shape, origin)
