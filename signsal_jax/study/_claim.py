"""Whose a study's folder is: the manifest, which one of many studies gets to write.

The manifest says everything that the numbers depend on, and comes first: it is created for one of
many studies that start at once in a folder, is read back, and every commit names it. So data of
two configurations are never taken for one study.

Only the number of images may grow. Commits do not name it, so they stay; each says which images it
is of.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from signsal_jax import _files
from signsal_jax.study._arrays import FILL
from signsal_jax.study._commits import COMMITS, digest
from signsal_jax.study._place import Folder, StudyError

MANIFEST = "manifest.json"
FORMAT = 3
"""Of study folders; older ones are read, but not continued. Format 1 had no checksums in its
commits, and in format 2 commits named the number of images of the whole study."""
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


def identity(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What of a manifest stays the same when a study grows."""
    found = dict(manifest)
    if found.get("format", 1) >= FORMAT:
        del found["images"]
        found["config"] = {key: found["config"][key] for key in found["config"] if key != "images"}
    return found


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
        sizes = [found["images"], config["chunk"], found.get("group", 1)]
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
    """Makes a folder that of this study, or checks that it already is; lets a study grow.

    Args:
      folder: new, empty, or of a study.
      manifest: of this study.
      parts: what else may lie in the folder of a study whose manifest was moved away.

    Raises:
      StudyError: it holds other files, or a study with another manifest (the message names the
        fields that differ) or of more images.
    """
    manifest = {"format": FORMAT, **json.loads(json.dumps(manifest))}
    if folder.read([MANIFEST])[0] is None:
        others = [name for name in folder.names() if not name.startswith((".", MANIFEST))]
        if not set(others) <= set(parts):
            raise StudyError(
                f"out: expected a new or empty folder or a study, {folder} holds others"
            )
        _check_commits(folder, digest(identity(manifest)))
        folder.create(MANIFEST, _files.json_text(manifest))
    there = read_manifest(folder)  # whoever wrote it
    if there is None:
        raise StudyError(f"{folder}/{MANIFEST} was removed as soon as it was written")
    if there.get("format", 1) < FORMAT:
        raise StudyError(
            f"out: {folder} holds a study of an older format, which can be read but not "
            "continued: choose another --out, or delete that folder"
        )
    if manifest["config"].get("group") == "auto" and "group" in there:
        manifest["group"] = there["group"]  # a study that grows keeps it
    if lines := _differences(identity(there), identity(manifest)):
        more = [f"and {len(lines) - _MOST_DIFFERENCES} more"] * (len(lines) > _MOST_DIFFERENCES)
        raise StudyError(
            f"out: {folder} holds a study with another configuration "
            f"({'; '.join(lines[:_MOST_DIFFERENCES] + more)}): choose another --out, or delete "
            "that folder"
        )
    if there["images"] > manifest["images"]:
        raise StudyError(
            f"out: {folder} holds a study of {there['images']} images, got {manifest['images']}: "
            f"a study can grow, but not shrink. Ask for --images {there['images']} or more, or "
            "choose another --out"
        )
    if there["images"] < manifest["images"]:
        before = folder.read([MANIFEST])[0] or b""
        current = before == _files.json_text(there).encode()
        if not (current and folder.replace(MANIFEST, before, _files.json_text(manifest))):
            claim(folder, manifest, parts=parts)  # another worker has changed it meanwhile


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
