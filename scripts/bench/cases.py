"""The cases: the functions of both sides on a workload, checked to agree when a case is made."""

import functools
from typing import Protocol

import jax
import numpy as np

import signsal_jax
from scripts.bench import agreement, flops, timing
from scripts.bench.case import Case, runner, sides
from scripts.bench.training_case import train
from scripts.bench.workloads import NUM_CLASSES, Workload
from signsal_jax.evaluations.perturbation import FILLS


def forward(workload: Workload, *, compiled: bool) -> Case:
    """The forward pass alone."""
    from scripts.bench import settings, torch_methods

    both = sides(workload)
    executable, seconds = timing.compiled(both.apply_fn, both.variables, both.images)
    ours = runner(executable, both.variables, both.images)
    makers = {"forward": settings.compiling_network(torch_methods.forward)}
    theirs = settings.in_every_setting(
        makers, both.torch_network, both.torch_images, compiled=compiled
    )
    logits = np.asarray(ours())
    found = {
        f"logits, {way}": agreement.compare_logits(logits, their_logits.numpy())
        for way, their_logits in theirs.results.items()
    }
    return Case(ours, theirs.runs, theirs.failed, found, sum(both.layers), seconds)


def jacobian(workload: Workload, *, compiled: bool) -> Case:
    """The signed Jacobian of all classes."""
    from scripts.bench import settings, torch_methods

    both = sides(workload)
    fn = functools.partial(signsal_jax.signed_jacobian, both.apply_fn)
    executable, seconds = timing.compiled(fn, both.variables, both.images)
    ours = runner(executable, both.variables, both.images)
    makers = torch_methods.jacobians(NUM_CLASSES)
    theirs = settings.in_every_setting(
        makers, both.torch_network, both.torch_images, compiled=compiled
    )
    logits, rows = (np.asarray(array) for array in ours())
    found = {}
    for way, (their_logits, their_rows) in theirs.results.items():
        found |= {
            f"logits, {way}": agreement.compare_logits(logits, their_logits.numpy()),
            f"gradients, {way}": agreement.compare_gradients(
                rows, their_rows.permute(1, 0, 3, 4, 2).numpy()
            ),
        }
    needed = flops.jacobian_flops(both.layers, NUM_CLASSES)
    return Case(ours, theirs.runs, theirs.failed, found, needed, seconds)


def maps(workload: Workload, *, compiled: bool) -> Case:
    """All five maps."""
    from scripts.bench import settings, torch_methods

    both = sides(workload)
    fn = functools.partial(signsal_jax.saliency_maps, both.apply_fn)
    executable, seconds = timing.compiled(fn, both.variables, both.images)
    ours = runner(executable, both.variables, both.images)
    makers = {
        "each map by itself": settings.compiling_network(torch_methods.five_maps, NUM_CLASSES)
    }
    theirs = settings.in_every_setting(
        makers, both.torch_network, both.torch_images, compiled=compiled
    )
    ours_now = ours().maps
    found = {
        f"{method}, {way}": agreement.compare_maps(
            np.asarray(ours_now[method]), their_maps[method].numpy()
        )
        for way, their_maps in theirs.results.items()
        for method in signsal_jax.METHODS
    }
    needed = flops.jacobian_flops(both.layers, NUM_CLASSES)
    return Case(ours, theirs.runs, theirs.failed, found, needed, seconds)


def deletion(workload: Workload, *, compiled: bool) -> Case:
    """The deletion benchmark's six curves, on the same maps."""
    from scripts.bench import settings, torch_methods
    from scripts.bench.peer import torch

    both = sides(workload)
    make_maps = jax.jit(functools.partial(signsal_jax.saliency_maps, both.apply_fn))
    given = dict(make_maps(both.variables, both.images).maps)
    fn = functools.partial(signsal_jax.evaluate_deletion, both.apply_fn)
    executable, seconds = timing.compiled(fn, both.variables, both.images, given)
    ours = runner(executable, both.variables, both.images, given)
    curves = {
        (fill, name): (FILLS[fill], torch.from_numpy(np.array(given[name])))
        for fill, name in signsal_jax.PAPER_CURVES
    }
    way = settings.compiling_network(
        torch_methods.deletion_curves, curves, signsal_jax.PAPER_FRACTIONS
    )
    theirs = settings.in_every_setting(
        {"the authors' way": way}, both.torch_network, both.torch_images, compiled=compiled
    )
    ours_now = ours()
    found = {
        f"{' '.join(curve)}, {way}": agreement.compare_agreements(
            np.asarray(ours_now[curve].agreement), their_curves[curve].numpy()
        )
        for way, their_curves in theirs.results.items()
        for curve in signsal_jax.PAPER_CURVES
    }
    fractions = sum(fraction > 0 for fraction in signsal_jax.PAPER_FRACTIONS)
    needed = flops.deletion_flops(both.layers, len(signsal_jax.PAPER_CURVES), fractions)
    return Case(ours, theirs.runs, theirs.failed, found, needed, seconds)


class Make(Protocol):
    """Makes a case; `compiled` says whether PyTorch's ways are also tried compiled."""

    def __call__(self, workload: Workload, *, compiled: bool) -> Case: ...


_AT_32 = (Workload("cnn", 128, 32), Workload("resnet18", 32, 32))
_AT_224 = (Workload("cnn", 8, 224), Workload("resnet18", 4, 224))
_TRAINING = (Workload("cnn", 128, 32), Workload("resnet18", 128, 32), Workload("cnn", 128, 224))

KINDS: dict[str, tuple[Make, tuple[Workload, ...]]] = {
    "jacobian": (jacobian, _AT_32 + _AT_224),
    "maps": (maps, _AT_32 + _AT_224),
    "deletion": (deletion, _AT_32),
    "training": (train, _TRAINING),
    "forward": (forward, _AT_32 + _AT_224),
}


def names() -> list[str]:
    """The name of every case, as `--cases` accepts it, such as `jacobian-cnn-32`."""
    return [
        f"{kind}-{workload.name}"
        for kind, (_, workloads) in KINDS.items()
        for workload in workloads
    ]


def make(name: str, *, quick: bool) -> tuple[Workload, Case]:
    """Makes a case; a quick one has a few images of 32x32 pixels, and compiles no PyTorch."""
    kind, _, short = name.partition("-")
    maker, workloads = KINDS[kind]
    workload = next(workload for workload in workloads if workload.name == short)
    if quick:
        # Batch norm over only two images would amplify rounding to a different loss.
        workload = workload._replace(batch=16 if kind == "training" else 2, size=32)
    return workload, maker(workload, compiled=not quick)
