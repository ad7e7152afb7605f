"""Records the attributions of captum, zennit and PAIR saliency, for the tests to compare with.

    pip install -e '.[bench]' && python scripts/record_attribution_parity.py

Both sides fill their weights and images from the same seed, so only results are stored. Takes a
minute on 2 cores; writes tests/data/attribution_parity.npz. With the folder ../shared beside the
repository, it also records the CIFAR-10 ResNet-20 with trained weights.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from scripts.record_parity import seeded_arrays

ROOT = Path(__file__).parents[1]
DATA = ROOT / "tests" / "data" / "attribution_parity.npz"
TRAINED = ROOT.parent / "shared" / "weights" / "resnet20-cifar10.safetensors"
SEED, TARGET = 5, 1
SIZES = {"small": 12, "resnet20": 32, "resnet20_trained": 32}
"""The networks and the side of their image."""
STEPS, SAMPLES, NOISE, MAX_SIGMA = 5, 3, 0.1, 3.0
FRACTION, MAX_DISTANCE = 0.3, 0.1
EPSILON = 1e-12
MEAN, STD = (0.5, 0.4, 0.45), (0.25, 0.3, 0.2)
"""The preprocessing in front of the network for composites that know the range of pixels."""
SMALL_SHAPES = {
    "conv1.weight": (6, 3, 3, 3),
    "conv1.bias": (6,),
    "conv2.weight": (8, 6, 3, 3),
    "bn2.weight": (8,),
    "bn2.bias": (8,),
    "bn2.running_mean": (8,),
    "bn2.running_var": (8,),
    "fc1.weight": (10, 72),
    "fc1.bias": (10,),
    "fc2.weight": (4, 10),
    "fc2.bias": (4,),
}
Attribute = Callable[[Any, Any], Any]


def image_of(name: str) -> np.ndarray:
    """One image `[1, size, size, 3]` in [0, 1], in float64."""
    shape = (1, SIZES[name], SIZES[name], 3)
    return np.random.default_rng(SEED).uniform(size=shape)


def summarize(values: np.ndarray) -> dict[str, np.ndarray]:
    """Summarizes an attribution `[h, w, c]`: a grid of its values, largest value and projection."""
    step = max(values.shape[0] // 12, 1)
    direction = np.random.default_rng(SEED).standard_normal(values.shape)
    return {
        "grid": values[::step, ::step],
        "largest": abs(values).max(),
        "projection": (values * direction).sum(),
    }


def _small(add: Callable[[], Any]) -> Any:
    import torch  # pyright: ignore[reportMissingImports]

    nn = torch.nn

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1, self.relu1 = nn.Conv2d(3, 6, 3, padding=1), nn.ReLU()
            self.max_pool = nn.MaxPool2d(2)
            self.conv2 = nn.Conv2d(6, 8, 3, padding=1, bias=False)
            self.bn2, self.relu2 = nn.BatchNorm2d(8), nn.ReLU()
            self.avg_pool = nn.AvgPool2d(2)
            self.fc1, self.relu3, self.fc2 = nn.Linear(72, 10), nn.ReLU(), nn.Linear(10, 4)
            self.features = self.relu2

        def forward(self, x: Any) -> Any:
            x = self.max_pool(self.relu1(self.conv1(x)))
            x = self.avg_pool(self.features(self.bn2(self.conv2(x))))
            return self.fc2(self.relu3(self.fc1(x.flatten(1))))

    return Network()


def _resnet20(add: Callable[[], Any]) -> Any:
    import torch  # pyright: ignore[reportMissingImports]

    nn = torch.nn

    class Block(nn.Module):
        def __init__(self, before: int, after: int) -> None:
            super().__init__()
            stride = 1 if before == after else 2
            self.conv1 = nn.Conv2d(before, after, 3, stride, padding=1, bias=False)
            self.bn1, self.relu1 = nn.BatchNorm2d(after), nn.ReLU()
            self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
            self.bn2, self.add, self.relu2 = nn.BatchNorm2d(after), add(), nn.ReLU()
            self.stride, self.new = stride, (after - before) // 2

        def forward(self, x: Any) -> Any:
            # captum multiplies what arrives at the tensor that a module reads by its values, so
            # the two branches must not read the same tensor.
            y = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x.clone())))))
            short = x[:, :, :: self.stride, :: self.stride]
            short = nn.functional.pad(short, (0, 0, 0, 0, self.new, self.new))
            return self.relu2(self.add(y, short))

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
            self.bn1, self.relu1 = nn.BatchNorm2d(16), nn.ReLU()
            widths = [(16, 16, 16), (16, 32, 32), (32, 64, 64)]
            for index, (before, first, after) in enumerate(widths, 1):
                rest = [Block(after, after) for _ in range(2)]
                self.add_module(f"layer{index}", nn.Sequential(Block(before, first), *rest))
            self.avg_pool, self.linear = nn.AdaptiveAvgPool2d(1), nn.Linear(64, 10)

        @property
        def features(self) -> Any:
            return self.layer3[2].relu2

        def forward(self, x: Any) -> Any:
            x = self.relu1(self.bn1(self.conv1(x)))
            x = self.layer3(self.layer2(self.layer1(x)))
            return self.linear(self.avg_pool(x).flatten(1))

    return Network()


def build(name: str, arrays: Mapping[str, np.ndarray] | None, add: Callable[[], Any]) -> Any:
    """A network in float64; `add` makes the modules that add up residuals."""
    import torch  # pyright: ignore[reportMissingImports]

    network = (_small if name == "small" else _resnet20)(add)
    state = network.state_dict()
    counters = {key: value for key, value in state.items() if "num_batches" in key}
    if arrays is None:
        arrays = seeded_arrays({k: tuple(v.shape) for k, v in state.items() if k not in counters})
    weights = {key: torch.from_numpy(np.array(arrays[key])) for key in state if key not in counters}
    network.load_state_dict(weights | counters)
    return network.double().eval()


def captum_methods(noise: np.ndarray) -> dict[str, Attribute]:
    """captum's methods by the name of ours."""
    import torch  # pyright: ignore[reportMissingImports]
    from captum import attr  # pyright: ignore[reportMissingImports]
    from captum.attr._utils import lrp_rules  # pyright: ignore[reportMissingImports]

    def smooth_grad(net: Any, x: Any) -> Any:
        drawn = torch.from_numpy(np.ascontiguousarray(noise.transpose(0, 3, 1, 2)))
        tunnel = attr.NoiseTunnel(attr.Saliency(net))
        with mock.patch.object(torch, "normal", return_value=drawn):
            return tunnel.attribute(x, nt_samples=SAMPLES, stdevs=NOISE, target=TARGET, abs=False)

    def lrp(net: Any, x: Any) -> Any:
        # captum adds epsilon to a convolution and to its normalization, we add it to their product:
        # its default of 1e-9 is large enough to tell the two apart.
        for module in net.modules():
            if not isinstance(module, torch.nn.ReLU) and not list(module.children()):
                module.rule = lrp_rules.EpsilonRule(EPSILON)
        return attr.LRP(net).attribute(x, TARGET)

    def cam(net: Any, x: Any) -> Any:
        values = attr.LayerGradCam(net, net.features).attribute(x, TARGET)
        return _scaled_up(values, x)

    def layer_cam(net: Any, x: Any) -> Any:
        # Behind a ReLU, the positive part of the product is that of the gradient.
        values = attr.LayerGradientXActivation(net, net.features).attribute(x, TARGET)
        return _scaled_up(values.clamp(min=0).sum(1, keepdim=True), x)

    def _scaled_up(values: Any, x: Any) -> Any:
        return attr.LayerAttribution.interpolate(values, x.shape[2:], "bilinear").expand(x.shape)

    return {
        "plain": lambda net, x: attr.Saliency(net).attribute(x, TARGET, abs=False),
        "integrated_gradients": lambda net, x: attr.IntegratedGradients(net).attribute(
            x, 0.0, TARGET, n_steps=STEPS, method="riemann_middle"
        ),
        "smooth_grad": smooth_grad,
        "guided_backprop": lambda net, x: attr.GuidedBackprop(net).attribute(x, TARGET),
        "deconvnet": lambda net, x: attr.Deconvolution(net).attribute(x, TARGET),
        "grad_cam": cam,
        "layer_cam": layer_cam,
        "lrp_captum": lrp,
    }


def zennit_methods() -> dict[str, Attribute]:
    """zennit's composites by the name of our rules; batch norms become part of convolutions."""
    import torch  # pyright: ignore[reportMissingImports]
    from zennit import canonizers, composites  # pyright: ignore[reportMissingImports]

    mean, std = (torch.tensor(values).double().reshape(1, 3, 1, 1) for values in (MEAN, STD))

    def of(make: Callable[..., Any], **settings: Any) -> Attribute:
        def attribute(net: Any, x: Any) -> Any:
            composite = make(canonizers=[canonizers.SequentialMergeBatchNorm()], **settings)
            # Merging leaves a normalization that still divides by sqrt(1 + eps).
            for module in net.modules():
                if isinstance(module, torch.nn.BatchNorm2d):
                    module.running_var += module.eps
                    module.eps = 0.0
            x = ((x - mean) / std).detach().requires_grad_()
            with composite.context(net) as modified:
                scores = modified(x)
                start = scores.detach() * torch.eye(scores.shape[1])[[TARGET]]
                return torch.autograd.grad(scores, x, start)[0]

        return attribute

    return {
        "epsilon_plus": of(composites.EpsilonPlus),
        "epsilon_plus_flat": of(composites.EpsilonPlusFlat),
        "epsilon_alpha_beta": of(composites.EpsilonAlpha2Beta1),
        "epsilon_alpha_beta_flat": of(composites.EpsilonAlpha2Beta1Flat),
        "epsilon_gamma_box": of(
            composites.EpsilonGammaBox, low=(0 - mean) / std, high=(1 - mean) / std
        ),
    }


def saliency_methods() -> dict[str, Attribute]:
    """Methods of PAIR saliency by the name of ours."""
    import saliency.core as pair  # pyright: ignore[reportMissingImports]
    import torch  # pyright: ignore[reportMissingImports]

    def of(method: Any, **settings: Any) -> Attribute:
        def attribute(net: Any, x: Any) -> Any:
            def call(images: np.ndarray, **_: Any) -> dict[str, np.ndarray]:
                pixels = torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).requires_grad_()
                gradient = torch.autograd.grad(net(pixels)[:, TARGET].sum(), pixels)[0]
                return {pair.INPUT_OUTPUT_GRADIENTS: gradient.permute(0, 2, 3, 1).numpy()}

            image = x[0].permute(1, 2, 0).detach().numpy()
            quantile: Any = np.quantile

            def older(values: Any, q: float, interpolation: str) -> Any:  # before NumPy 2.4
                return quantile(values, q, method=interpolation)

            with mock.patch.object(np, "quantile", older):
                values = method.GetMask(image, call, **settings)
            return torch.from_numpy(values).permute(2, 0, 1)[None]

        return attribute

    return {
        "guided_integrated_gradients": of(
            pair.GuidedIG(), x_steps=STEPS, fraction=FRACTION, max_dist=MAX_DISTANCE
        ),
        "blur_integrated_gradients": of(
            pair.BlurIG(), max_sigma=MAX_SIGMA, steps=STEPS, grad_step=MAX_SIGMA / STEPS
        ),
    }


def drawn_noise(name: str) -> np.ndarray:
    """The noise `[samples, h, w, c]` that `signsal_jax.smooth_grad` draws."""
    import jax

    import signsal_jax

    with jax.enable_x64(True):
        estimator: Any = signsal_jax.smooth_grad(jax.random.key(SEED), SAMPLES, NOISE)
        return np.asarray(estimator.places(jax.numpy.asarray(image_of(name))).values)[:, 0]


def record(name: str, arrays: Mapping[str, np.ndarray] | None) -> dict[str, np.ndarray]:
    """Summaries of all attributions of a network's target class, under "name/method/key"."""
    import torch  # pyright: ignore[reportMissingImports]
    from captum.attr._utils.custom_modules import (  # pyright: ignore[reportMissingImports]
        Addition_Module,
    )
    from zennit import layer  # pyright: ignore[reportMissingImports]

    class Sum(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.sum = layer.Sum()  # zennit's rules see one operand of a module

        def forward(self, *summands: Any) -> Any:
            return self.sum(torch.stack(summands, -1))

    pixels = torch.from_numpy(image_of(name)).permute(0, 3, 1, 2).contiguous()
    methods = {
        method: (Addition_Module, f) for method, f in captum_methods(drawn_noise(name)).items()
    }
    methods |= {method: (Sum, f) for method, f in zennit_methods().items()}
    methods |= {method: (Sum, f) for method, f in saliency_methods().items()}
    recorded = {}
    for method, (add, attribute) in methods.items():
        network = build(name, arrays, add)
        values = attribute(network, pixels.clone().requires_grad_())
        values = values.detach()[0].permute(1, 2, 0).numpy()
        print(f"  {method}: largest {abs(values).max():.3g}")
        for key, value in summarize(values).items():
            recorded[f"{name}/{method}/{key}"] = np.asarray(value)
    return recorded


def main() -> None:
    from safetensors.numpy import load_file

    recorded = {}
    for name in SIZES:
        arrays = None
        if name == "resnet20_trained":
            if not TRAINED.exists():
                print(f"{name}: skipped, needs {TRAINED}")
                continue
            arrays = load_file(TRAINED)
        print(name)
        recorded |= record(name, arrays)
    temporary = DATA.with_suffix(".part")
    with temporary.open("wb") as file:
        np.savez_compressed(file, **recorded)
    os.replace(temporary, DATA)
    print(f"{DATA}: {DATA.stat().st_size} bytes")


if __name__ == "__main__":
    main()
