"""Runs a study: data in, chunks over this process's devices, commits, the merged summary."""

import contextlib
import dataclasses
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jax import Array
from jax.sharding import Mesh

from signsal_jax import _checks, _image_checks, data, sharding
from signsal_jax._progress import progress
from signsal_jax.gradients import Cut, Estimator, head_weights
from signsal_jax.models import Model
from signsal_jax.study._config import StudyConfig
from signsal_jax.study._cut import study_cut
from signsal_jax.study._groups import Groups
from signsal_jax.study._images import JoinedSplits
from signsal_jax.study._leases import Leases
from signsal_jax.study._manifest import manifest
from signsal_jax.study._place import StudyError
from signsal_jax.study._reading import ChunkReader, fitted
from signsal_jax.study._step import study_step
from signsal_jax.study._table import array_specs
from signsal_jax.study._workers import Worker
from signsal_jax.study._writer import Writer


class UnfinishedError(StudyError):
    """A study that was stopped before its end; the same command goes on."""


class _Termination:
    """While open, SIGTERM asks the loop to stop instead of ending the process."""

    def __init__(self) -> None:
        self.asked = False

    def _handle(self, *_: Any) -> None:
        self.asked = True

    def __enter__(self) -> "_Termination":
        self._previous = signal.signal(signal.SIGTERM, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGTERM, self._previous)


def run_study(
    config: StudyConfig,
    model: Model,
    splits: Sequence[data.Dataset],
    out: Any,
    *,
    mesh: Mesh,
    strict: bool = False,
    estimator: Estimator | None = None,
) -> dict[str, Any]:
    """Computes what is left of a study, and merges it once every group is committed.

    Any number of processes, on any machines that see the folder, may call this with the same
    arguments, each with a mesh of its own devices, and come, stop or die at any time: each takes
    the next groups of chunks that are free, and those of a dead process become free. Each returns
    once all are committed. On SIGTERM the chunks in work are finished and kept, and their groups
    given back.

    Args:
      config: what to compute.
      model: the classifier.
      splits: the data, one split after another. Its classes are matched to the network's, see
        `data.match_classes`; images that cannot be read count as invalid and are named.
      out: the study's folder, local, gs:// or s3://.
      mesh: from `sharding.make_mesh`, of this process's devices.
      strict: whether an image that cannot be read, or whose logits or gradients are not finite, is
        an error. Otherwise it is false in the array `valid`, and no sum or mean counts it.
      estimator: a gradient method of your own; None for the one that the configuration names.

    Returns:
      The summary: counts, accuracy (None without labels), and the mean of every summed array over
      valid images.

    Raises:
      UnfinishedError: SIGTERM came and groups are left. The same call goes on from there.
      ValueError: data that does not fit the network; no images; a folder of another study; a
        damaged one; with `strict`, an invalid image, which the message names.
      OSError: no space left.
    """
    splits = fitted(model, splits, config.target)
    if isinstance(config.target, int):
        # Before the folder is claimed for this configuration.
        _checks.check_indices("target", config.target, len(model.class_names))
    images = JoinedSplits(splits, config.images)
    if not len(images):
        raise ValueError(f"data set {splits[0].name}: expected at least one image, got none")
    estimator = config.make_estimator() if estimator is None else estimator
    shape = splits[0].image_shape
    padded = -(-config.chunk // mesh.size) * mesh.size
    own_images = np.zeros((padded // mesh.shape["data"], *shape), np.float32)
    cut = study_cut(config, model.apply_fn, model.variables, own_images, estimator)
    specs = array_specs(config, shape, len(model.class_names), cut)
    store = Writer(out, manifest(config, estimator, model, splits, len(images), specs, cut))
    store.write_constants(_constants(store, config, model, own_images[:2], cut))
    # Decided once: what is stored fits it.
    config = dataclasses.replace(config, through="scores" if cut is None else "features")
    variables = sharding.replicate(mesh, model.variables)

    @jax.jit
    def step(variables: Any, images: Array, labels: Array) -> dict[str, Array]:
        return study_step(
            model.apply_fn,
            variables,
            images,
            labels,
            config=config,
            mesh=mesh,
            estimator=estimator,
        )

    for line in store.strays():
        print(line, file=sys.stderr)

    def placed(reader: ChunkReader) -> Iterator[tuple[int, tuple[Array, ...], int]]:
        for chunk, pixels, labels in reader:
            _image_checks.check_pixel_range(pixels)
            inputs = [sharding.pad(array, padded)[0] for array in (pixels, labels)]
            yield chunk, tuple(sharding.place(mesh, array) for array in inputs), len(labels)

    left = store.uncommitted()
    bar = progress(
        "study",
        store.layout.chunks,
        "chunk",
        initial=store.layout.chunks - sum(len(store.layout.chunks_of(group)) for group in left),
    )
    with (
        _Termination() as termination,
        Worker(store.folder) as worker,
        Leases(store.folder, worker, store.uncommitted, store.is_committed) as leases,
        bar,
    ):

        def stop() -> bool:
            return termination.asked

        def write(chunk: int, arrays: dict[str, np.ndarray]) -> None:
            if strict and not arrays["valid"].all():
                number = store.layout.rows(chunk).start + int(np.argmin(arrays["valid"]))
                raise ValueError(
                    f"{splits[0].name} {config.split}: expected finite logits and gradients, got "
                    f"NaN or infinity at image {number}"
                )
            if groups.finish(chunk, arrays, reader.record(chunk)):
                bar.update()

        groups = Groups(config, store, leases)
        while left and not stop():
            reader = ChunkReader(images, groups.chunks(stop), store.layout.rows, strict=strict)
            with contextlib.closing(reader):
                run_chunks(lambda *inputs: step(variables, *inputs), placed(reader), write, stop)
            leases.wait(stop)
            left = store.uncommitted()
    if left := store.uncommitted():
        total = store.layout.groups
        raise UnfinishedError(
            f"study {store.folder}: stopped at {total - len(left)} of {total} "
            "groups; the same command goes on from there"
        )
    return store.merge()


def _constants(
    store: Writer, config: StudyConfig, model: Model, images: np.ndarray, cut: Cut | None
) -> dict[str, np.ndarray]:
    """What the manifest names as constants: the derivatives of the scores by the features."""
    if cut is None or not store.manifest["constants"]:
        return {}

    def weights(variables: Any, images: Array) -> Array:
        return head_weights(model.apply_fn, variables, images, cut, precision=config.precision)

    return {"score_weights": np.asarray(jax.jit(weights)(model.variables, images), np.float32)}


def run_chunks(
    step: Callable[..., dict[str, Array]],
    chunks: Iterable[tuple[int, tuple[Any, ...], int]],
    write: Callable[[int, dict[str, np.ndarray]], None],
    stop: Callable[[], bool],
) -> None:
    """Computes chunks one after another; the next runs on the device while one is written.

    Args:
      step: `step(images, labels)`, compiled.
      chunks: of each its number, its placed (images, labels), and how many of the rows are real.
      write: stores and commits a chunk's arrays; returns once they are durable.
      stop: asked before each chunk; what was started is still committed.
    """

    def finish(chunk: int, rows: int, result: dict[str, Array]) -> None:
        write(chunk, {name: np.asarray(values)[:rows] for name, values in result.items()})

    started: tuple[int, int, dict[str, Array]] | None = None
    for chunk, inputs, rows in chunks:
        if stop():
            break
        following = (chunk, rows, step(*inputs))
        if started:
            finish(*started)
        started = following
    if started:
        finish(*started)
