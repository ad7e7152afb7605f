"""PyTorch's side of every case, written from the definitions.

Weights need no gradients here (except in training), so no way pays for them.
"""

import importlib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from scripts.bench.peer import torch
from scripts.bench.settings import Compiler, Maker, compiling_network, compiling_whole

_autograd_config = importlib.import_module("torch._functorch.config")


@torch.inference_mode()
def forward(network: Any, images: Any) -> Any:
    """The forward pass, without anything that gradients would need."""
    return network(images)


def loop_of_backwards(network: Any, images: Any, classes: int) -> tuple[Any, Any]:
    """(b) One forward, then a backward per class: logits `[b, k]`, gradients `[k, b, c, h, w]`."""
    images = images.detach().requires_grad_()
    # Otherwise a network compiled here writes its first gradient over what the next ones need.
    with _autograd_config.patch(donated_buffer=False):
        logits = network(images)
    rows = [
        torch.autograd.grad(logits[:, index].sum(), images, retain_graph=index + 1 < classes)[0]
        for index in range(classes)
    ]
    return logits.detach(), torch.stack(rows)


def batched_backwards(network: Any, images: Any, classes: int) -> tuple[Any, Any]:
    """(c) One forward, then all backwards as one batch."""
    images = images.detach().requires_grad_()
    logits = network(images)
    cotangents = torch.eye(classes)[:, None].expand(classes, len(images), classes)
    (rows,) = torch.autograd.grad(logits, images, cotangents, is_grads_batched=True)
    return logits.detach(), rows


def vmap_of_jacrev(network: Any, images: Any, classes: int) -> tuple[Any, Any]:
    """(d) The Jacobian of one image's logits, mapped over the images: `[b, k, c, h, w]`."""

    def scores(image: Any) -> tuple[Any, Any]:
        logits = network(image[None])[0]
        return logits, logits

    rows, logits = torch.func.vmap(torch.func.jacrev(scores, has_aux=True))(images)
    return logits, rows.transpose(0, 1)


def jacobians(classes: int) -> dict[str, Maker]:
    """The ways to the Jacobian of all classes."""
    return {
        "loop of backwards": compiling_network(loop_of_backwards, classes),
        "batched backwards": compiling_network(batched_backwards, classes),
        "vmap(jacrev)": compiling_whole(vmap_of_jacrev, classes),
    }


def _one_gradient(network: Any, images: Any, index: int | None = None) -> tuple[Any, Any]:
    """One forward and one backward of the predicted class, or of class `index`."""
    images = images.detach().requires_grad_()
    logits = network(images)
    scores = logits.amax(1) if index is None else logits[:, index]
    return logits.detach(), torch.autograd.grad(scores.sum(), images)[0]


def _normalized(maps: Any) -> Any:
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    return (maps - low) / (high - low)


def _comparative(network: Any, images: Any, classes: int, sign: int) -> Any:
    """Active (sign 1) or inactive (sign -1): a forward and a backward for every class."""
    logits, rows = zip(
        *(_one_gradient(network, images, index) for index in range(classes)), strict=True
    )
    rows = torch.stack(rows, 1)
    predicted = logits[0].argmax(1)[:, None, None, None, None].expand(-1, 1, *rows.shape[2:])
    gradient = rows.gather(1, predicted)[:, 0]
    rival = (sign * rows).scatter(1, predicted, -math.inf).amax(1)
    kept = torch.where(sign * gradient > rival, gradient, 0)
    return _normalized(kept.abs().amax(1))


def five_maps(network: Any, images: Any, classes: int) -> dict[str, Any]:
    """(a) The authors' way: every map by itself, each `[b, h, w]`."""
    return {
        "vanilla": _normalized(_one_gradient(network, images)[1].abs().amax(1)),
        "positive": _normalized(torch.relu(_one_gradient(network, images)[1]).amax(1)),
        "negative": _normalized(torch.relu(-_one_gradient(network, images)[1]).amax(1)),
        "active": _comparative(network, images, classes, 1),
        "inactive": _comparative(network, images, classes, -1),
    }


def _deletion_curve(
    network: Any, images: Any, maps: Any, fill: float, fractions: Sequence[float]
) -> Any:
    """Per fraction, sort, delete and classify both; agreement `[b, f]`."""
    agreements = []
    for fraction in fractions:
        flat = maps.flatten(1)
        threshold = flat.sort(dim=1, descending=True).values[:, round(fraction * flat.shape[1])]
        deleted = (maps > threshold[:, None, None]) & (maps != 0)
        perturbed = torch.where(deleted[:, None], fill, images)
        agreements.append(network(perturbed).argmax(1) == network(images).argmax(1))
    return torch.stack(agreements, 1)


@torch.inference_mode()
def deletion_curves(
    network: Any,
    images: Any,
    curves: Mapping[tuple[str, str], tuple[float, Any]],
    fractions: Sequence[float],
) -> dict[tuple[str, str], Any]:
    """The authors' way: curve by curve, each given by its fill and maps."""
    return {
        curve: _deletion_curve(network, images, maps, fill, fractions)
        for curve, (fill, maps) in curves.items()
    }


def training_step(labels: Any, *, fused: bool) -> Maker:
    """Makes a step with the paper's optimizer, always on one batch.

    The step returns the loss and the gradients by the names of the parameters.
    """

    def make(network: Any, images: Any, compiler: Compiler) -> Callable[[], tuple[float, dict]]:
        network.train().requires_grad_()
        settings = {"lr": 1e-3, "weight_decay": 0.01, "fused": fused}
        optimizer = torch.optim.AdamW(network.parameters(), **settings)
        compiled = compiler(network)

        def step() -> tuple[float, dict[str, Any]]:
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(compiled(images), labels)
            loss.backward()
            optimizer.step()
            return loss.item(), {name: p.grad for name, p in network.named_parameters()}

        return step

    return make


def training_steps(labels: Any) -> dict[str, Maker]:
    """The step with the optimizer as it is by default, and with its updates as one operation."""
    return {
        "training step": training_step(labels, fused=False),
        "training step, fused AdamW": training_step(labels, fused=True),
    }
