"""What a case is, and what the cases have in common."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

import signsal_jax
from scripts.bench import flops
from scripts.bench.workloads import NUM_CLASSES, Workload, images_and_labels, seeded_network


class Case(NamedTuple):
    """Both sides of a comparison, ready to be timed, known to agree.

    Attributes:
      ours: runs our side and waits for the result.
      theirs: PyTorch's ways in every setting, by name; the ratio is taken against the fastest.
      failed: the reasons why PyTorch does not compile the others.
      agreement: the largest difference found, by the name of the compared result.
      flops: operations that the result needs.
      compile_seconds: time to trace, lower and compile our side, without any cache.
    """

    ours: Callable[[], Any]
    theirs: dict[str, Callable[[], Any]]
    failed: dict[str, str]
    agreement: dict[str, float]
    flops: int
    compile_seconds: float


class Sides(NamedTuple):
    """Both networks with the same weights, and the same images for both."""

    apply_fn: signsal_jax.ApplyFn
    variables: Any
    images: Array
    torch_network: Any
    torch_images: Any
    layers: list[int]


def sides(workload: Workload) -> Sides:
    """Makes both sides of a workload, the network in inference mode."""
    from scripts.bench import torch_networks

    network, arrays = seeded_network(workload)
    apply_fn, variables = signsal_jax.from_nnx(network)
    images, _ = images_and_labels(workload)
    torch_network = torch_networks.build(workload.network, NUM_CLASSES, arrays)
    torch_network.requires_grad_(False)
    layers = flops.layer_flops(apply_fn, variables, jnp.asarray(images))
    torch_images = torch_networks.to_torch(images)
    return Sides(apply_fn, variables, jnp.asarray(images), torch_network, torch_images, layers)


def runner(fn: Callable[..., Any], *args: Any) -> Callable[[], Any]:
    """Our side's run: the call, until its result is there."""
    return lambda: jax.block_until_ready(fn(*args))
