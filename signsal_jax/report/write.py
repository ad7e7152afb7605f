"""The report of a study: figures, tables, results.json and the per-image arrays, in a folder."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from signsal_jax import _files
from signsal_jax.maps import ALL_METHODS, METHODS
from signsal_jax.report import explorer
from signsal_jax.report.examples import Example, load_examples
from signsal_jax.report.figures import curves_figure
from signsal_jax.report.formats import format_table, write_table
from signsal_jax.report.panels import maps_figure
from signsal_jax.report.scores import scores_table
from signsal_jax.report.steps import steps_table
from signsal_jax.report.summary import read_rows, summarize
from signsal_jax.report.tables import auc_table, deletions
from signsal_jax.study import Store

_PER_IMAGE = {"label": "labels", "predicted": "predicted", "valid": "valid"}
_TABLES = ("md", "csv", "tex")
_CURVES = ("agreement", "deleted", "insertion_agreement", "inserted")


class Report(NamedTuple):
    """A report that was written.

    Attributes:
      title: data set, split and how many images.
      results: what results.json holds.
      table: the table of areas in Markdown; empty where no curves are stored.
      files: the names of the files.
    """

    title: str
    results: dict[str, Any]
    table: str
    files: list[str]


def write_report(store: Store, out: Path, *, seed: int = 0) -> Report:
    """Draws the report of a study, finished or not, without computing anything of a network.

    Args:
      store: the study, from `open_study` or `evaluate`.
      out: the folder to write to; an `examples.npz` that `signsal evaluate` left there is drawn
        as maps.png.
      seed: of the bootstrap over images.

    Returns:
      `Report`. results.json is written last, so a folder that has it has everything.

    Raises:
      ValueError: as `summarize`.
    """
    manifest, summary = store.manifest, summarize(store, seed=seed)
    described = {
        "name": manifest["data"]["name"],
        "split": "+".join(manifest["data"]["splits"]),
        "note": manifest["data"]["note"],
    }
    counted = f"{summary['images']} images"
    if not summary["complete"]:
        counted += f" so far of {summary['of']} (unfinished)"
    if summary["invalid"]["count"]:
        counted += f", {summary['invalid']['count']} invalid left out"
    title = f"{described['name']} {described['split']}, {counted}"
    # An earlier one would not describe the files written from here on.
    (out / "results.json").unlink(missing_ok=True)
    files, table = [], ""
    if examples := load_examples(store, out):
        files.append(maps_figure(examples, out / "maps.png", described["note"]))
    for name, curves in _figures(summary).items():
        files.append(curves_figure(summary, out / name, title, described["note"], curves))
    if deletions(summary):
        areas = auc_table(summary)
        table = format_table(areas, "md")
        files += [write_table(areas, out / f"table.{kind}") for kind in _TABLES]
    if "small_step" in summary:
        steps = steps_table(summary["small_step"])
        files += [write_table(steps, out / f"small_step.{kind}") for kind in _TABLES]
    if summary["scores"]:
        scores = scores_table(summary["scores"])
        files.append(_files.write_text(out / "scores.md", scores))
    results = {
        "configuration": {**manifest["config"], "seed": seed},
        "estimator": manifest.get("estimator"),
        "network": manifest["network"],
        "versions": manifest["versions"],
        "device": manifest.get("device"),
        "dataset": described,
        "results": summary,
    }
    files.append(_write_per_image(store, out / "per_image.npz"))
    files.append(_write_explorer(store, out, title, results, examples))
    files.append(_files.write_json(out / "results.json", results))
    return Report(title, results, table, [file.name for file in files])


def _write_explorer(
    store: Store, out: Path, title: str, results: dict[str, Any], examples: Sequence[Example]
) -> Path:
    estimator = (results["estimator"] or {}).get("name", "plain")
    summary, note = results["results"], results["dataset"]["note"]
    subjects = [
        explorer.subject(
            example.title,
            example.classes,
            estimator,
            example.maps,
            example.signed or {},
            label=example.classes.target,
            steps=_example_steps(store, example),
        )
        for example in examples
        if example.classes is not None
    ]
    accuracy = summary["accuracy"]
    return explorer.write_explorer(
        out / explorer.EXPLORER,
        subjects,
        title=title,
        about={
            "Network": explorer.network_name(results["network"]),
            "Estimator": estimator,
            "Accuracy": "no labels" if accuracy is None else f"{100 * accuracy:.2f} %",
        },
        notes=[
            *([f"Note on the data: {note}"] if note else []),
            *(
                ["The images are the first correctly classified one of each class."]
                * bool(subjects)
            ),
        ],
        plots=explorer.result_plots(summary),
        tables=explorer.result_tables(summary),
    )


def _example_steps(store: Store, example: Example) -> explorer.Steps | None:
    """The small steps of an example, if the study stores them."""
    arrays, names = store.arrays(), store.manifest["names"]
    if "step_change" not in arrays or example.number is None:
        return None
    return explorer.Steps(
        tuple(names["step_map"]),
        tuple(names["epsilon"]),
        arrays["step_change"][example.number],
        arrays["step_moved"][example.number],
    )


def _figures(summary: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """By file name, the curves to draw: the five maps apart from others, so that both can be read.

    The controls are in every figure. Figures without a map are left out.
    """
    found = {}
    for stem, parts in (("curves", ("curves", "controls")), ("curves_imputed", ("imputation",))):
        curves = [curve for part in parts for curve in summary.get(part, [])]
        own = [curve["map"] in METHODS for curve in curves]
        control = [curve["map"] not in ALL_METHODS for curve in curves]
        for suffix, wanted in (("", True), ("_others", False)):
            drawn = [
                curve
                for curve, five, no_map in zip(curves, own, control, strict=True)
                if no_map or five == wanted
            ]
            if any(curve["map"] in ALL_METHODS for curve in drawn):
                found[f"{stem}{suffix}.png"] = drawn
    return found


def _write_per_image(store: Store, path: Path) -> Path:
    names, stored = store.manifest["names"], store.arrays()
    arrays: dict[str, Any] = {name: read_rows(store, key) for key, name in _PER_IMAGE.items()}
    arrays |= {name: read_rows(store, name) for name in _CURVES if name in stored}
    arrays["numbers"] = store.available()
    for dimension in ("curve", "insertion_curve"):
        if dimension in names:
            arrays[f"{dimension}s"] = np.asarray([name.split() for name in names[dimension]])
            arrays["fractions"] = np.asarray(names["fraction"])
    return _files.write_atomically(path, lambda file: np.savez_compressed(file, **arrays))
