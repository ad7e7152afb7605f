"""Conversion of source arrays to variables through a table: a bijection, or an error."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from signsal_jax.weights.errors import WeightsError, listed, printable
from signsal_jax.weights.table import Layout
from signsal_jax.weights.tables import identify

# Names listed in a message: more than any network of the zoo has.
_MOST_NAMES = 500


def count_classes(arrays: Mapping[str, np.ndarray], layout: Layout) -> int | None:
    """The number of classes that weights were trained for; None if they lack the classifier.

    Raises:
      WeightsError: fewer than two.

    >>> import numpy as np
    >>> from signsal_jax.weights import layouts
    >>> count_classes({"fc.weight": np.zeros((10, 512))}, layouts("resnet18")[0])
    10
    """
    for key in (layout.classifier, layout.classifier.removesuffix("weight") + "bias"):
        if key not in arrays or arrays[key].ndim == 0:
            continue
        if len(arrays[key]) < 2:
            shape = list(arrays[key].shape)
            raise WeightsError(f"{key}: expected two or more classes, got shape {shape}")
        return len(arrays[key])
    return None


def source_shapes(layout: Layout, variables: Any) -> dict[str, tuple[int, ...]]:
    """The expected shape of every key of a source, for a network with these variables.

    Args:
      layout: the source's table.
      variables: a nested dict of arrays or `jax.ShapeDtypeStruct`, as from `nnx.to_pure_dict`.

    Raises:
      WeightsError: table and variables are not of the same architecture.
    """
    shapes = {path: leaf.shape for path, leaf in _named_leaves(variables).items()}
    rules = layout.required
    paths = [rule.path for parts in rules.values() for rule in parts]
    if sorted(paths) != sorted(shapes):
        odd = sorted(set(paths) ^ set(shapes))
        raise WeightsError(
            f"expected the variables of a {layout.architecture} ({layout.source}), got others: "
            f"they differ in {', '.join(odd)}"
        )
    return {
        key: parts[0].transform.source_shape(shapes[parts[0].path]) for key, parts in rules.items()
    }


def convert(arrays: Mapping[str, np.ndarray], layout: Layout, variables: Any) -> Any:
    """Converts the arrays of a weights file to a network's variables.

    Every key of the file must be used, every variable given, every shape right and every number
    finite; otherwise nothing is converted and one error lists everything that is wrong.

    Args:
      arrays: by source key, in the source's layout; any floating dtype.
      layout: the source's table, see `layouts` and `select_layout`.
      variables: the network's variables as a nested dict of arrays or `jax.ShapeDtypeStruct`, as
        from `nnx.to_pure_dict`; only structure, shapes and dtypes are used.

    Returns:
      Variables of the same structure, shapes and dtypes.

    Raises:
      WeightsError: missing, unused, mis-shaped, non-floating or non-finite arrays, or negative
        variances.

    >>> import jax, numpy as np
    >>> from signsal_jax.weights import Layout, Rule
    >>> layout = Layout("toy", "torch", (Rule("fc.bias", "head.bias"),), "fc.bias")
    >>> shapes = {"head": {"bias": jax.ShapeDtypeStruct((2,), np.float32)}}
    >>> convert({"fc.bias": np.array([1.0, 2.0])}, layout, shapes)["head"]["bias"].tolist()
    [1.0, 2.0]
    >>> convert({"fc.weight": np.zeros((2, 3))}, layout, shapes)
    Traceback (most recent call last):
    ...
    signsal_jax.weights.errors.WeightsError: weights that do not fit toy (torch)
      missing (1): fc.bias
      unused (1): fc.weight
    """
    shapes = source_shapes(layout, variables)
    rules = layout.required
    leaves = _named_leaves(variables)
    problems: dict[str, list[str]] = {
        "missing": list(rules.keys() - arrays.keys()),
        "unused": [printable(key) for key in arrays.keys() - rules.keys() - layout.ignorable],
        "of another shape": [],
        "not floating point": [],
        "not finite": [],
        "negative variances": [],
    }
    converted: dict[str, np.ndarray] = {}
    for key in rules.keys() & arrays.keys():
        array = arrays[key]
        if array.shape != shapes[key]:
            expected, got = list(shapes[key]), list(array.shape)
            problems["of another shape"].append(f"{key} (expected {expected}, got {got})")
            continue
        if not jnp.issubdtype(array.dtype, jnp.floating):
            problems["not floating point"].append(f"{key} ({array.dtype})")
            continue
        for rule in rules[key]:
            with np.errstate(over="ignore"):  # overflow gives infinity, reported below
                value = rule.transform.apply(array).astype(leaves[rule.path].dtype)
            converted[rule.path] = value
            if not np.isfinite(value).all():
                wrong = int(np.sum(~np.isfinite(value)))
                problems["not finite"].append(f"{key} ({wrong} of {value.size} numbers)")
            elif rule.path.endswith(".var") and (value < 0).any():
                problems["negative variances"].append(key)
    if any(problems.values()):
        raise _error(layout, arrays, problems, shapes)
    return jax.tree_util.tree_map_with_path(
        lambda path, _: jnp.asarray(converted[_name(path)]), variables
    )


def _name(path: tuple[Any, ...]) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=".")


def _named_leaves(variables: Any) -> dict[str, Any]:
    return {_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(variables)}


def _error(
    layout: Layout,
    arrays: Mapping[str, np.ndarray],
    problems: Mapping[str, list[str]],
    shapes: Mapping[str, tuple[int, ...]] | None = None,
) -> WeightsError:
    lines = [f"weights that do not fit {layout.architecture} ({layout.source})"]
    known = identify(arrays)
    if known is not None and known.architecture != layout.architecture:
        lines.append(f"  expected a {layout.architecture}, got a {known.architecture}")
    key = layout.classifier
    if shapes and key in arrays and arrays[key].shape[1:] == shapes[key][1:]:
        expected, got = shapes[key][0], arrays[key].shape[0]
        if expected != got:
            lines.append(f"  expected {expected} classes, got {got}")
    for problem, keys in problems.items():
        if keys:
            lines.append(f"  {problem} ({len(keys)}): {listed(sorted(keys), _MOST_NAMES)}")
    return WeightsError("\n".join(lines))
