"""Weights files of any kind: bytes in, named arrays and a checksum out."""

import hashlib
import os
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import safetensors

from signsal_jax.weights import hub, torch_file
from signsal_jax.weights.errors import WeightsError

_SAFETENSORS_DTYPES: dict[str, np.dtype] = {
    "F64": np.dtype(np.float64),
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(jnp.bfloat16),
    "I64": np.dtype(np.int64),
    "I32": np.dtype(np.int32),
    "I16": np.dtype(np.int16),
    "I8": np.dtype(np.int8),
    "U8": np.dtype(np.uint8),
    "BOOL": np.dtype(np.bool_),
}


class WeightsFile(NamedTuple):
    """The named arrays of a weights file.

    Attributes:
      arrays: by name, in the file's own dtypes and layout.
      sha256: the checksum of the bytes that were read, as 64 hexadecimal digits.
      source: what was read: a path, or an hf:// id.
    """

    arrays: dict[str, np.ndarray]
    sha256: str
    source: str

    @property
    def name(self) -> str:
        """What a result records: an hf:// id, or a path without the folders of one machine."""
        if self.source.startswith(hub.SCHEME):
            return self.source
        return os.path.basename(self.source)


def sha256(path: str | os.PathLike[str]) -> str:
    """The SHA-256 checksum of a file, as 64 hexadecimal digits.

    Raises:
      OSError: the file cannot be read.

    >>> import os
    >>> sha256(os.devnull)[:16]
    'e3b0c44298fc1c14'
    """
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read(source: str | os.PathLike[str]) -> WeightsFile:
    """Reads a weights file; what kind it is, its content says, not its name.

    Args:
      source: a path to a safetensors or torch file (no torch needed, nothing in it is
        executed), or "hf://owner/name[/file]" for one on the Hugging Face hub.

    Returns:
      `WeightsFile`: arrays by name, and the checksum to record in results.

    Raises:
      WeightsError: not a weights file, truncated, or with code in it.
      OSError: the file cannot be read.
      ImportError: a hub id without `huggingface_hub` (the message names the extra).

    >>> import pathlib, tempfile, numpy as np, safetensors.numpy
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "w.safetensors")
    ...     safetensors.numpy.save_file({"fc.bias": np.zeros(3, np.float32)}, path)
    ...     read(path).arrays["fc.bias"].shape
    (3,)
    """
    text = os.fspath(source)
    path = hub.download(text) if text.startswith(hub.SCHEME) else Path(os.path.expanduser(text))
    if not path.exists():
        at_hub = f" (one on the Hugging Face hub is {hub.SCHEME}owner/name)"
        hint = at_hub if hub.is_id(text) else ""
        raise FileNotFoundError(f"weights {text}: expected a file, found none{hint}")
    data = path.read_bytes()
    try:
        arrays = _parse(data)
    except WeightsError as error:
        raise WeightsError(f"{text}: {error}") from error
    return WeightsFile(arrays, hashlib.sha256(data).hexdigest(), text)


def _parse(data: bytes) -> dict[str, np.ndarray]:
    if not data:
        raise WeightsError("expected weights, got an empty file")
    if data[:64].lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        raise WeightsError("expected weights, got a web page: download the file itself")
    if data.startswith(b"version https://git-lfs"):
        raise WeightsError("expected weights, got a Git LFS pointer: run 'git lfs pull'")
    # A safetensors file begins with the length of its header, which is a JSON object.
    return _parse_safetensors(data) if data[8:9] == b"{" else torch_file.parse(data)


def _parse_safetensors(data: bytes) -> dict[str, np.ndarray]:
    try:
        tensors = safetensors.deserialize(data)
    except safetensors.SafetensorError as error:
        raise WeightsError(f"truncated or damaged safetensors file ({error})") from error
    arrays = {}
    for name, tensor in tensors:
        dtype = _SAFETENSORS_DTYPES.get(tensor["dtype"])
        if dtype is None:
            known = ", ".join(_SAFETENSORS_DTYPES)
            raise WeightsError(f"{name}: expected one of {known}; got {tensor['dtype']}")
        arrays[name] = np.frombuffer(tensor["data"], dtype).reshape(tensor["shape"])
    return arrays
