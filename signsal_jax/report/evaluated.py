"""Recorded evaluations of the paper's networks, read from the files of `signsal evaluate`."""

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from signsal_jax.report.published import PUBLISHED, SEED, Figure, matching, training, unlike

RESULTS = "results.json"


class Evaluated(NamedTuple):
    """Recorded results that can be compared with the paper's.

    Attributes:
      name: of the paper's network, a key of `PUBLISHED`.
      content: of results.json.
    """

    name: str
    content: dict[str, Any]

    @property
    def title(self) -> str:
        """The network, and the training's seed if it is not the paper's."""
        seed = training(self.content).get("seed", SEED)
        return PUBLISHED[self.name].title + ("" if seed == SEED else f" (seed {seed})")

    def figure(self, key: Figure) -> dict[str, float]:
        """Our figure with its 95 % interval."""
        results = self.content["results"]
        if isinstance(key, str):
            low, high = wilson(results[key], results["images"])
            return {"mean": results[key], "low": low, "high": high}
        return next(c for c in results["curves"] if (c["fill"], c["map"]) == key)["auc"]


def wilson(share: float, images: int) -> tuple[float, float]:
    """The 95 % interval of a share measured on this many images (Wilson 1927).

    >>> from signsal_jax.report.evaluated import wilson
    >>> [round(bound, 4) for bound in wilson(0.65, 100)]
    [0.5525, 0.7364]
    """
    z = 1.959964
    center = share + z**2 / (2 * images)
    half = z * math.sqrt(share * (1 - share) / images + z**2 / (4 * images**2))
    scale = 1 + z**2 / images
    return (center - half) / scale, (center + half) / scale


def read_evaluations(paths: Iterable[Path]) -> tuple[list[Evaluated], list[str]]:
    """Reads recorded results of the paper's networks.

    Args:
      paths: results files of `signsal evaluate`, their folders, or folders of such files.

    Returns:
      The results, and what was left out, with the reason.

    Raises:
      ValueError: a file or folder without results of `signsal evaluate`; none of the paper's.
    """
    found, left_out = [], []
    for path in paths:
        before = len(found) + len(left_out)
        for file in _files_of(path):
            content = _evaluation(file)
            if content is None:
                continue
            name = matching(content)
            if name is None:
                left_out.append(f"{file.name}: {_reason(content)}")
            else:
                found.append(Evaluated(name, content))
        if len(found) + len(left_out) == before:
            raise ValueError(f"{path}: expected results of signsal evaluate, found none")
    if not found:
        raise ValueError(
            f"--paper: expected results of a network of the paper, got {'; '.join(left_out)}"
        )
    order = [*PUBLISHED]
    found.sort(key=lambda one: (order.index(one.name), training(one.content).get("seed", SEED)))
    return found, left_out


def _files_of(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    own = path / RESULTS
    return [own] if own.exists() else sorted(path.glob("*.json"))


def _evaluation(file: Path) -> dict[str, Any] | None:
    """The content of a results file, None for any other."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        known = content["results"]["curves"] and content["dataset"]["split"]
        return content if known and "network" in content else None
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _reason(content: dict[str, Any]) -> str:
    """Why results can be compared with no network of the paper."""
    data, model = content["dataset"]["name"], training(content).get("model")
    near = [
        one for one in PUBLISHED.values() if one.model == model and data.startswith(one.dataset)
    ]
    if not near:
        return f"expected a network and data set of the paper, got {model} on {data}"
    return unlike(content, near[0]) or ""
