"""One configuration for every test: eight simulated devices, strict shapes, no hidden warnings."""

import gc
import os

# Read when JAX starts its CPU backend, which importing alone does not do.
os.environ.setdefault("JAX_PLATFORMS", "cpu")

# Most of the suite's time is LLVM's, which optimizes programs that then run for milliseconds.
# Without it the programs are the same and compile in a third of the time; the slow tests compile
# as users do. The subprocesses of tests inherit this, so bits can be compared.
if not os.environ.get("SIGNSAL_SLOW_TESTS"):
    _flags = os.environ.get("XLA_FLAGS", "")
    os.environ["XLA_FLAGS"] = f"{_flags} --xla_backend_optimization_level=0".strip()

import hypothesis
import jax
import jaxtyping
import pytest

# What is compiled stays in caches: millions of objects, which Python would look through again and
# again for garbage that is not there.
gc.set_threshold(50_000, 20, 20)
jax.config.update("jax_num_cpu_devices", 8)
# Broadcasting an array of lower rank is how a missing batch axis goes unnoticed.
jax.config.update("jax_numpy_rank_promotion", "raise")
# The same examples every time, and as many as a minute allows: a first call compiles.
hypothesis.settings.register_profile("suite", deadline=None, derandomize=True, max_examples=100)
hypothesis.settings.load_profile("suite")


@pytest.fixture
def no_typecheck():
    """Turns the shape annotations off, so that the library's own messages are what is tested."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def no_compilation_cache(monkeypatch):
    """Nothing that a command compiles stays in the user's cache."""
    monkeypatch.setattr("signsal_jax.cli.enable_compilation_cache", lambda: None)


@pytest.fixture
def x64():
    """Double precision, for numerical derivatives."""
    with jax.enable_x64(True):
        yield
