"""Counts gradients whose sign, or membership in active and inactive, changes at lower precision.

    python scripts/precision_study.py --dataset cifar10 --data-dir DIR --runs runs/cifar10-resnet18

Compares float32 and bfloat16 with float64, by casting weights and images, on the packaged CNN and
on the networks of run folders (without any: on a ResNet-18 that the result calls untrained).
Writes one JSON file. Takes about ten minutes on 2 cores.
"""

import collections
import dataclasses
import functools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tyro

import signsal_jax
from scripts.bench.tables import markdown_table
from signsal_jax import _files, _provenance, checkpoint, data, models

DTYPES = ("float32", "bfloat16")
UNTRAINED = "resnet18, untrained"


@dataclasses.dataclass(frozen=True)
class PrecisionStudy:
    """Measure the shares of signs, and of active and inactive entries, that precision changes."""

    dataset: str = "cifar10"
    """Test images: cifar10, another TFDS set, or mnist5k, which the extra demo brings."""
    data_dir: Path | None = None
    """Folder of the prepared TFDS sets (default: TFDS's own folder)."""
    runs: tuple[Path, ...] = ()
    """Run folders of trained networks."""
    images: int = 256
    """Number of test images, taken from the first on."""
    batch_size: int = 16
    """Images at a time."""
    out: Path = Path(__file__).parent / "results" / "precision.json"
    """The file to write."""

    def __post_init__(self) -> None:
        for name in ("images", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected at least 1, got {getattr(self, name)}")


class Gradients(NamedTuple):
    """Results at one precision, on the host: `[b, h, w, c]`, and the predicted class `[b]`."""

    gradient: np.ndarray
    active: np.ndarray
    inactive: np.ndarray
    predicted: np.ndarray


def networks(runs: tuple[Path, ...]) -> Iterator[tuple[str, models.Model]]:
    """The networks to study, with their names in the result."""
    yield "cnn-cifar10", models.load("cnn-cifar10")
    for run in runs:
        yield Path(run).name, checkpoint.load_run(run)
    if not runs:
        functional = models.from_nnx(models.create("resnet18", 10))
        names = tuple(str(index) for index in range(10))
        yield UNTRAINED, models.Model(*functional, names, (32, 32, 3), {"weights": None})


@functools.partial(jax.jit, static_argnames="apply_fn")
def _extrema(apply_fn: Any, variables: Any, images: Any, target: Any) -> Any:
    wanted = "predicted" if target is None else target
    return signsal_jax.class_extrema(apply_fn, variables, images, target=wanted)


def gradients_in(
    dtype: str, model: models.Model, images: np.ndarray, target: np.ndarray | None = None
) -> Gradients:
    """Computes the target's gradients, and where they are extreme, entirely in one dtype."""

    def cast(leaf: Any) -> Any:
        return leaf.astype(dtype) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf

    with jax.enable_x64(dtype == "float64"):
        variables, pixels = jax.tree.map(cast, (model.variables, jnp.asarray(images)))
        extrema = _extrema(model.apply_fn, variables, pixels, target)
        gradient = np.asarray(extrema.gradient, np.float64)
        return Gradients(
            gradient,
            active=np.asarray(extrema.gradient > extrema.highest),
            inactive=np.asarray(extrema.gradient < extrema.lowest),
            predicted=np.asarray(extrema.logits.argmax(1)),
        )


def differences(exact: Gradients, rounded: Gradients) -> dict[str, float]:
    """Counts, over a batch, the entries that rounding changed and those it could have changed."""
    flipped = np.sign(rounded.gradient) != np.sign(exact.gradient)
    magnitude = abs(exact.gradient)
    counts = {
        "images": len(exact.gradient),
        "entries": exact.gradient.size,
        "pixels": exact.gradient[..., 0].size,
        "prediction": (rounded.predicted != exact.predicted).sum(),
        "sign": flipped.sum(),
        "magnitude": magnitude.sum(),
        "magnitude_flipped": magnitude[flipped].sum(),
    }
    for name in ("active", "inactive"):
        ours, reference = getattr(rounded, name), getattr(exact, name)
        counts |= {
            f"{name}_entries": reference.sum(),
            f"{name}_changed": (ours != reference).sum(),
            f"{name}_pixels_changed": (ours.any(-1) != reference.any(-1)).sum(),
        }
    return {name: float(count) for name, count in counts.items()}


def shares(sums: dict[str, float]) -> dict[str, float]:
    """The shares that the result reports, from sums of `differences` over all batches."""
    found = {
        "predictions_changed": sums["prediction"] / sums["images"],
        "signs_flipped": sums["sign"] / sums["entries"],
        "signs_flipped_by_magnitude": sums["magnitude_flipped"] / sums["magnitude"],
    }
    for name in ("active", "inactive"):
        found |= {
            f"{name}_share": sums[f"{name}_entries"] / sums["entries"],
            f"{name}_changed": sums[f"{name}_changed"] / sums["entries"],
            f"{name}_pixels_changed": sums[f"{name}_pixels_changed"] / sums["pixels"],
        }
    return found


def study(model: models.Model, images: np.ndarray, batch_size: int) -> dict[str, dict[str, float]]:
    """For each dtype, the shares that differ from float64, for the class float64 predicts."""
    sums: dict[str, collections.Counter[str]] = {dtype: collections.Counter() for dtype in DTYPES}
    for start in range(0, len(images), batch_size):
        batch = images[start : start + batch_size]
        exact = gradients_in("float64", model, batch)
        for dtype in DTYPES:
            target = exact.predicted.astype(np.int32)
            sums[dtype].update(differences(exact, gradients_in(dtype, model, batch, target)))
    return {dtype: shares(dict(sums[dtype])) for dtype in DTYPES}


def load_images(command: PrecisionStudy, shape: tuple[int, int, int]) -> tuple[np.ndarray, str]:
    """The first test images in a network's shape (gray repeated to color), and the set's name."""
    dataset = data.load(
        command.dataset, "test", data_dir=command.data_dir, image_size=(shape[0], shape[1])
    )
    count = min(command.images, len(dataset))
    images = next(data.batches(dataset, count)).images
    repeats = shape[2] // images.shape[3]
    return np.repeat(images, repeats, axis=3), f"{dataset.name} {dataset.split}. {dataset.note}"


def run(command: PrecisionStudy) -> dict[str, Any]:
    """Studies every network and writes the file after each."""
    _files.check_writable(command.out.parent)
    results: dict[str, Any] = {"versions": _provenance.versions(), "networks": {}}
    read = functools.cache(functools.partial(load_images, command))
    for name, model in networks(command.runs):
        images, note = read(model.input_shape)
        results["networks"][name] = {
            # Without paths on this machine, which mean nothing elsewhere.
            "origin": {k: v for k, v in model.origin.items() if k not in ("out", "data_dir")},
            "data": note.strip(),
            "images": len(images),
            "against float64": study(model, images, command.batch_size),
        }
        _files.write_json(command.out, results)
    return results


def table(results: dict[str, Any]) -> str:
    """The result as a Markdown table, in percent."""
    header = (
        "network, computed in",
        "signs",
        "signs, by magnitude",
        "active",
        "inactive",
        "classes",
    )
    keys = (
        "signs_flipped",
        "signs_flipped_by_magnitude",
        "active_changed",
        "inactive_changed",
        "predictions_changed",
    )
    rows = [
        [f"{name}, {dtype}", *(f"{100 * found[key]:.2g} %" for key in keys)]
        for name, network in results["networks"].items()
        for dtype, found in network["against float64"].items()
    ]
    return markdown_table(header, rows)


def main() -> int:
    jax.config.update("jax_platforms", "cpu")
    command = tyro.cli(PrecisionStudy, description=__doc__)
    try:
        results = run(command)
    except (ValueError, OSError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(table(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
