"""ConvNeXt-Tiny."""

from collections.abc import Callable
from typing import NamedTuple

from signsal_jax.weights.table import (
    CHANNELS_FIRST_SCALE,
    IDENTITY,
    IMAGENET_CROP,
    IMAGENET_MEAN,
    IMAGENET_STD,
    Layout,
    Rule,
    Rules,
    Transform,
    conv,
    layer_norm,
    linear,
)

_DEPTHS = (3, 3, 9, 3)


class _Names(NamedTuple):
    """One source's names for the parts that all sources have."""

    source: str
    stem: str
    stem_norm: str
    block: Callable[[int, int], str]
    conv: str
    norm: str
    expand: str
    project: str
    layer_scale: str
    downsample: Callable[[int], str]
    final_norm: str
    classifier: str
    scale_transform: Transform = IDENTITY
    crop: float = IMAGENET_CROP
    interpolation: str = "bicubic"


_SOURCES = (
    _Names(
        source="torchvision",
        stem="features.0.0",
        stem_norm="features.0.1",
        block=lambda stage, index: f"features.{2 * stage + 1}.{index}",
        conv="block.0",
        norm="block.2",
        expand="block.3",
        project="block.5",
        layer_scale="layer_scale",
        downsample=lambda stage: f"features.{2 * stage}",
        final_norm="classifier.0",
        classifier="classifier.2",
        scale_transform=CHANNELS_FIRST_SCALE,
        crop=224 / 236,
        interpolation="bilinear",
    ),
    _Names(
        source="timm",
        stem="stem.0",
        stem_norm="stem.1",
        block=lambda stage, index: f"stages.{stage}.blocks.{index}",
        conv="conv_dw",
        norm="norm",
        expand="mlp.fc1",
        project="mlp.fc2",
        layer_scale="gamma",
        downsample=lambda stage: f"stages.{stage}.downsample",
        final_norm="head.norm",
        classifier="head.fc",
    ),
    _Names(
        source="transformers",
        stem="convnext.embeddings.patch_embeddings",
        stem_norm="convnext.embeddings.layernorm",
        block=lambda stage, index: f"convnext.encoder.stages.{stage}.layers.{index}",
        conv="dwconv",
        norm="layernorm",
        expand="pwconv1",
        project="pwconv2",
        layer_scale="layer_scale_parameter",
        downsample=lambda stage: f"convnext.encoder.stages.{stage}.downsampling_layer",
        final_norm="convnext.layernorm",
        classifier="classifier",
    ),
)


def layouts(name: str) -> tuple[Layout, ...]:
    """The names in torchvision, timm and Hugging Face's transformers."""
    return tuple(_layout(name, names) for names in _SOURCES)


def _layout(name: str, names: _Names) -> Layout:
    rules: Rules = [*conv(names.stem, "stem"), *layer_norm(names.stem_norm, "stem_norm")]
    for stage, depth in enumerate(_DEPTHS):
        if stage > 0:
            source, path = names.downsample(stage), f"downsamples.{stage - 1}"
            rules += layer_norm(f"{source}.0", f"{path}.norm")
            rules += conv(f"{source}.1", f"{path}.conv")
        for index in range(depth):
            source, path = names.block(stage, index), f"stages.{stage}.{index}"
            rules += conv(f"{source}.{names.conv}", f"{path}.conv")
            rules += layer_norm(f"{source}.{names.norm}", f"{path}.norm")
            rules += linear(f"{source}.{names.expand}", f"{path}.expand")
            rules += linear(f"{source}.{names.project}", f"{path}.project")
            scale = f"{source}.{names.layer_scale}"
            rules.append(Rule(scale, f"{path}.layer_scale", names.scale_transform))
    rules += layer_norm(names.final_norm, "norm")
    rules += linear(names.classifier, "classifier")
    return Layout(
        name,
        names.source,
        tuple(rules),
        f"{names.classifier}.weight",
        IMAGENET_MEAN,
        IMAGENET_STD,
        names.crop,
        names.interpolation,
    )
