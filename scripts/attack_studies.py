"""Attacks study and run folders: two configurations race for one folder, and files get damaged.

    python scripts/attack_studies.py

In each race, two processes with different configurations claim one new folder at the same moment,
write their results, and merge. One must get the whole folder, and the other must be told so. Each
damaged folder is a finished study with files deleted, cut, changed, copied or added. The damage
must be named, every read must give the right values or an error, and no read may change a file.
Prints the failures and a summary line; takes about a minute on 2 cores.
"""

import dataclasses
import functools
import json
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from signsal_jax import checkpoint
from signsal_jax.study import StudyError, open_study
from signsal_jax.study._writer import Writer

_IMAGES, _CHUNK = 10, 4
_RUN = {"model": "cnn", "class_names": ["a", "b"], "image_shape": [8, 8, 1]}


@dataclasses.dataclass(frozen=True)
class AttackStudies:
    """Attack study and run folders with races and damage."""

    races: int = 200
    """Number of races of two configurations for one folder."""
    damages: int = 100
    """Number of finished studies to damage."""
    seed: int = 0
    """Seed of the damage and its place."""


def manifest(configuration: int) -> dict[str, Any]:
    """The manifest of a toy study."""
    return {
        "config": {"chunk": _CHUNK, "dataset": "toys", "rule": f"rule {configuration}"},
        "images": _IMAGES,
        "arrays": {
            "logits": {"dtype": "float32", "dimensions": ["class"], "shape": [3]},
            "target": {"dtype": "int32", "dimensions": [], "shape": []},
        },
        "names": {"class": ["a", "b", "c"]},
    }


def truth(configuration: int) -> dict[str, np.ndarray]:
    """The arrays that the study of a configuration stores."""
    logits = np.arange(_IMAGES * 3, dtype=np.float32).reshape(_IMAGES, 3) + 1000 * configuration
    return {"logits": logits, "target": np.arange(_IMAGES, dtype=np.int32) + 1000 * configuration}


def summary(configuration: int) -> dict[str, Any]:
    """The summary of a configuration's study."""
    mean = truth(configuration)["logits"].mean(0, dtype=np.float64).tolist()
    counts = {"images": _IMAGES, "valid": _IMAGES, "correct": 3}
    return {**counts, "accuracy": 3 / _IMAGES, "mean": {"logits": mean}}


def run_study(out: Path, configuration: int) -> None:
    """Computes and merges a toy study.

    Raises:
      StudyError: the folder belongs to another study.
    """
    store, values = Writer(out, manifest(configuration)), truth(configuration)
    for chunk in range(store.layout.chunks):
        rows = store.layout.rows(chunk)
        arrays = {name: array[rows.start : rows.stop] for name, array in values.items()}
        sums = {"images": len(rows), "valid": len(rows), "correct": 1}
        store.write(chunk, arrays, {**sums, "logits": arrays["logits"].sum(0).tolist()})
    store.merge()


def _race(barrier: Any, tasks: Any, told: Any, configuration: int) -> None:
    for out in iter(tasks.get, None):
        barrier.wait()
        results = []
        for claim in (
            functools.partial(run_study, Path(out) / "study", configuration),
            functools.partial(checkpoint.claim, Path(out) / "run", {**_RUN, "seed": configuration}),
        ):
            try:
                claim()
                results.append("went on")
            except (StudyError, checkpoint.RunError) as error:
                named = "another configuration" in str(error)
                results.append("refused" if named else f"unclear: {error}")
            except Exception as error:
                results.append(f"raw: {error!r}")
        told.put((configuration, results))


def race(count: int, folder: Path) -> list[str]:
    """Races two processes `count` times; returns the failures."""
    context = multiprocessing.get_context("spawn")
    barrier, told = context.Barrier(2), context.Queue()
    tasks = [context.Queue() for _ in range(2)]
    racers = [
        context.Process(target=_race, args=(barrier, tasks[index], told, index))
        for index in range(2)
    ]
    for racer in racers:
        racer.start()
    wrong = []
    for number in range(count):
        out = folder / f"race-{number}"
        for queue in tasks:
            queue.put(str(out))
        results = dict(told.get(timeout=120) for _ in range(2))
        wrong += [f"race {number}: {line}" for line in _judge_race(out, results)]
    for queue in tasks:
        queue.put(None)
    for racer in racers:
        racer.join(60)
    return wrong


def _judge_race(out: Path, results: dict[int, list[str]]) -> list[str]:
    wrong, winners = [], []
    for kind in range(2):
        outcomes = [results[index][kind] for index in range(2)]
        if sorted(outcomes) != ["refused", "went on"]:
            return [f"{('study', 'run')[kind]}: {outcomes}"]
        winners.append(outcomes.index("went on"))
    store = open_study(out / "study")
    if store.manifest["config"]["rule"] != f"rule {winners[0]}" or store.verify():
        wrong.append(f"the study that went on does not hold its folder: {store.verify()}")
    if json.loads((out / "study" / "summary.json").read_text()) != summary(winners[0]):
        wrong.append("a summary of other data")
    for name, values in truth(winners[0]).items():
        if not np.array_equal(store.arrays()[name], values):
            wrong.append(f"mixed: {name}")
    if checkpoint.read_config(out / "run")["seed"] != winners[1]:
        wrong.append("the run that went on does not hold its folder")
    return wrong


def _flip(path: Path, rng: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def _cut(path: Path, rng: random.Random) -> None:
    path.write_bytes(path.read_bytes()[: rng.randrange(path.stat().st_size)])


def _grow(path: Path, rng: random.Random) -> None:
    path.write_bytes(path.read_bytes() + rng.randbytes(rng.randint(1, 50)))


def _replace(path: Path, rng: random.Random) -> None:
    """Replaces a file by another one of the study, or by its counterpart in another study."""
    root = next(parent for parent in path.parents if (parent / "commits").is_dir())
    if rng.random() < 0.5:
        shutil.copy(root.parent / "other" / path.relative_to(root), path)
    else:
        files = [file for file in root.rglob("*") if file.is_file() and file != path]
        shutil.copy(rng.choice(sorted(files)), path)


def _remove(path: Path, rng: random.Random) -> None:
    path.unlink()


def _remove_folder(path: Path, rng: random.Random) -> None:
    shutil.rmtree(path.parent)


def _become_folder(path: Path, rng: random.Random) -> None:
    path.unlink()
    path.mkdir()


_DAMAGE: tuple[Callable[[Path, random.Random], None], ...] = (
    *(_flip, _flip, _flip, _cut, _grow, _replace, _replace),
    *(_remove, _remove_folder, _become_folder),
)


def _state(root: Path) -> dict[str, tuple[int, int]]:
    return {
        str(path): (path.lstat().st_mtime_ns, path.lstat().st_size)
        for path in (root, *root.rglob("*"))
    }


def damage(count: int, folder: Path, seed: int) -> list[str]:
    """Damages `count` copies of a finished study; returns the failures."""
    run_study(folder / "whole", 0)
    run_study(folder / "other", 1)
    wrong, rng = [], random.Random(seed)
    for number in range(count):
        root = folder / "damaged"
        shutil.copytree(folder / "whole", root)
        files = sorted(path for path in root.rglob("*") if path.is_file())
        chosen = rng.choice(files)
        name = chosen.relative_to(root)
        how = rng.choice(_DAMAGE)
        if chosen.parent == root and how is _remove_folder:
            how = _remove
        before = {path: path.read_bytes() for path in files}
        how(chosen, rng)
        same = all(path.is_file() and path.read_bytes() == before[path] for path in files)
        if not same:
            label = f"damage {number} ({how.__name__.strip('_')} {name})"
            gone = name.parent if how is _remove_folder else name
            wrong += [f"{label}: {line}" for line in _judge_damage(root, gone)]
        shutil.rmtree(root)
    return wrong


def _judge_damage(root: Path, name: Path) -> list[str]:
    wrong, named, state = [], [], _state(root)

    def attempt(what: str, read: Callable[[], Any]) -> Any:
        try:
            return read()
        except StudyError as error:
            named.append(str(error))
        except Exception as error:
            wrong.append(f"{what}: raw {error!r}")
        return None

    store = attempt("open", lambda: open_study(root))
    if store is not None:
        named += attempt("verify", store.verify) or []
        found = attempt("summary", store.summary)
        if found not in (None, summary(0)):
            wrong.append(f"a wrong summary: {found}")
        for array, stored in store.arrays().items():  # a changed manifest may name others
            for row in range(_IMAGES):
                read = attempt(array, lambda a=stored, r=row: a[r])
                if read is not None and not np.array_equal(read, truth(0)[array][row]):
                    wrong.append(f"{array}[{row}] read wrongly: {read}")
    if _state(root) != state:
        wrong.append("a reader changed the folder")
    missing = name.parts[0] == "commits" and "not committed" in "".join(named)
    optional = str(name) == "summary.json" and not (root / name).exists()
    if not (any(str(name) in line for line in named) or missing or optional):
        wrong.append(f"not named, but: {named[:2]}")
    return wrong


def run(command: AttackStudies) -> list[str]:
    """Runs the whole attack; returns the failures."""
    with tempfile.TemporaryDirectory() as folder:
        wrong = race(command.races, Path(folder))
        return wrong + damage(command.damages, Path(folder), command.seed)


def main() -> int:
    command = tyro.cli(AttackStudies, description=__doc__)
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    wrong = run(command)
    for line in wrong:
        print(line)
    print(f"{command.races} races, {command.damages} damaged studies: {len(wrong)} failures")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
