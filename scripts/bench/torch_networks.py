"""The same networks in ordinary PyTorch, with our weights."""

import itertools
from collections.abc import Mapping

import numpy as np

from scripts.bench.peer import torch

nn, relu = torch.nn, torch.relu


class CNNBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.convs = nn.ModuleList(
            [
                nn.Conv2d(inputs, outputs, 3, padding=1),
                nn.Conv2d(outputs, outputs, 3, stride=2, padding=1),
                nn.Conv2d(outputs, outputs, 3, padding=1),
            ]
        )

    def forward(self, x):
        for conv in self.convs:
            x = relu(conv(x))
        return x


class BasicCNN(nn.Module):
    def __init__(self, num_classes: int):
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 7, stride=2, padding=3)
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        self.blocks = nn.Sequential(CNNBlock(32, 32), CNNBlock(32, 64), CNNBlock(64, 128))
        self.classifier = nn.Linear(128, num_classes)

    def forward(self, x):
        x = self.blocks(self.pool(relu(self.stem(x))))
        return self.classifier(x.mean((2, 3)))


class Projection(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x):
        return self.bn(self.conv(x))


class BasicBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        changes = stride != 1 or inputs != outputs
        self.projection = Projection(inputs, outputs, stride) if changes else nn.Identity()

    def forward(self, x):
        y = relu(self.bn1(self.conv1(x)))
        return relu(self.bn2(self.conv2(y)) + self.projection(x))


class ResNet18(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.stem_bn = nn.BatchNorm2d(64)
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        widths = (64, 64, 64, 128, 128, 256, 256, 512, 512)
        self.blocks = nn.Sequential(
            *(
                BasicBlock(inputs, outputs, 2 if inputs != outputs else 1)
                for inputs, outputs in itertools.pairwise(widths)
            )
        )
        self.classifier = nn.Linear(512, 1000)

    def forward(self, x):
        x = self.blocks(self.pool(relu(self.stem_bn(self.stem(x)))))
        return self.classifier(x.mean((2, 3)))


class ResNet18WithHead(nn.Module):
    def __init__(self, num_classes: int):
        super().__init__()
        self.backbone = ResNet18()
        self.head = nn.Linear(1000, num_classes)

    def forward(self, x):
        return self.head(self.backbone(x))


NETWORKS = {"cnn": BasicCNN, "resnet18": ResNet18WithHead}
_LEAVES = {
    "kernel": "weight",
    "scale": "weight",
    "mean": "running_mean",
    "var": "running_var",
    "bias": "bias",
}


def to_torch_weights(arrays: Mapping[str, np.ndarray]) -> dict:
    """Our weights by dotted path as a torch state dict: renamed, kernels transposed."""
    state = {}
    for path, array in arrays.items():
        module, _, leaf = path.rpartition(".")
        if leaf == "kernel":
            array = array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T
        state[f"{module}.{_LEAVES[leaf]}"] = torch.from_numpy(array.copy())
    return state


def build(name: str, num_classes: int, arrays: Mapping[str, np.ndarray]):
    """Builds the network in inference mode; raises unless all weights of both sides match."""
    network = NETWORKS[name](num_classes)
    counters = {k: v for k, v in network.state_dict().items() if k.endswith("num_batches_tracked")}
    network.load_state_dict(to_torch_weights(arrays) | counters)
    return network.eval()


def to_torch(images: np.ndarray):
    """Copies images `[b, h, w, c]` to a torch tensor `[b, c, h, w]`."""
    return torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
