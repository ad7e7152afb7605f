"""A study's folder as a whole: its manifest, its arrays, what is committed, the merged sums."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from signsal_jax import _files
from signsal_jax._extras import figures
from signsal_jax.study._arrays import ARRAYS, StudyArray
from signsal_jax.study._claim import MANIFEST, identity, read_manifest
from signsal_jax.study._commits import Commits, digest
from signsal_jax.study._constants import read_constant
from signsal_jax.study._folder import open_folder
from signsal_jax.study._layout import Layout
from signsal_jax.study._leases import sweep as sweep_leases
from signsal_jax.study._parts import Parts, sweep as sweep_parts
from signsal_jax.study._place import Folder, StudyError as StudyError
from signsal_jax.study._sums import summed
from signsal_jax.study._verify import damaged_constants, damaged_groups, differing
from signsal_jax.study._workers import sweep as sweep_workers

if TYPE_CHECKING:
    import xarray

SUMMARY = "summary.json"
GROUP = f"{ARRAYS}/zarr.json"


class Store:
    """The arrays of a study folder and which of their groups are committed.

    Every array has the dimension `image` first; `layout` cuts it into chunks, which are computed
    together, and groups of chunks, which are stored together. A group counts once
    `commits/NUMBER.json` exists, which is written after all its data is durable.
    """

    def __init__(self, root: Any):
        """Opens a study folder for reading.

        Raises:
          StudyError: no study there, or a damaged manifest.
        """
        self._open(open_folder(root))

    def _open(self, folder: Folder) -> None:
        manifest = read_manifest(folder)
        if manifest is None:
            raise StudyError(
                f"study {folder}: expected a folder made by signsal study, no {folder}/{MANIFEST}"
            )
        self.folder, self.root, self.manifest = folder, folder.root, manifest
        self.images, chunk = manifest["images"], manifest["config"]["chunk"]
        self.layout = Layout(self.images, chunk, manifest.get("group", 1))
        ours = digest(identity(self.manifest))
        self.parts = Parts(folder, ours)
        self._commits = Commits(
            folder,
            manifest=ours,
            groups=self.layout.groups,
            rows=self.layout.images_of,
            signed=self.manifest.get("format", 1) > 1,
        )

    def _group(self) -> dict[str, Any]:
        """The metadata of the arrays' folder, for those who open it as plain zarr."""
        attributes = {key: self.manifest.get(key, {}) for key in ("config", "names")}
        return {"zarr_format": 3, "node_type": "group", "attributes": attributes}

    def _write_where_it_differs(self, name: str, value: Any) -> None:
        text = _files.json_text(value)
        if self.folder.read([name])[0] != text.encode():
            self.folder.write(name, text)

    def arrays(self) -> dict[str, StudyArray]:
        """The arrays `[image, ...]` by name; an index reads only the chunks that it needs."""
        return {
            name: StudyArray(self.folder, name, spec, self.layout, self._commits)
            for name, spec in self.manifest["arrays"].items()
        }

    def constants(self) -> dict[str, np.ndarray]:
        """The arrays that are the same for all images, such as the weights of a Gram matrix.

        Raises:
          StudyError: one is missing or damaged.
        """
        specs = self.manifest.get("constants", {})
        return {name: read_constant(self.folder, name, spec) for name, spec in specs.items()}

    def commits(self) -> list[dict[str, Any]]:
        """Every commit, in the order of the groups."""
        return list(self._commits.scan()[0].values())

    def committed(self) -> list[int]:
        """The numbers of the committed groups."""
        return list(self._commits.scan()[0])

    def uncommitted(self) -> list[int]:
        """The numbers of the groups that are left."""
        return sorted(set(range(self.layout.groups)) - set(self.committed()))

    def is_committed(self, group: int) -> bool:
        """Whether a group is committed, by a look at it alone."""
        return self._commits.read(group) is not None

    def available(self) -> np.ndarray:
        """The indices of the images that can be read: those of the committed groups."""
        rows = map(self.layout.images_of, self.committed())
        return np.concatenate([np.zeros(0, np.int64), *map(np.asarray, rows)])

    def strays(self) -> list[str]:
        """A line about each file among the commits that is none: damaged, copied or alien.

        None of them counts; the group whose place one takes is computed again.
        """
        committed, strays = self._commits.scan()
        if strays and not committed:
            return [f"{self.folder}/{MANIFEST}: no commit belongs to it", *strays]
        return strays

    def unreadable(self) -> dict[int, str]:
        """Which images of the committed groups could not be read, and why, by number."""
        found = {}
        for commit in self.commits():
            for number, problem in commit.get("read", {}).get("unreadable", {}).items():
                found[int(number)] = problem
        return found

    def _check_ours(self) -> None:
        there = read_manifest(self.folder)
        if there is not None and there["images"] > self.images:
            raise StudyError(
                f"study {self.folder}: it was extended from {self.images} to {there['images']} "
                f"images while this worker ran. Start it again with --images {there['images']}: "
                "everything committed is kept"
            )
        if there != self.manifest:
            raise StudyError(
                f"{self.folder}/{MANIFEST} was removed or replaced while the study ran: nothing "
                "more is written there"
            )

    def verify(self) -> list[str]:
        """Reads everything that is committed, checks all checksums, and names what is wrong.

        Returns:
          A line, with the cure, for each group, commit or metadata file that is missing, damaged
          or not this study's; none for a sound study.
        """
        self._commits.forget()
        committed, found = self.committed(), self.strays()
        rewritten: dict[str, Any] = {GROUP: self._group()}
        if len(committed) == self.layout.groups and self.folder.read([SUMMARY])[0] is not None:
            rewritten[SUMMARY] = self.summary()
        found += damaged_groups(self.arrays().values(), committed)
        found += damaged_constants(self.folder, self.manifest.get("constants", {}))
        found += differing(self.folder, rewritten)
        return list(dict.fromkeys(found))  # an array's metadata fail for each of its groups

    def summary(self) -> dict[str, Any]:
        """The sums of all groups, in their order and in float64.

        Raises:
          StudyError: groups are missing.
        """
        committed, strays = self._commits.scan()
        groups = self.layout.groups
        if missing := sorted(set(range(groups)) - set(committed)):
            raise StudyError(
                f"study {self.folder}: {len(missing)} of {groups} groups are missing, the "
                f"first is {missing[0]}: run the study again{''.join(f'. {s}' for s in strays[:3])}"
            )
        labelled = self.manifest.get("data", {}).get("labelled", True)
        found = summed(committed.values(), labelled=labelled)
        if found["images"] != self.images:
            raise StudyError(
                f"study {self.folder}: expected {self.images} images, got {found['images']}"
            )
        return found

    def plot(self, **options: Any) -> Any:
        """Draws the curves of an evaluation, finished or not: `report.plot_curves`.

        Args:
          options: of `report.plot_curves`.

        Returns:
          A matplotlib `Figure`, which a notebook shows.

        Raises:
          ImportError: without the extra `cli`.
          ValueError: as `report.summarize`; no stored curves.
        """
        report = figures()
        return report.plot_curves(report.summarize(self), **options)

    def to_xarray(self, names: Sequence[str] | None = None) -> "xarray.Dataset":
        """Reads arrays of a study, finished or not, into one xarray Dataset.

        Args:
          names: which arrays; None for all. They are read whole, and checked as they are.

        Returns:
          A Dataset along `image`, whose coordinate holds the numbers of the committed images, with
          the names of classes, methods, curves and so on as coordinates, and the configuration as
          attributes.

        Raises:
          ImportError: xarray is not installed (extra `bridges`).
          ValueError: an array that the study does not have.
          StudyError: a chunk that is missing or damaged.
        """
        from signsal_jax.study._export import to_xarray  # which stands on this module

        return to_xarray(self, names)

    def check(self) -> None:
        """Checks that every file of the committed groups ends in the checksum of its commit.

        Raises:
          StudyError: a missing, truncated or foreign file; `verify` reads the files whole.
        """
        committed = self.committed()
        for array in self.arrays().values():
            array.compare(committed)

    def merge(self) -> dict[str, Any]:
        """Checks and sums all groups, and writes `summary.json` unless it says so already.

        What workers that died have left behind goes.

        Raises:
          StudyError: a group is missing or damaged.
        """
        summary = self.summary()
        self.check()
        self._check_ours()
        self._write_where_it_differs(SUMMARY, summary)
        sweep_leases(self.folder)
        sweep_workers(self.folder)
        sweep_parts(self.folder)
        return summary


def open_study(root: Any) -> Store:
    """A study folder for analysis, while the study runs or after; nothing in it is changed.

    Args:
      root: a local folder, or gs:// or s3:// address.

    Returns:
      `Store`: `manifest` says what the arrays are, and `arrays()` reads them as they are indexed:
      `store.arrays()["logits"][:100]`. While the study runs, `available()` are the images that
      can be read. Plain zarr and xarray open `DIR/arrays.zarr` too; to them, what is missing is
      NaN, -1 or False.

    Raises:
      StudyError: no study there, or a damaged manifest.
    """
    return Store(root)
