"""Runs a real study, every CIFAR-10 image with the packaged network, and reports its findings.

    python scripts/cifar10_study.py --data-dir DIR

Runs `signsal study` in a process of its own and watches its memory; then times the same step with
and without the engine around it, in turn. Writes scripts/results/cifar10_study.json. Takes about
ten minutes on 2 cores; --table-only only prints the findings in the existing file.
"""

import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tyro

from scripts.bench import timing
from scripts.bench.tables import markdown_table
from scripts.kill_study import SIGNSAL
from signsal_jax import _files, data, models, open_study, sharding
from signsal_jax.study import Store, StudyConfig, run_study, study_step

STORE = ("maps", "logits", "deletion", "shares", "rivals", "norm", "gram", "sign_agreement")
CONFIG = StudyConfig("cifar10", "train+test", model="cnn-cifar10", store=STORE)
_SAMPLE_SECONDS = 2
_OVERHEAD_IMAGES, _OVERHEAD_ROUNDS = 1024, 3


@dataclasses.dataclass(frozen=True)
class Cifar10Study:
    """Study all of CIFAR-10 with the packaged CNN."""

    data_dir: Path | None = None
    """Folder of the prepared TFDS sets (default: TFDS's own folder)."""
    out: Path = Path("runs/cifar10_study")
    """A new folder for the study: its pace is measured over one run from start to end."""
    results: Path = Path(__file__).parent / "results" / "cifar10_study.json"
    """The file to write."""
    table_only: bool = False
    """Only print the recorded findings."""


def _memory_bytes(process: int) -> dict[str, int]:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    names = {"resident_bytes": "VmRSS", "peak_resident_bytes": "VmHWM"}
    if not fields.keys() >= set(names.values()):
        return {}  # it has just ended
    return {name: 1024 * int(fields[field].split()[0]) for name, field in names.items()}


def watch(command: list[str], out: Path) -> list[dict[str, int]]:
    """Runs the study on the CPU; samples its memory, current and peak, along with its commits."""
    samples = []
    process = subprocess.Popen(command, env={**os.environ, "JAX_PLATFORMS": "cpu"})
    while process.poll() is None:
        committed = len(list(out.glob("commits/[0-9]*.json")))
        if memory := _memory_bytes(process.pid):
            samples.append({"chunks": committed, **memory})
        time.sleep(_SAMPLE_SECONDS)
    if process.returncode:
        raise RuntimeError(f"signsal study ended with {process.returncode}")
    return samples


def pace(store: Store) -> dict[str, float]:
    """Seconds from the first commit to the last, and images per second."""
    commits = sorted(store.commits(), key=lambda commit: commit["finished"])
    seconds = commits[-1]["finished"] - commits[0]["finished"]
    images = sum(commit["stop"] - commit["start"] for commit in commits[1:])
    return {"seconds": seconds, "images_per_second": images / seconds}


def overhead(data_dir: Path | None, disk: Path) -> dict[str, Any]:
    """Compares a chunk's time in the engine, between commits, with that of the bare step."""
    model, mesh = models.load("cnn-cifar10"), sharding.make_mesh()
    config = dataclasses.replace(CONFIG, split="test", images=_OVERHEAD_IMAGES)
    split = data.load("cifar10", "test", data_dir=data_dir)
    first = next(data.batches(split, config.chunk))
    inputs = [sharding.place(mesh, values) for values in (first.images, first.labels)]

    @jax.jit
    def step(variables: Any, images: jax.Array, labels: jax.Array) -> dict[str, jax.Array]:
        return study_step(model.apply_fn, variables, images, labels, config=config, mesh=mesh)

    variables = sharding.replicate(mesh, model.variables)
    jax.block_until_ready(step(variables, *inputs))
    bare, engine = [], []
    for _ in range(_OVERHEAD_ROUNDS):
        for _ in range(_OVERHEAD_IMAGES // config.chunk):
            start = time.perf_counter()
            jax.block_until_ready(step(variables, *inputs))
            bare.append(time.perf_counter() - start)
        with tempfile.TemporaryDirectory(dir=disk) as folder:
            run_study(config, model, [split], Path(folder) / "study", mesh=mesh)
            finished = sorted(c["finished"] for c in open_study(Path(folder) / "study").commits())
            # The first two overlap with compilation.
            engine += np.diff(finished)[1:].tolist()
    return {
        name: {
            "bare_seconds": average(bare),
            "engine_seconds": average(engine),
            "overhead": average(engine) / average(bare) - 1,
        }
        for name, average in (("mean", statistics.fmean), ("median", statistics.median))
    }


def findings(store: Store) -> list[dict[str, Any]]:
    """For each predicted class: shares, rivals, and the closest and most opposed classes."""
    arrays = {
        name: np.asarray(store.arrays()[name])
        for name in ("predicted", "valid", "shares", "rivals", "gram", "sign_agreement")
    }
    names, found = store.manifest["names"]["class"], []
    for index, name in enumerate(names):
        mine = arrays["valid"] & (arrays["predicted"] == index)
        row = {"class": name, "images": int(mine.sum())}
        share_names = store.manifest["names"]["share"]
        means = arrays["shares"][mine].mean(0, dtype=np.float64)
        row["shares"] = dict(zip(share_names, means.tolist(), strict=True))
        for position, method in enumerate(store.manifest["names"]["rivalry"]):
            counts = arrays["rivals"][mine, position].sum(0, dtype=np.float64)
            rival = int(counts.argmax())
            row[f"{method}_rival"] = {"class": names[rival], "share": counts[rival] / counts.sum()}
        gram = arrays["gram"][mine].astype(np.float64)
        lengths = np.sqrt(np.einsum("bii->bi", gram))
        with np.errstate(invalid="ignore"):  # a gradient of zeros has no direction
            cosines = np.nanmean(gram[:, index] / (lengths[:, index, None] * lengths), axis=0)
        signs = arrays["sign_agreement"][mine, index].mean(0, dtype=np.float64)
        others = [other for other in range(len(names)) if other != index]
        for what, pick in (("closest", max), ("most opposed", min)):
            other = pick(others, key=lambda other: cosines[other])
            row[what] = {"class": names[other], "cosine": cosines[other], "signs": signs[other]}
        found.append(row)
    return found


def table(results: dict[str, Any]) -> str:
    """The findings as Markdown."""
    rows = [
        [
            row["class"],
            f"{row['shares']['active']:.0%}",
            f"{row['active_rival']['class']} ({row['active_rival']['share']:.0%})",
            f"{row['shares']['inactive']:.0%}",
            f"{row['inactive_rival']['class']} ({row['inactive_rival']['share']:.0%})",
            f"{row['closest']['class']} ({row['closest']['cosine']:+.2f})",
            f"{row['most opposed']['class']} ({row['most opposed']['cosine']:+.2f})",
        ]
        for row in results["findings"]
    ]
    header = (
        "predicted",
        "active pixels",
        "rival there",
        "inactive pixels",
        "rival there",
        "most similar gradient (cosine)",
        "most opposed",
    )
    return markdown_table(header, rows)


def run(command: Cifar10Study) -> dict[str, Any]:
    """Runs the study and writes the measurements and findings."""
    if command.out.exists():
        raise ValueError(f"--out: expected a new folder, {command.out} exists")
    study = [*SIGNSAL, "study", "--dataset", CONFIG.dataset, "--split", CONFIG.split]
    study += ["--model", str(CONFIG.model), "--store", *STORE, "--out", str(command.out)]
    if command.data_dir is not None:
        study += ["--data-dir", str(command.data_dir)]
    samples = watch(study, command.out)
    store = open_study(command.out)
    size = sum(path.stat().st_size for path in command.out.rglob("*") if path.is_file())
    results = {
        "data": store.manifest["data"],
        "config": store.manifest["config"],
        "summary": store.merge(),
        "pace": pace(store),
        "disk_bytes": size,
        "peak_resident_bytes": max(sample["peak_resident_bytes"] for sample in samples),
        "memory": samples[:: max(len(samples) // 50, 1)],
        "overhead": overhead(command.data_dir, command.out.parent),
        "machine": timing.describe_machine(),
        "findings": findings(store),
    }
    _files.write_json(command.results, results)
    return results


def main() -> int:
    command = tyro.cli(Cifar10Study, description=__doc__)
    if command.table_only:
        print(table(json.loads(command.results.read_text())))
        return 0
    jax.config.update("jax_platforms", "cpu")
    try:
        results = run(command)
    except (ValueError, OSError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(json.dumps({key: results[key] for key in ("pace", "disk_bytes", "overhead")}, indent=2))
    print(table(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
