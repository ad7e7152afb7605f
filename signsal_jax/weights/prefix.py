"""Names that a training program has put a common prefix before, such as `module.`."""

from collections.abc import Mapping
from typing import Any

from signsal_jax.weights.tables import select_layout

_MOST_PARTS = 4


def without_prefix(name: str, arrays: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """The arrays under the names of an architecture's layouts, and the prefix that was removed.

    Leading parts that all names share are removed (torch's DataParallel puts `module.` there,
    training programs `model.` or `net.`) as far as more of the names are then known.

    Args:
      name: the architecture, one of `ARCHITECTURES`.
      arrays: by source key.

    Returns:
      Arrays by their shorter names, and the prefix with its dot; the empty one where none helps.

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
