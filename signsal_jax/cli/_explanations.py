"""The folder of `signsal explain`: what is in it, what it may replace, what need not be redone."""

import itertools
import json
import os
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from signsal_jax import _files
from signsal_jax.data.photos import printable
from signsal_jax.weights import sha256

RESULTS = "results.json"
# Of 255 bytes that most file systems allow; suffix, number and a temporary prefix take the rest.
_LONGEST_STEM = 200
_UNCOMPARED = ("images", "out")
# Writing results.json may take so large a share of the time, and waits at least this long.
_WRITING_SHARE, _SECONDS_BETWEEN = 0.05, 1.0


class Explanations:
    """The explained pictures of a folder, recorded in its results.json as they come.

    results.json names every file that the command wrote or is about to write there ("files").
    Those it may replace, and no others: whatever else has such a name was there before.

    Args:
      folder: where to write; need not exist.
      head: what is the same for all pictures: configuration, network, versions, device.

    Raises:
      ValueError: a results.json that is not of this command.
    """

    def __init__(self, folder: Path, head: dict[str, Any]):
        self.folder, self._head = folder, head
        self._files: set[str] = set()
        self._planned: set[str] = set()
        self._changed = self._unfinished = False
        self._entries: dict[str, dict[str, Any]] = {}
        self._written, self._took = float("-inf"), 0.0
        self._read()

    def _read(self) -> None:
        path = self.folder / RESULTS
        if not path.exists():
            return
        try:
            earlier = json.loads(path.read_text(encoding="utf-8"))
            entries = {entry["image"]: entry for entry in earlier["images"]}
            written = {name for entry in entries.values() for name in _names(entry)}
            self._files = {*earlier.get("files", ()), *written}
            same = _settings(earlier) == _settings(self._head)
        except (ValueError, TypeError, KeyError, AttributeError):
            raise ValueError(
                f"--out: expected another folder: {printable(path)} is not of signsal explain"
            ) from None
        if same:
            self._entries = entries
            self._unfinished = not earlier.get("complete", True)

    def plan(
        self, pictures: Sequence[Path], suffixes: Sequence[str], inputs: Sequence[Path]
    ) -> dict[Path, str]:
        """Decides how the files of each picture are called, without suffix.

        As the picture, numbered where another picture has that name; as before, if the picture
        was explained before.

        Args:
          pictures: the pictures, each once.
          suffixes: of the files of each.
          inputs: what else is read.

        Raises:
          ValueError: a file would replace one that is read, or one that this command did not
            write.
        """
        earlier = {image: Path(_names(entry)[0]).stem for image, entry in self._entries.items()}
        wanted = {path: _shortened(path.stem) for path in pictures}
        counts = Counter(wanted.values())
        used = {*earlier.values()}
        alone = {stem for stem, count in counts.items() if count == 1} - used
        used |= alone
        stems = {}
        for number, (path, stem) in enumerate(wanted.items()):
            if str(path) in earlier:
                stem = earlier[str(path)]
            elif stem not in alone:
                numbered = (f"{stem}-{n}" for n in itertools.count(number))
                stem = next(name for name in numbered if name not in used)
                used.add(stem)
            stems[path] = stem
        self._planned = {f"{stem}{suffix}" for stem in stems.values() for suffix in suffixes}
        self._check([*pictures, *inputs])
        return stems

    def _check(self, inputs: Iterable[Path]) -> None:
        read = {_identity(path) for path in inputs if path.exists()}
        for name in sorted({RESULTS, *self._planned}):
            path = self.folder / name
            if path.exists() and _identity(path) in read:
                reason = "is a picture given"
            elif os.path.lexists(path) and name not in {RESULTS, *self._files}:
                reason = "was not written by signsal explain"
            else:
                continue
            raise ValueError(f"--out: expected another folder, {printable(path)} {reason}")

    def has(self, picture: Path) -> bool:
        """Whether the same picture is explained already, with the same settings."""
        entry = self._entries.get(str(picture))
        if entry is None:
            return False
        files = [self.folder / name for name in _names(entry)]
        same = entry["sha256"] == sha256(picture) and all(path.is_file() for path in files)
        if not same:
            del self._entries[str(picture)]
        return same

    def claim(self) -> None:
        """Records, once, which files are about to be written, so that a killed run can go on."""
        if not self._changed:
            self._files |= self._planned
            self._write(complete=False)

    def add(self, entry: dict[str, Any]) -> None:
        """Records an explained picture whose files are written."""
        self._entries.pop(entry["image"], None)
        self._entries[entry["image"]] = entry
        wait = max(_SECONDS_BETWEEN, self._took / _WRITING_SHARE)
        if time.monotonic() - self._written > wait:
            self._write(complete=False)

    def finish(self, order: Iterable[Path], *, complete: bool) -> None:
        """Writes what is recorded; the pictures of this run come last, in their order."""
        if self._changed or (complete and self._unfinished):
            for path in order:
                if (entry := self._entries.pop(str(path), None)) is not None:
                    self._entries[str(path)] = entry
            self._write(complete=complete)

    def _write(self, *, complete: bool) -> None:
        start, self._changed = time.monotonic(), True
        results = {
            **self._head,
            "complete": complete,
            "files": sorted(self._files),
            "images": [*self._entries.values()],
        }
        _files.write_json(self.folder / RESULTS, results)
        self._written = time.monotonic()
        self._took = self._written - start


def _names(entry: dict[str, Any]) -> list[str]:
    """The files of an explained picture."""
    kinds = ("figure", "maps", "classes")
    return [entry[kind] for kind in kinds if entry.get(kind) is not None]


def _settings(head: dict[str, Any]) -> Any:
    """All that the maps of a picture depend on but the picture, as JSON holds it."""
    configuration = head["configuration"].items()
    settings = {
        "configuration": {key: value for key, value in configuration if key not in _UNCOMPARED},
        **{key: head.get(key) for key in ("network", "estimator", "photos", "versions", "device")},
    }
    return json.loads(json.dumps(settings))


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def _shortened(stem: str) -> str:
    """The beginning of a stem that leaves room for what is added to it."""
    while len(os.fsencode(stem)) > _LONGEST_STEM:
        stem = stem[:-1]
    return stem
