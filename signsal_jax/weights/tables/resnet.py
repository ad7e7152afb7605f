"""ResNet-18, 34 and 50."""

from signsal_jax.weights.table import (
    IMAGENET_CROP,
    IMAGENET_MEAN,
    IMAGENET_STD,
    Layout,
    Rules,
    batch_norm,
    conv,
    linear,
)

# Blocks per stage, and convolutions per block.
_SHAPES = {
    "resnet18": ((2, 2, 2, 2), 2),
    "resnet34": ((3, 4, 6, 3), 2),
    "resnet50": ((3, 4, 6, 3), 3),
}


def layouts(name: str) -> tuple[Layout, ...]:
    """The names in torchvision, which are also timm's, and in Hugging Face's transformers."""
    return _torchvision(name), _transformers(name)


def _projected(stage: int, index: int, convs: int) -> bool:
    """Whether a shortcut changes the shape; for bottlenecks, already in the first stage."""
    return index == 0 and (stage > 0 or convs == 3)


def _torchvision(name: str) -> Layout:
    depths, convs = _SHAPES[name]
    rules: Rules = [*conv("conv1", "stem", use_bias=False), *batch_norm("bn1", "stem_bn")]
    block = 0
    for stage, depth in enumerate(depths):
        for index in range(depth):
            source, path = f"layer{stage + 1}.{index}", f"blocks.{block}"
            for i in range(1, convs + 1):
                rules += conv(f"{source}.conv{i}", f"{path}.conv{i}", use_bias=False)
                rules += batch_norm(f"{source}.bn{i}", f"{path}.bn{i}")
            if _projected(stage, index, convs):
                shortcut = f"{path}.projection"
                rules += conv(f"{source}.downsample.0", f"{shortcut}.conv", use_bias=False)
                rules += batch_norm(f"{source}.downsample.1", f"{shortcut}.bn")
            block += 1
    rules += linear("fc", "classifier")
    return Layout(
        name,
        "torchvision, timm",
        tuple(rules),
        "fc.weight",
        IMAGENET_MEAN,
        IMAGENET_STD,
        IMAGENET_CROP,
    )


def _conv_norm(source: str, conv_path: str, norm_path: str) -> Rules:
    return [
        *conv(f"{source}.convolution", conv_path, use_bias=False),
        *batch_norm(f"{source}.normalization", norm_path),
    ]


def _transformers(name: str) -> Layout:
    depths, convs = _SHAPES[name]
    rules = _conv_norm("resnet.embedder.embedder", "stem", "stem_bn")
    block = 0
    for stage, depth in enumerate(depths):
        for index in range(depth):
            source = f"resnet.encoder.stages.{stage}.layers.{index}"
            path = f"blocks.{block}"
            for i in range(convs):
                conv_path, norm_path = f"{path}.conv{i + 1}", f"{path}.bn{i + 1}"
                rules += _conv_norm(f"{source}.layer.{i}", conv_path, norm_path)
            if _projected(stage, index, convs):
                shortcut = f"{path}.projection"
                rules += _conv_norm(f"{source}.shortcut", f"{shortcut}.conv", f"{shortcut}.bn")
            block += 1
    rules += linear("classifier.1", "classifier")
    return Layout(
        name,
        "transformers",
        tuple(rules),
        "classifier.1.weight",
        IMAGENET_MEAN,
        IMAGENET_STD,
        IMAGENET_CROP,
        interpolation="bicubic",
    )
