"""`signsal explain`: the maps of pictures."""

import dataclasses
import itertools
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
import numpy as np
import tyro

from signsal_jax import _files, report
from signsal_jax._methods import check_maps, needs_rivals
from signsal_jax._progress import progress, write
from signsal_jax.cli._compared import backward_passes, chosen_cut, compared_classes
from signsal_jax.cli._computation import computation, make_mesh
from signsal_jax.cli._drawing import Drawing
from signsal_jax.cli._explanations import Explanations
from signsal_jax.cli._network import NetworkOptions, provenance
from signsal_jax.data.folders import files_in
from signsal_jax.data.photos import PictureError, printable, read_image
from signsal_jax.gradients import (
    THROUGH,
    EstimatorConfig,
    describe,
    describe_cut,
    has_sign,
)
from signsal_jax.maps import ALL_METHODS, METHODS, Saliency
from signsal_jax.models import Model
from signsal_jax.models.pretrained import PACKAGED
from signsal_jax.report import explorer
from signsal_jax.weights import sha256

_TOP = 5
# Pictures computed together: several small ones, and one where a picture takes long.
_MOST_TOGETHER, _VALUES_TOGETHER = 8, 2**25
_CLASSES = ".classes.npz"


@dataclasses.dataclass(frozen=True)
class Explain(EstimatorConfig):
    """Signed saliency maps of pictures: a figure and the arrays of each, and results.json.

    The same command again goes on where it was: pictures already explained in the folder, with
    the same settings and unchanged, are not explained again.
    """

    images: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="[IMAGE ...]")]
    """The pictures: JPEG, PNG, GIF, BMP, TIFF, WebP or PPM; a folder stands for all files in it,
    at any depth, but hidden ones."""
    network: tyro.conf.OmitArgPrefixes[NetworkOptions]
    methods: tuple[Literal[ALL_METHODS], ...] = METHODS  # pyright: ignore[reportInvalidTypeForm]
    """The maps; without active, inactive and their margins, one or two backward passes do instead
    of one per class."""
    target: int | None = None
    """The class index to explain (default: the predicted class)."""
    rivals: tuple[str, ...] = ("all",)
    """Which other classes active and inactive compare with: all, a number K for those with the K
    highest scores, or names (or several indices) of classes."""
    precision: Literal["highest", "high", "default"] = "highest"
    """Of float32 products on devices that would round them; "default" is fastest there."""
    through: Literal[THROUGH] = "auto"  # pyright: ignore[reportInvalidTypeForm]
    """A backward pass per class (scores), one per feature at the network's narrowest place
    (features), or what costs less (auto); results.json says which."""
    figures: bool = True
    """Draw a figure of each picture; without, only arrays and results.json are written."""
    explorer: bool = True
    """Keep what `signsal report` needs for an explorer of the first 20 pictures: the gradients of
    their top classes, and what the network says as pixels are deleted."""
    out: Path = Path("explanations")
    """The folder to write to."""

    def run_command(self) -> int:
        """Explains every picture that can be read; one that cannot costs none of the others."""
        if not self.images:
            raise ValueError("IMAGE: expected at least one picture, got none")
        check_maps(self.methods, self.make_estimator())
        model = self.network.load(default=PACKAGED[0])
        classes = len(model.class_names)
        if self.target is not None and not 0 <= self.target < classes:
            raise ValueError(
                f"--target: expected a class index in [0, {classes - 1}], got {self.target}"
            )
        compared_classes(self.rivals, model)
        _files.check_writable(self.out)
        pictures = self._pictures()
        folder = Explanations(self.out, self._head(model))
        suffixes = [".npz", *[".png"] * self.figures, *[_CLASSES] * self.explorer]
        stems = folder.plan(pictures, suffixes, self.network.files())
        todo = [path for path in pictures if not _is_done(folder, path)]
        if len(todo) < len(pictures):
            print(f"{len(pictures) - len(todo)} of {len(pictures)} are explained already")
        failures: list[Exception] = []
        explored = {*pictures[: explorer.MOST_IMAGES]} if self.explorer else set()
        try:
            stems = {path: stems[path] for path in todo}
            self._explain(model, stems, folder, failures, explored)
        except BaseException:
            folder.finish(pictures, complete=False)
            raise
        folder.finish(pictures, complete=True)
        if len(failures) < len(pictures):
            kinds = "Figures, maps" if self.figures else "Maps"
            print(f"{kinds} and results.json: {printable(self.out)}/")
            if self.explorer:
                print(f"An explorer of them: signsal report {printable(self.out)}")
        for failure in failures:
            print(f"signsal: {failure}", file=sys.stderr)
        return 1 if failures else 0

    def _pictures(self) -> list[Path]:
        """The pictures, each once.

        Raises:
          ValueError: a folder without files, or one that the results are written into.
        """
        found: dict[Path, None] = {}
        for path in self.images:
            if not path.is_dir():
                found[path] = None
                continue
            if self.out.resolve().is_relative_to(path.resolve()):
                raise ValueError(
                    f"--out: expected a folder outside of the pictures' {printable(path)}, got "
                    f"{printable(self.out)}"
                )
            files = files_in(path)
            if not files:
                raise ValueError(f"{printable(path)}: expected pictures, got none in the folder")
            found |= dict.fromkeys(files)
        return list(found)

    def _head(self, model: Model) -> dict[str, Any]:
        described = describe(self.make_estimator())
        cut = chosen_cut(self, model, 1)
        head = {**provenance(self, model), "estimator": described, "photos": model.photos}
        return {**head, "through": describe_cut(cut)}

    def _explain(
        self,
        model: Model,
        stems: dict[Path, str],
        folder: Explanations,
        failures: list[Exception],
        explored: set[Path],
    ) -> None:
        """Explains pictures, a batch at a time; those that cannot be are left in `failures`."""
        values = int(np.prod(model.input_shape)) * len(model.class_names)
        each = max(1, min(_MOST_TOGETHER, _VALUES_TOGETHER // values))
        mesh = make_mesh(len(stems), one_class=not needs_rivals(self.methods))
        size = min(each, -(-len(stems) // mesh.shape["data"])) * mesh.shape["data"]
        cut = chosen_cut(self, model, max(1, size // mesh.shape["data"]))
        total = -(-len(stems) // max(1, size)) * size * backward_passes(self, model, cut)
        settings = {
            "target": "predicted" if self.target is None else self.target,
            "rivals": compared_classes(self.rivals, model),
            "precision": self.precision,
            "estimator": self.make_estimator(),
        }
        signs = has_sign(settings["estimator"])

        def written(entry: dict[str, Any]) -> None:
            folder.add(entry)
            found = entry["top"][0]
            write(f"{printable(entry['image'])}: {found['class']} ({found['probability']:.3f})")

        with (
            progress("explaining", total, "backward pass") as bar,
            Drawing(len(stems), written) as drawing,
        ):
            compute = computation(model, mesh, self.methods, settings, bar.update, cut)
            class_gradients = explorer.class_gradients(
                model, estimator=settings["estimator"], precision=self.precision
            )
            for paths, images in _batches(list(stems), size, model, failures):
                # The last one is filled up, so that there is one compiled program.
                filled = np.pad(images, [(0, size - len(images)), *[(0, 0)] * 3], mode="edge")
                saliency, signed = jax.device_get(compute(filled))
                folder.claim()
                for row, (path, image) in enumerate(zip(paths, images, strict=True)):
                    one = jax.tree.map(lambda values, row=row: values[row], saliency)
                    try:
                        entry = _entry(model, path, one)
                    except PictureError as error:
                        failures.append(error)
                        continue
                    entry["figure"] = f"{stems[path]}.png" if self.figures else None
                    entry["maps"] = f"{stems[path]}.npz"
                    if path in explored:
                        entry["classes"] = f"{stems[path]}{_CLASSES}"
                        found = class_gradients(image, one.logits, entry["target"], one.maps)
                        explorer.save(self.out / entry["classes"], found)
                    in_signs = {name: maps[row] for name, maps in signed.items()}
                    example = report.Example(
                        image, entry["target_class"], dict(one.maps), in_signs if signs else None
                    )
                    drawing.add(entry, self.out, entry["figure"], entry["maps"], example)


def _is_done(folder: Explanations, path: Path) -> bool:
    try:
        return folder.has(path)
    except OSError:  # said when it is to be read
        return False


def _batches(
    pictures: Sequence[Path], size: int, model: Model, failures: list[Exception]
) -> Iterator[tuple[list[Path], np.ndarray]]:
    """Batches of those pictures that can be read."""

    def readable() -> Iterator[tuple[Path, np.ndarray]]:
        for path in pictures:
            try:
                yield path, read_image(path, model.input_shape, **(model.photos or {}))
            except (PictureError, OSError) as error:
                failures.append(error)

    pairs = readable()
    while batch := list(itertools.islice(pairs, size)):
        paths, images = zip(*batch, strict=True)
        yield list(paths), np.stack(images)


def _entry(model: Model, path: Path, saliency: Saliency) -> dict[str, Any]:
    """One picture's figures for results.json: top classes, which maps are empty, who competes."""
    if not saliency.valid:
        raise PictureError(
            f"image {printable(path)}: expected finite logits and gradients, got NaN"
        )
    logits, target = np.asarray(saliency.logits, np.float64), int(saliency.target)
    exponentials = np.exp(logits - logits.max())
    probabilities = exponentials / exponentials.sum()
    competitors = {
        method: Counter(
            model.class_names[index]
            for index in saliency.runner_up[method][saliency.margin[method] > 0]
        ).most_common(_TOP)
        for method in saliency.runner_up
    }
    return {
        "image": str(path),
        "sha256": sha256(path),
        "figure": None,
        "maps": None,
        "classes": None,
        "target": target,
        "target_class": model.class_names[target],
        "top": [
            {
                "class": model.class_names[index],
                "logit": float(logits[index]),
                "probability": float(probabilities[index]),
            }
            for index in np.argsort(-logits)[:_TOP].tolist()
        ],
        "logits": logits.tolist(),
        "empty_maps": [method for method, empty in saliency.empty.items() if empty],
        "runner_up_pixels": {method: dict(counts) for method, counts in competitors.items()},
    }
