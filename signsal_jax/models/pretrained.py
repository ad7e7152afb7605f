"""Networks with trained weights: those in this package, or from any weights file."""

import json
import os
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import jax
from flax import nnx

from signsal_jax import _checks, weights as weight_files
from signsal_jax._types import ApplyFn
from signsal_jax.models.functional import from_nnx
from signsal_jax.models.normalize import Normalize
from signsal_jax.models.registry import MODELS, create, create_backbone, image_size
from signsal_jax.models.resnet import IMAGENET_CLASSES, WithHead

_COLOR = 3

PACKAGED = ("cnn-cifar10", "cnn-imagenette")


class Model(NamedTuple):
    """A classifier ready to be explained: `saliency_maps(model.apply_fn, model.variables, ...)`.

    Attributes:
      apply_fn: `apply_fn(variables, images) -> logits`.
      variables: its weights.
      class_names: the name of every logit.
      input_shape: (height, width, channels) that the weights were trained with.
      origin: the provenance to record with results: network, weights, checksum, preprocessing.
      photos: the cropping and scaling it expects of photos, as arguments of
        `data.photos.read_image`; None if it was trained on images that had `input_shape` already.
    """

    apply_fn: ApplyFn
    variables: Any
    class_names: tuple[str, ...]
    input_shape: tuple[int, int, int]
    origin: Mapping[str, Any]
    photos: Mapping[str, Any] | None = None


def flatten_variables(variables: Any) -> dict[str, Any]:
    """Flattens a pure dict of variables to dotted paths, such as `blocks.0.convs.1.kernel`."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="."): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(variables)
    }


def _own_layout(model: str, pure: Any) -> weight_files.Layout:
    """The conversion table for weights written by this package: every key is a variable's path."""
    rules = tuple(weight_files.Rule(path, path) for path in flatten_variables(pure))
    return weight_files.Layout(model, "signsal_jax", rules, classifier=rules[-1].source)


def _with_variables(network: nnx.Module, arrays: Mapping[str, Any], layout: Any) -> nnx.Module:
    graph, state = nnx.split(network)
    pure = weight_files.convert(arrays, layout, nnx.to_pure_dict(state))
    nnx.replace_by_pure_dict(state, pure)
    return nnx.merge(graph, state)


def load(
    name: str,
    *,
    weights: str | os.PathLike[str] | None = None,
    preprocess: bool = True,
    class_names: Sequence[str] | None = None,
) -> Model:
    """Loads a network with trained weights.

    Args:
      name: "cnn-cifar10" or "cnn-imagenette" (the paper's Basic CNN, trained on JPEG-derived
        CIFAR-10 and on Imagenette at 224x224; both in the package), or a network of `MODELS`, with
        `weights`.
      weights: a safetensors or torch file (read without torch; nothing in it is executed), or
        "hf://owner/name" on the Hugging Face hub (extra `hub`). It holds the network alone or,
        as in the paper, `torch.nn.Sequential(network, Linear)`. A prefix shared by all names,
        such as `module.`, is removed and recorded in the origin. None is allowed only where an
        installable package carries the weights: efficientnet_lite0 (extra `demo`).
      preprocess: whether `apply_fn` normalizes with the mean and standard deviation that the
        weights were trained with; False feeds raw [0, 1] pixels, as the paper does.
      class_names: one per logit; by default ImageNet's for 1000 classes, otherwise the indices.

    Returns:
      `Model`: apply_fn, variables, class names, input shape, and the origin to record.

    Raises:
      TypeError, ValueError: an unknown name, missing or unexpected weights, or class names that
        do not fit; `weights.WeightsError` for a damaged file or weights that do not fit the
        network (one error lists missing, unused and mis-shaped keys).
      OSError, ImportError: a missing file or extra.

    >>> import signsal_jax
    >>> model = signsal_jax.models.load("cnn-cifar10")
    >>> model.input_shape, model.class_names[:2]
    ((32, 32, 3), ('airplane', 'automobile'))
    """
    _checks.check_member("name", name, (*PACKAGED, *MODELS))
    _checks.check_flag("preprocess", preprocess)
    if weights is not None and not isinstance(weights, str | os.PathLike):
        raise TypeError(f"weights: expected a path or an hf:// id, got {type(weights).__name__}")
    _check_class_names(class_names)
    if name in PACKAGED:
        for argument, value in (("weights", weights), ("class_names", class_names)):
            if value is not None:
                raise ValueError(
                    f"{argument}: expected None for {name}, which has its own; got {value}"
                )
        return _load_packaged(name)
    network, origin, layout, channels = _load_published(name, weights, preprocess=preprocess)
    classes = origin["classes"]
    names = _class_names(classes) if class_names is None else tuple(class_names)
    if len(names) != classes:
        raise ValueError(f"class_names: expected {classes} like the weights, got {len(names)}")
    size = image_size(name)
    photos = {"crop": layout.crop, "interpolation": layout.interpolation}
    return Model(*from_nnx(network), names, (size, size, channels), origin, photos)


def _check_class_names(names: Any) -> None:
    if names is None:
        return
    # A string is also a sequence of strings: its letters.
    if isinstance(names, str) or not isinstance(names, Sequence):
        raise TypeError(f"class_names: expected a sequence of names, got {names!r:.80}")
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"class_names: expected strings, got {name!r:.80}")


def load_network(
    name: str, weights: str | os.PathLike[str] | None, *, preprocess: bool
) -> tuple[nnx.Module, dict[str, Any]]:
    """Loads the Flax NNX module of `load`, to put a layer on top, and the origin to record.

    Raises:
      ValueError: weights that already include such a layer; otherwise as in `load`.
    """
    network, origin, layout, _ = _load_published(name, weights, preprocess=preprocess)
    if layout.has_head:
        raise ValueError(f"weights: expected the network alone, {weights} has a layer on top")
    return network, origin


def _load_published(
    name: str, weights: str | os.PathLike[str] | None, *, preprocess: bool
) -> tuple[nnx.Module, dict[str, Any], weight_files.Layout, int]:
    if weights is None:
        if name not in weight_files.PACKAGED:
            raise ValueError(f"weights: expected a file or 'hf://owner/name' for {name}, got None")
        weights = weight_files.packaged(name)
    file = weight_files.read(weights)
    arrays, prefix = weight_files.without_prefix(name, file.arrays)
    layout = weight_files.select_layout(name, arrays)
    try:
        # Without a classifier, assume ImageNet's classes: the error then lists all that is wrong.
        classes = weight_files.count_classes(arrays, layout) or IMAGENET_CLASSES
        channels = _count_channels(arrays, layout)
        network = nnx.eval_shape(lambda: _published(name, layout, classes, channels))
        network = _with_variables(network, arrays, layout)
        if layout.marker is not None and layout.marker not in file.name:
            raise weight_files.WeightsError(
                f"{layout.source} has several networks with these keys, and only "
                f"{layout.marker} is {name}: if this is it, put {layout.marker} in the file's name"
            )
    except weight_files.WeightsError as error:
        raise weight_files.WeightsError(f"{file.source}: {error}") from error
    normalization = None
    if preprocess and layout.mean is not None and len(layout.mean) != channels:
        raise ValueError(
            f"preprocess: expected False for weights of {channels} channels: {layout.source} has "
            f"mean and standard deviation for {len(layout.mean)}"
        )
    if preprocess and layout.mean is not None and layout.std is not None:
        normalization = {"mean": list(layout.mean), "std": list(layout.std)}
        network = Normalize(network, **normalization)
    origin = {
        "model": name,
        "weights": file.name,
        "layout": layout.source,
        "sha256": file.sha256,
        "classes": classes,
        "preprocessing": normalization,
    }
    if prefix:
        origin["prefix"] = prefix
    return network, origin, layout, channels


def _published(name: str, layout: weight_files.Layout, classes: int, channels: int) -> nnx.Module:
    if not layout.has_head:
        return create_backbone(name, classes, in_features=channels)
    return WithHead(create_backbone(name, in_features=channels), classes, rngs=nnx.Rngs(0))


def _count_channels(arrays: Mapping[str, Any], layout: weight_files.Layout) -> int:
    """The number of image channels that weights were trained for; 3 if the file does not say."""
    for key, (rule, *_) in layout.required.items():
        if "stem" in rule.path.split(".") and rule.path.endswith("kernel") and key in arrays:
            shape = arrays[key].shape  # out, in, height, width
            return shape[1] if len(shape) == 4 and shape[1] else _COLOR
    return _COLOR


def _class_names(classes: int) -> tuple[str, ...]:
    if classes != IMAGENET_CLASSES:
        return tuple(str(index) for index in range(classes))
    return tuple(
        (resources.files("signsal_jax.models") / "imagenet_classes.txt").read_text().splitlines()
    )


def _load_packaged(name: str) -> Model:
    path = Path(str(resources.files("signsal_jax.models"))) / "packaged" / f"{name}.safetensors"
    file = weight_files.read(path)
    metadata = json.loads(path.with_suffix(".json").read_text())
    class_names, shape = tuple(metadata["class_names"]), tuple(metadata["input_shape"])
    network = nnx.eval_shape(
        lambda: create(metadata["model"], len(class_names), in_features=shape[2])
    )
    layout = _own_layout(metadata["model"], nnx.to_pure_dict(nnx.state(network)))
    network = _with_variables(network, file.arrays, layout)
    origin = {**metadata, "weights": name, "sha256": file.sha256, "preprocessing": None}
    return Model(*from_nnx(network), class_names, shape, origin)
