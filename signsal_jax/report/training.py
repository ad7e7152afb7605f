"""Training curves."""

import csv
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from signsal_jax.report.canvas import AS_WRITTEN, grid

_PANELS = {"loss": ("train_loss",), "accuracy": ("train_accuracy", "test_accuracy")}
# Okabe and Ito's blue and vermilion.
_COLORS = {"train": "#0072b2", "test": "#d55e00"}


def plot_training(run: Path, *, axes: Any = None) -> Figure:
    """Draws the loss and the accuracies of a training run over its epochs.

    Args:
      run: the folder of `python -m train`, finished or not, or its metrics.csv.
      axes: two axes to draw into; None for a new figure.

    Returns:
      The figure: every recorded training loss and accuracy, and the accuracy on the test split.

    Raises:
      ValueError: no file of metrics, or none of a training.

    >>> import tempfile
    >>> from pathlib import Path
    >>> from signsal_jax import report
    >>> path = Path(tempfile.mkdtemp(), "metrics.csv")
    >>> head = "step,epoch,train_loss,train_accuracy,test_accuracy"
    >>> _ = path.write_text(f"{head}\\n10,0.5,2.1,0.2,\\n20,1.0,1.9,0.3,0.25\\n")
    >>> figure = report.plot_training(path)
    >>> [line.get_label() for line in figure.axes[1].lines]
    ['train', 'test']
    """
    path = Path(run)
    path = path / "metrics.csv" if path.is_dir() else path
    if not path.is_file():
        raise ValueError(f"run: expected the folder of a training or its metrics.csv, got {run}")
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    missing = {"epoch", *(key for keys in _PANELS.values() for key in keys)} - {*(rows or [{}])[0]}
    if missing:
        raise ValueError(f"{path}: expected columns {', '.join(sorted(missing))}, got none of them")
    figure, panels = grid(axes, 1, len(_PANELS), size=(4.2, 3.0))
    for axis, (title, keys) in zip(panels[0], _PANELS.items(), strict=True):
        for key in keys:
            split = key.partition("_")[0]
            # The last line of a run that goes on can be cut short.
            points = [(float(row["epoch"]), float(row[key])) for row in rows if row[key]]
            style = "o-" if len(points) < 2 or split == "test" else "-"
            x, y = zip(*points, strict=True) if points else ((), ())
            axis.plot(x, y, style, ms=3, lw=1.3, color=_COLORS[split], label=split)
        axis.set_xlabel("epoch")
        axis.set_ylabel(title, **AS_WRITTEN)
        axis.grid(alpha=0.3)
        if len(keys) > 1:
            axis.legend(fontsize=8)
    return figure
