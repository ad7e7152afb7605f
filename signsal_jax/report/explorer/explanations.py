"""The explorer of folders of `signsal explain`."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from signsal_jax.brightness import COMPARED, GRADIENT
from signsal_jax.data.photos import printable
from signsal_jax.report.explorer.page import EXPLORER, write_explorer
from signsal_jax.report.explorer.subject import MOST_IMAGES, Subject, load, subject

RESULTS = "results.json"
_SIGNED = (GRADIENT, COMPARED)


def is_explanation(folder: Path) -> bool:
    """Whether a folder is one of `signsal explain`."""
    try:
        results = json.loads((folder / RESULTS).read_text(encoding="utf-8"))
        return isinstance(results["images"], list)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def explain_explorer(folders: Sequence[Path], out: Path | None = None) -> tuple[Path, int, int]:
    """Writes the explorer of explained pictures, without computing anything.

    Args:
      folders: of `signsal explain`; several hold the same pictures, each by another estimator.
      out: where to write (default: into the first folder).

    Returns:
      The page, how many pictures it shows, and how many are in the first folder.

    Raises:
      ValueError: pictures whose class gradients were not kept; files of something else; folders of
        other networks, classes or pictures.
    """
    found = [json.loads((folder / RESULTS).read_text(encoding="utf-8")) for folder in folders]
    names = _estimator_names(found)
    subjects: list[Subject] = []
    shown: list[dict[str, Any]] = []
    for folder, results, name in zip(folders, found, names, strict=True):
        _check_alike(folders[0], found[0], folder, results)
        kept = [entry for entry in results["images"] if entry.get("classes") is not None]
        if not kept:
            raise ValueError(
                f"{folder}: expected pictures explained with --explorer, got none of "
                f"{len(results['images'])}"
            )
        if not subjects:
            shown = kept[:MOST_IMAGES]
            subjects = [_subject(folder, entry, name) for entry in shown]
            continue
        own = {entry["sha256"]: entry for entry in kept}
        for place, entry in enumerate(shown):
            if entry["sha256"] not in own:
                raise ValueError(f"{folder}: expected {printable(entry['image'])}, got none")
            another = _subject(folder, own[entry["sha256"]], name)
            subjects[place] = _with_view(subjects[place], another, folder)
    page = write_explorer(
        (out or folders[0]) / EXPLORER,
        subjects,
        title="Signed saliency of " + _count(len(subjects), "picture"),
        about=_about(found),
        notes=_notes(found[0], len(subjects)),
    )
    return page, len(subjects), len(found[0]["images"])


def _estimator_names(found: Sequence[dict[str, Any]]) -> list[str]:
    """A name for each: with its settings, and a number, where that tells them apart."""
    names = [results["estimator"]["name"] for results in found]
    if len(set(names)) < len(names):
        names = [_described(results["estimator"]) for results in found]
    if len(set(names)) < len(names):
        names = [f"{number}: {name}" for number, name in enumerate(names, 1)]
    return names


def _check_alike(first: Path, expected: dict[str, Any], folder: Path, got: dict[str, Any]) -> None:
    networks = [network_name(results["network"]) for results in (expected, got)]
    sums = [results["network"].get("sha256") for results in (expected, got)]
    if networks[0] != networks[1] or sums[0] != sums[1]:
        raise ValueError(
            f"{folder}: expected the network of {first}, {networks[0]}, got {networks[1]}"
        )


def _with_view(subject: Subject, other: Subject, folder: Path) -> Subject:
    """The image with the views of both."""
    for what in ("target", "classes"):
        expected, got = (np.asarray(getattr(one, what)).tolist() for one in (subject, other))
        if expected != got:
            raise ValueError(
                f"{folder}, {subject.title}: expected {what} {expected} as in the other folder, "
                f"got {got}"
            )
    return subject._replace(views={**subject.views, **other.views})


def _subject(folder: Path, entry: dict[str, Any], estimator: str) -> Subject:
    found = load(folder / entry["classes"])
    with np.load(folder / entry["maps"], allow_pickle=False) as file:
        arrays = dict(file)
    signed = {name: arrays.pop(name) for name in _SIGNED if name in arrays}
    return subject(printable(Path(entry["image"]).name), found, estimator, arrays, signed)


def _described(estimator: dict[str, Any]) -> str:
    """An estimator's name and settings."""
    settings = {key: value for key, value in estimator.items() if key != "name"}
    listed = ", ".join(f"{key} {value}" for key, value in settings.items())
    return estimator["name"] + (f" ({listed})" if listed else "")


def _about(found: Sequence[dict[str, Any]]) -> dict[str, str]:
    results = found[0]
    rivals = " ".join(map(str, results["configuration"]["rivals"]))
    estimators = "; ".join(_described(results["estimator"]) for results in found)
    return {
        "Network": network_name(results["network"]),
        "Estimator" if len(found) == 1 else "Estimators": estimators,
        "Active and inactive compare with": "all classes" if rivals == "all" else rivals,
        "Version": results["versions"].get("signsal_jax", "?"),
    }


def network_name(origin: dict[str, Any]) -> str:
    """What a network's origin calls it."""
    return str(next((origin[key] for key in ("weights", "model", "run") if origin.get(key)), "?"))


def _notes(results: dict[str, Any], shown: int) -> list[str]:
    notes = []
    if note := results["network"].get("dataset_note"):
        notes.append(f"Note on the training data: {note}")
    if shown < len(results["images"]):
        notes.append(f"The first {shown} of {len(results['images'])} pictures.")
    return notes


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
