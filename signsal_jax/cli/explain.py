"""`signsal explain`: the five maps of pictures."""

import dataclasses
import itertools
import sys
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
import numpy as np
import tyro
from tqdm import tqdm

from signsal_jax import _files, report
from signsal_jax._types import ApplyFn
from signsal_jax.attribution import saliency_maps
from signsal_jax.cli._network import NetworkOptions, provenance
from signsal_jax.cli._progress import ticking
from signsal_jax.data.photos import read_image
from signsal_jax.evaluation import Example
from signsal_jax.maps import METHODS, Saliency
from signsal_jax.models import Model
from signsal_jax.models.pretrained import PACKAGED
from signsal_jax.weights import sha256

_TOP = 5
# More classes than this are streamed: bounded memory, and a bar that moves.
_CLASS_CHUNK = 20


@dataclasses.dataclass(frozen=True)
class Explain:
    """Five signed saliency maps of pictures: a figure and the arrays of each, and results.json."""

    images: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="[IMAGE ...]")]
    """The pictures, in any format that Pillow reads."""
    network: tyro.conf.OmitArgPrefixes[NetworkOptions]
    target: int | None = None
    """The class index to explain (default: the predicted class)."""
    precision: Literal["highest", "high", "default"] = "highest"
    """Of float32 products on devices that would round them; "default" is fastest there."""
    out: Path = Path("explanations")
    """The folder to write to."""

    def run_command(self) -> int:
        """Explains every picture that can be read; one that cannot costs none of the others."""
        if not self.images:
            raise ValueError("IMAGE: expected at least one picture, got none")
        model = self.network.load(default=PACKAGED[0])
        classes = len(model.class_names)
        if self.target is not None and not 0 <= self.target < classes:
            raise ValueError(
                f"--target: expected a class index in [0, {classes - 1}], got {self.target}"
            )
        _files.check_writable(self.out)
        stems = self._output_stems()
        bar = tqdm(total=classes * len(self.images), desc="explaining", unit="class", delay=2)
        step = jax.jit(self._step(ticking(model.apply_fn, bar.update), classes))
        results, failures = [], []
        for path, stem in zip(self.images, stems, strict=True):
            try:
                results.append(self._explain(model, step, path, stem))
            except (OSError, ValueError) as error:
                failures.append(error)
                continue
            found = results[-1]["top"][0]
            tqdm.write(f"{path}: {found['class']} ({found['probability']:.3f})")
        # Ticks on their way would draw the bar again, in front of the lines below.
        jax.effects_barrier()
        if results:
            bar.clear()  # tqdm.write draws it even before its delay is over
        bar.close()
        if results:
            head = provenance(self, model)
            _files.write_json(
                self.out / "results.json", {**head, "photos": model.photos, "images": results}
            )
            print(f"Figures, maps and results.json: {self.out}/")
        for failure in failures:
            print(f"signsal: {failure}", file=sys.stderr)
        return 1 if failures else 0

    def _step(self, apply_fn: ApplyFn, classes: int) -> Any:
        return lambda variables, images: saliency_maps(
            apply_fn,
            variables,
            images,
            target="predicted" if self.target is None else self.target,
            class_chunk=_CLASS_CHUNK if classes > _CLASS_CHUNK else None,
            precision=self.precision,
        )

    def _output_stems(self) -> list[str]:
        """One a picture: its own, numbered where pictures from several folders share it.

        Raises:
          ValueError: a figure would overwrite one of the pictures.
        """
        counts = Counter(path.stem for path in self.images)
        taken = {stem for stem, count in counts.items() if count == 1}
        stems = []
        for number, path in enumerate(self.images):
            stem = path.stem
            if counts[stem] > 1:
                numbered = (f"{path.stem}-{n}" for n in itertools.count(number))
                stem = next(name for name in numbered if name not in taken)
                taken.add(stem)
            stems.append(stem)
        pictures = {path.resolve() for path in self.images}
        for stem in stems:
            if (figure := self.out / f"{stem}.png").resolve() in pictures:
                raise ValueError(f"--out: expected another folder, {figure} is a picture given")
        return stems

    def _explain(self, model: Model, step: Any, path: Path, stem: str) -> dict[str, Any]:
        image = read_image(path, model.input_shape, **(model.photos or {}))
        saliency = jax.device_get(step(model.variables, image[None]))
        if not saliency.valid[0]:
            raise ValueError(f"image {path}: expected finite logits and gradients, got NaN")
        # From the first new figure on, until the results are whole, nothing says that they are.
        (self.out / "results.json").unlink(missing_ok=True)
        maps = {method: saliency.maps[method][0] for method in METHODS}
        title = model.class_names[saliency.target[0]]
        example = Example(image, title, maps)
        figure = report.maps_figure([example], self.out / f"{stem}.png", over_photo=True)
        arrays = _files.write_atomically(
            self.out / f"{stem}.npz", lambda file: np.savez_compressed(file, **maps)
        )
        return {
            "image": str(path),
            "sha256": sha256(path),
            "figure": figure.name,
            "maps": arrays.name,
            **_description(model, saliency),
        }


def _description(model: Model, saliency: Saliency) -> dict[str, Any]:
    """One image's figures for results.json: top classes, which maps are empty, who competes."""
    logits, target = np.asarray(saliency.logits[0], np.float64), int(saliency.target[0])
    exponentials = np.exp(logits - logits.max())
    probabilities = exponentials / exponentials.sum()
    competitors = {
        method: Counter(
            model.class_names[index]
            for index in saliency.runner_up[method][0][saliency.margin[method][0] > 0]
        ).most_common(_TOP)
        for method in saliency.runner_up
    }
    return {
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
        "empty_maps": [method for method in METHODS if saliency.empty[method][0]],
        "runner_up_pixels": {method: dict(counts) for method, counts in competitors.items()},
    }
