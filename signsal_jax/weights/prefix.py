"""Removal of a prefix that a training program put before all names, such as `module.`."""

from collections.abc import Mapping
from typing import Any

from signsal_jax.weights.tables import select_layout

_MOST_PARTS = 4


def without_prefix(name: str, arrays: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """Removes a common prefix, so that the names become those of an architecture's layouts.

    Of the leading parts that all names share (torch's DataParallel adds `module.`, training
    programs `model.` or `net.`), removes as many as make the most names known.

    Args:
      name: the architecture, one of `ARCHITECTURES`.
      arrays: by source key.

    Returns:
      Arrays by their shortened names, and the removed prefix with its dot; "" if none helps.

    >>> without_prefix("resnet18", {"module.conv1.weight": 1, "module.fc.bias": 2})
    ({'conv1.weight': 1, 'fc.bias': 2}, 'module.')
    """
    candidates, prefix, names = {"": dict(arrays)}, "", dict(arrays)
    while len(parts := {key.partition(".")[0] for key in names}) == 1:
        part = f"{parts.pop()}."
        if not all(len(key) > len(part) for key in names) or prefix.count(".") == _MOST_PARTS:
            break
        prefix += part
        names = {key.removeprefix(part): array for key, array in names.items()}
        candidates[prefix] = names

    def known(prefix: str) -> int:
        keys = candidates[prefix].keys()
        return len(select_layout(name, keys).required.keys() & keys)

    best = max(candidates, key=known)
    return candidates[best], best
