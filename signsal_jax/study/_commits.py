"""Commits: one small file per group, `commits/NUMBER.json`, which says that the group is whole.

A commit is written after all data of its group is durable. It names the manifest it belongs to,
its own images and the checksum of each of the group's files, and it carries the group's sums. A
file that is not such a commit of this very study counts for nothing, so its group is computed
again; it is named to whoever asks.
"""

import contextlib
import hashlib
import json
import re
from collections.abc import Callable
from typing import Any

from signsal_jax import _files
from signsal_jax.study._place import Folder, StudyError

COMMITS = "commits"
_NAME = re.compile(r"[0-9]{8,}\.json")


def digest(value: Any) -> str:
    """The SHA-256 of what is JSON, whatever the order of its fields."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def name_of(group: int) -> str:
    """The file of a group's commit."""
    return f"{COMMITS}/{group:08}.json"


class Commits:
    """The commits of a study.

    Args:
      folder: of the study.
      manifest: the digest of its manifest.
      groups: how many it has.
      rows: the images of a group.
      signed: whether commits say their own digest, as those of old studies did not.
    """

    def __init__(
        self,
        folder: Folder,
        *,
        manifest: str,
        groups: int,
        rows: Callable[[int], range],
        signed: bool,
    ):
        self._folder, self._manifest, self._signed = folder, manifest, signed
        self._groups, self._rows = groups, rows
        # A commit is never changed, so it is read once.
        self._known: dict[int, dict[str, Any]] = {}

    def write(self, group: int, fields: dict[str, Any]) -> bool:
        """Commits a group, unless it already is; returns whether this call did it."""
        rows = self._rows(group)
        commit = {
            "group": group,
            "start": rows.start,
            "stop": rows.stop,
            "manifest": self._manifest,
            **json.loads(json.dumps(fields)),
        }
        text = _files.json_text({**commit, "sha256": digest(commit)})
        name = name_of(group)
        if not self._folder.create(name, text):
            there = self._folder.read([name])[0]
            with contextlib.suppress(StudyError):
                if there is not None and self._check(name, there)[1].stop >= rows.stop:
                    return False
            # What lay there was no commit, or one of a part of these images.
            self._folder.write(name, text)
        return True

    def read(self, group: int) -> dict[str, Any] | None:
        """The commit of one group, or None where it is absent or not one of this study."""
        if group not in self._known:
            content = self._folder.read([name_of(group)])[0]
            if content is not None:
                self._judge(name_of(group), content)
        return self._known.get(group)

    def forget(self) -> None:
        """Has every commit read anew."""
        self._known = {}

    def scan(self) -> tuple[dict[int, dict[str, Any]], list[str]]:
        """All commits by group, in order, and a line about each other file that lies there."""
        # What begins with a dot is being written, or was when a process died.
        names = [name for name in self._folder.names(COMMITS) if not name.startswith(".")]
        present = {f"{COMMITS}/{name}" for name in names}
        self._known = {
            group: commit for group, commit in self._known.items() if name_of(group) in present
        }
        unread = sorted(present - {name_of(group) for group in self._known})
        contents = self._folder.read(unread)
        reasons = [
            self._judge(name, content)
            for name, content in zip(unread, contents, strict=True)
            if content is not None
        ]
        strays = [reason for reason in reasons if reason]
        return {group: self._known[group] for group in sorted(self._known)}, strays

    def _judge(self, name: str, content: bytes) -> str | None:
        """Learns a commit, or says why the file is none."""
        try:
            group, images = self._check(name, content)
        except StudyError as error:
            return f"{self._folder}/{name}: {error}; it counts for nothing"
        if images == self._rows(group):
            self._known[group] = json.loads(content)
        return None

    def _check(self, name: str, content: bytes) -> tuple[int, range]:
        """The group that a commit is of, and its images.

        They are others than the group has now only where the study was extended: then the last
        group was committed with fewer of them, or is now with more than this process knows of.

        Raises:
          StudyError: why it is not a commit of this study.
        """
        stem = name.removeprefix(f"{COMMITS}/")
        if not _NAME.fullmatch(stem) or name_of(int(stem.split(".")[0])) != name:
            raise StudyError("not the name of a commit")
        group = int(stem.split(".")[0])
        if group >= self._groups:
            raise StudyError(f"the study has only {self._groups} groups")
        try:
            fields = json.loads(content)
            signature = fields.pop("sha256", None)
            # In old studies a group was one chunk.
            its_group, manifest = fields.get("group", fields.get("chunk")), fields["manifest"]
            images = range(fields["start"], fields["stop"])
            whole = isinstance(fields["sums"], dict) and fields["finished"] > 0
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise StudyError(f"damaged ({type(error).__name__}: {error})") from error
        if not whole or (self._signed and signature != digest(fields)):
            raise StudyError("damaged (its own checksum differs)")
        if manifest != self._manifest:
            raise StudyError("of a study with another manifest")
        if its_group != group:
            raise StudyError(f"a copy of the commit of group {its_group}")
        rows = self._rows(group)
        if not images or images.start != rows.start:
            raise StudyError(f"of images {images}, not {rows}")
        return group, images
