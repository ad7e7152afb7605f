"""The network that a command line names, and what a result says of its making."""

import dataclasses
from pathlib import Path
from typing import Any

import jax

from signsal_jax import _files
from signsal_jax.checkpoint import load_run
from signsal_jax.models import Model, load


def network(run: Path | None, name: str | None) -> tuple[Model, dict[str, Any]]:
    """The network and where it came from.

    Raises:
      ValueError: neither or both of a run and a name, or either is unusable.
    """
    if (run is None) == (name is None):
        got = "neither" if run is None else "both"
        raise ValueError(f"expected one of --run DIR and --model NAME, got {got}")
    if run is not None:
        model, config = load_run(run)
        return model, config
    assert name is not None
    return load(name), {"model": name}


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def provenance(command: Any, source: dict[str, Any]) -> dict[str, Any]:
    """The head of a results.json: the command's configuration, the network, versions, device."""
    device = jax.devices()[0]
    return {
        "configuration": {k: _plain(v) for k, v in dataclasses.asdict(command).items()},
        "network": source,
        "versions": _files.versions(),
        "device": f"{device.platform}: {device.device_kind}",
    }
