"""Whose a study's folder is: the manifest, which one of many studies gets to write.

The manifest says everything that the numbers depend on, and comes first: it is created for one of
many studies that start at once in a folder, is read back, and every commit names it. So data of
two configurations are never taken for one study.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from signsal_jax import _files
from signsal_jax.study._arrays import FILL
from signsal_jax.study._commits import COMMITS, digest
from signsal_jax.study._folder import Folder, StudyError

MANIFEST = "manifest.json"
FORMAT = 2
"""Of study folders. Format 1 had no checksums in its commits; it is read, but not continued."""
# Two data sets may differ in a thousand files.
_MOST_DIFFERENCES = 5


def _differences(there: Any, now: Any, name: str = "") -> list[str]:
    if isinstance(there, dict) and isinstance(now, dict):
        return [
            line
            for key in sorted(there.keys() | now.keys())
            for line in _differences(there.get(key), now.get(key), f"{name}.{key}".lstrip("."))
        ]
    return [] if there == now else [f"{name}: {there!r} there, {now!r} now"]


def read_manifest(folder: Folder) -> dict[str, Any] | None:
    """The manifest of a folder, or None where there is none.

    Raises:
      StudyError: it is damaged, or of a newer version.
    """
    content = folder.read([MANIFEST])[0]
    if content is None:
        return None
    try:
        found = json.loads(content)
        version, config, arrays = found.get("format", 1), found["config"], found["arrays"]
        sizes = [found["images"], config["chunk"]]
        for spec in arrays.values():
            sizes += [1, *spec["shape"]]
            if spec["dtype"] not in FILL or len(spec["dimensions"]) != len(spec["shape"]):
                raise ValueError(f"an array of {spec}")
        if not all(type(size) is int and size > 0 for size in [version, *sizes]):
            raise ValueError("a size that is no positive integer")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise StudyError(
            f"{folder}/{MANIFEST}: expected whole JSON of a study, got {error!r}. Restore it from "
            "a copy, or move it away: the command that made the study writes it anew and keeps "
            "every committed chunk"
        ) from error
    if version > FORMAT:
        raise StudyError(
            f"{folder}/{MANIFEST}: expected a study of format {FORMAT} or older, got {version}: "
            "it was made by a newer signsal_jax"
        )
    return found


def claim(folder: Folder, manifest: Mapping[str, Any], *, parts: Sequence[str]) -> None:
    """Makes a folder that of this study, or checks that it already is.

    Args:
      folder: new, empty, or of a study.
      manifest: of this study.
      parts: what else may lie in the folder of a study whose manifest was moved away.

    Raises:
      StudyError: it holds other files, or a study with another manifest (the message names the
        fields that differ).
    """
    manifest = {"format": FORMAT, **json.loads(json.dumps(manifest))}
    if folder.read([MANIFEST])[0] is None:
        others = [name for name in folder.names() if not name.startswith((".", MANIFEST))]
        if not set(others) <= set(parts):
            raise StudyError(
                f"out: expected a new or empty folder or a study, {folder} holds others"
            )
        _check_commits(folder, digest(manifest))
        folder.create(MANIFEST, _files.json_text(manifest))
    there = read_manifest(folder)  # whoever wrote it
    if there is None:
        raise StudyError(f"{folder}/{MANIFEST} was removed as soon as it was written")
    if there.get("format", 1) < FORMAT:
        raise StudyError(
            f"out: {folder} holds a study of an older format, which can be read but not "
            "continued: choose another --out, or delete that folder"
        )
    if lines := _differences(there, manifest):
        more = [f"and {len(lines) - _MOST_DIFFERENCES} more"] * (len(lines) > _MOST_DIFFERENCES)
        raise StudyError(
            f"out: {folder} holds a study with another configuration "
            f"({'; '.join(lines[:_MOST_DIFFERENCES] + more)}): choose another --out, or delete "
            "that folder"
        )


def _check_commits(folder: Folder, manifest: str) -> None:
    """Raises unless the commits in a folder without a manifest are of this very study."""
    names = [f"{COMMITS}/{name}" for name in folder.names(COMMITS) if not name.startswith(".")]
    for content in folder.read(names):
        try:
            its_manifest = json.loads(content or b"")["manifest"]
        except (ValueError, TypeError, KeyError):
            continue  # damaged: it counts for nothing
        if its_manifest != manifest:
            raise StudyError(
                f"out: {folder} holds chunks of a study with another configuration and no "
                f"{MANIFEST}: restore that file, choose another --out, or delete that folder"
            )
