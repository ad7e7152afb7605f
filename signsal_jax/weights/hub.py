"""Weights from the Hugging Face hub, through the optional package `huggingface_hub`."""

import re
from pathlib import Path

from signsal_jax.weights.errors import WeightsError

SCHEME = "hf://"
_ID = r"[\w.-]+/[\w.-]+"
_FILES = ("model.safetensors", "pytorch_model.bin")


def is_id(text: str) -> bool:
    """Whether a text has the form owner/name."""
    return re.fullmatch(_ID, text) is not None


def download(source: str) -> Path:
    """Finds a hub repository's weights file in the cache, or downloads it there.

    Args:
      source: "hf://owner/name", for its `model.safetensors` (or else `pytorch_model.bin`), or
        "hf://owner/name/file".

    Returns:
      A path in the hub's cache.

    Raises:
      WeightsError: a source of another form, no such repository or file, or no network.
      ImportError: `huggingface_hub` is not installed.
    """
    match = re.fullmatch(rf"{SCHEME}({_ID})(?:/(.+))?", source)
    if match is None:
        raise WeightsError(f"expected hf://owner/name or hf://owner/name/file, got {source!r}")
    try:
        import huggingface_hub as hub  # pyright: ignore[reportMissingImports]
        from huggingface_hub.errors import (  # pyright: ignore[reportMissingImports]
            EntryNotFoundError,
            HfHubHTTPError,
            LocalEntryNotFoundError,
        )
    except ImportError as error:
        raise ImportError(
            f"{source}: expected the package huggingface_hub: pip install 'signsal_jax[hub]'"
        ) from error
    repository, file = match.groups()
    unreached = None
    for candidate in (file,) if file else _FILES:
        try:
            return Path(hub.hf_hub_download(repository, candidate))
        except LocalEntryNotFoundError as error:  # a kind of EntryNotFoundError
            unreached = error
        except EntryNotFoundError:
            continue
        except (HfHubHTTPError, OSError) as error:
            raise WeightsError(f"{source}: {error}") from error
    wanted = file or " or ".join(_FILES)
    if unreached is not None:
        raise WeightsError(
            f"{source}: the hub cannot be reached and its cache has no {wanted}: check the network "
            "and HF_HUB_OFFLINE, or download the file and give its path"
        ) from unreached
    raise WeightsError(f"{source}: expected {wanted} in the repository")
