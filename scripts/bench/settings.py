"""The settings in which each of PyTorch's ways is tried: memory layout, and `torch.compile`."""

import copy
import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from scripts.bench.attempts import attempt
from scripts.bench.peer import torch

Compiler = Callable[[Any], Any]
"""Compiles a function or a network, or leaves it alone."""
Maker = Callable[[Any, Any, Compiler], Callable[[], Any]]
"""Makes a way's run from a network, its images and a compiler."""

COMPILE_LIMIT = 300  # seconds for one way's compilation; our side takes up to 12
_LAYOUTS = {"": torch.contiguous_format, ", channels_last": torch.channels_last}


class Tried(NamedTuple):
    """All ways in all settings, by names such as `forward, channels_last, compiled`.

    Attributes:
      runs: those that work.
      results: what the first run of each returned.
      failed: the reasons why the others do not compile.
    """

    runs: dict[str, Callable[[], Any]]
    results: dict[str, Any]
    failed: dict[str, str]


def compiling_network(way: Callable[..., Any], *args: Any) -> Maker:
    """Runs `way(network, images, *args)`; the network's forward and backward can be compiled."""
    return lambda network, images, compiler: functools.partial(
        way, compiler(network), images, *args
    )


def compiling_whole(way: Callable[..., Any], *args: Any) -> Maker:
    """The same where the way itself can be compiled."""
    return lambda network, images, compiler: functools.partial(
        compiler(way), network, images, *args
    )


def _left_alone(function: Any) -> Any:
    return function


def _compiler() -> Compiler:
    """`torch.compile` for a CPU, strict: what it cannot compile is an error, not run as it is."""
    torch._dynamo.reset()  # the networks of earlier cases count toward its limit of recompilations
    torch._inductor.config.compile_threads = 1  # nothing goes on where the time limit ended it
    # Freezing, for inference alone, lays weights out for oneDNN and folds normalizations into them.
    options = {"freezing": True}
    return functools.partial(torch.compile, fullgraph=True, dynamic=False, options=options)


def in_every_setting(
    makers: Mapping[str, Maker], network: Any, images: Any, *, compiled: bool
) -> Tried:
    """Makes every way in every setting, on a network of its own, and runs each once."""
    tried = Tried({}, {}, {})
    compilers = {"": _left_alone} | ({", compiled": _compiler()} if compiled else {})
    for way, make in makers.items():
        for layout, memory_format in _LAYOUTS.items():
            for compilation, compiler in compilers.items():
                name = f"{way}{layout}{compilation}"
                own = copy.deepcopy(network).to(memory_format=memory_format)
                run = make(own, images.contiguous(memory_format=memory_format), compiler)
                if not compilation:
                    tried.runs[name], tried.results[name] = run, run()
                    continue
                result, failure = attempt(run, COMPILE_LIMIT)
                if failure is None:
                    tried.runs[name], tried.results[name] = run, result
                else:
                    tried.failed[name] = failure
    return tried
