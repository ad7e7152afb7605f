"""ResNet-20, 32, 44 and 56 for CIFAR, with the parameter-free shortcut."""

from signsal_jax.weights.table import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Layout,
    Rules,
    batch_norm,
    conv,
    linear,
)


def layouts(name: str) -> tuple[Layout, ...]:
    """The names in Yerlan Idelbayev's PyTorch networks, which use ImageNet's mean and std."""
    rules: Rules = [*conv("conv1", "stem", use_bias=False), *batch_norm("bn1", "stem_bn")]
    per_stage = (int(name.removeprefix("cifar_resnet")) - 2) // 6
    for block in range(3 * per_stage):
        source, path = f"layer{block // per_stage + 1}.{block % per_stage}", f"blocks.{block}"
        for i in (1, 2):
            rules += conv(f"{source}.conv{i}", f"{path}.conv{i}", use_bias=False)
            rules += batch_norm(f"{source}.bn{i}", f"{path}.bn{i}")
    rules += linear("linear", "classifier")
    source = "akamaster/pytorch_resnet_cifar10"
    layout = Layout(name, source, tuple(rules), "linear.weight", IMAGENET_MEAN, IMAGENET_STD)
    return (layout,)
