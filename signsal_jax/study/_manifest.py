"""What a study's folder says of its making, and how far the study is."""

import dataclasses
import hashlib
import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from signsal_jax import _provenance, data
from signsal_jax.evaluations.entry import ArraySpec
from signsal_jax.gradients import Cut, Estimator, describe, describe_cut
from signsal_jax.models import Model
from signsal_jax.study._code import code_sha256
from signsal_jax.study._config import StudyConfig
from signsal_jax.study._leases import holders, leases
from signsal_jax.study._store import Store
from signsal_jax.study._table import constant_specs, dimension_labels, resolve_group
from signsal_jax.study._workers import FAILED, GONE_SECONDS, signs

# The rate is that of the newest commits: a study may have stood still for a night.
_RECENT = 50


def _weights_sha256(variables: Any) -> str:
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(variables):
        values = np.asarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)} {values.dtype} {values.shape}".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()


def manifest(
    config: StudyConfig,
    estimator: Estimator,
    model: Model,
    splits: Sequence[data.Dataset],
    images: int,
    specs: Mapping[str, ArraySpec],
    cut: Cut | None = None,
) -> dict[str, Any]:
    """Everything that the numbers depend on; a resume compares all of it."""
    first = splits[0]
    return {
        "config": dataclasses.asdict(config),
        "estimator": describe(estimator),
        "images": images,
        "group": resolve_group(config, images, specs),
        "data": {
            "name": first.name,
            "splits": {split.split: len(split) for split in splits},
            "image_shape": list(first.image_shape),
            "labelled": first.labelled,
            "note": first.note,
            # The contents: another set under the same name is other data.
            "fingerprints": {split.split: split.fingerprint for split in splits},
        },
        "network": dict(model.origin),
        "weights_sha256": _weights_sha256(model.variables),
        "code_sha256": code_sha256(),
        "versions": _provenance.versions(),
        "device": _provenance.device(),
        "arrays": {name: spec._asdict() for name, spec in specs.items()},
        "names": dimension_labels(config, model.class_names),
        "through": describe_cut(cut),
        "constants": {name: spec._asdict() for name, spec in constant_specs(specs, cut).items()},
    }


def status_lines(store: Store) -> list[str]:
    """How far a study is, its pace, and when it will be done."""
    commits = store.commits()
    images = sum(commit["stop"] - commit["start"] for commit in commits)
    done = sum(len(store.layout.chunks_of(group)) for group in store.committed())
    lines = [
        f"{done} of {store.layout.chunks} chunks, {images} of {store.images} images "
        f"({images / store.images:.1%})"
    ]
    recent = sorted(commits, key=lambda commit: commit["finished"])[-_RECENT:]
    if len(recent) > 1 and recent[-1]["finished"] > recent[0]["finished"]:
        counted = sum(commit["stop"] - commit["start"] for commit in recent[1:])
        rate = counted / (recent[-1]["finished"] - recent[0]["finished"])
        left = (store.images - images) / rate
        lines.append(f"{rate:.1f} images a second, {left / 60:.0f} minutes left at that pace")
    return lines + _worker_lines(store) + store.strays()


def _worker_lines(store: Store) -> list[str]:
    """Who works on what."""
    left = set(store.uncommitted())
    held = holders(
        store.folder, [lease for group, lease in leases(store.folder).items() if group in left]
    )
    lines = []
    for sign in signs(store.folder):
        groups = ", ".join(str(group) for group, worker in held.items() if worker == sign.worker)
        silent = time.time() - sign.time
        if sign.state == FAILED:
            doing = f"failed with {sign.words}"
        elif silent > GONE_SECONDS:
            doing = f"no sign for {silent / 60:.0f} minutes, if the clocks agree"
        else:
            doing = "at work"
        lines.append(f"worker {sign.place}: {doing}{groups and f', on groups {groups}'}")
    return lines
