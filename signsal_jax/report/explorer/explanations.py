"""The explorer of a folder of `signsal explain`."""

import json
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


def explain_explorer(folder: Path, out: Path | None = None) -> tuple[Path, int, int]:
    """Writes the explorer of explained pictures, without computing anything.

    Args:
      folder: of `signsal explain`.
      out: where to write (default: into the folder).

    Returns:
      The page, how many pictures it shows, and how many are in the folder.

    Raises:
      ValueError: pictures whose class gradients were not kept; files of something else.
    """
    results = json.loads((folder / RESULTS).read_text(encoding="utf-8"))
    entries = results["images"]
    kept = [entry for entry in entries if entry.get("classes") is not None][:MOST_IMAGES]
    if not kept:
        raise ValueError(
            f"{folder}: expected pictures explained with --explorer, got none of {len(entries)}"
        )
    estimator = results["estimator"]["name"]
    subjects = [_subject(folder, entry, estimator) for entry in kept]
    page = write_explorer(
        (out or folder) / EXPLORER,
        subjects,
        title="Signed saliency of " + _count(len(subjects), "picture"),
        about=_about(results),
        notes=_notes(results, len(subjects)),
    )
    return page, len(subjects), len(entries)


def _subject(folder: Path, entry: dict[str, Any], estimator: str) -> Subject:
    found = load(folder / entry["classes"])
    with np.load(folder / entry["maps"], allow_pickle=False) as file:
        arrays = dict(file)
    signed = {name: arrays.pop(name) for name in _SIGNED if name in arrays}
    return subject(printable(Path(entry["image"]).name), found, estimator, arrays, signed)


def _about(results: dict[str, Any]) -> dict[str, str]:
    settings = {key: value for key, value in results["estimator"].items() if key != "name"}
    listed = ", ".join(f"{key} {value}" for key, value in settings.items())
    estimator = results["estimator"]["name"] + (f" ({listed})" if listed else "")
    rivals = " ".join(map(str, results["configuration"]["rivals"]))
    return {
        "Network": network_name(results["network"]),
        "Estimator": estimator,
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
