"""Reading of weights files of any kind: named arrays and a checksum."""

import hashlib
import os
import stat
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import safetensors

from signsal_jax.weights import hub, torch_file
from signsal_jax.weights.errors import WeightsError, printable

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
# Python objects made from a header are ten times as large. The largest networks' headers: 1 MB.
_LARGEST_HEADER = 2**23
_LARGEST_SPARSE = 2**28


class WeightsFile(NamedTuple):
    """The named arrays of a weights file.

    Attributes:
      arrays: by name, in the file's own dtypes and layout.
      sha256: the checksum of the bytes that were read, as 64 hexadecimal digits.
      source: the path or hf:// id that was read.
    """

    arrays: dict[str, np.ndarray]
    sha256: str
    source: str

    @property
    def name(self) -> str:
        """The name to record in results: an hf:// id, or the file's name without its folders."""
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
    """Reads a weights file; its content, not its name, tells which kind it is.

    Args:
      source: a path to a safetensors or torch file (no torch needed, nothing in it is
        executed), or "hf://owner/name[/file]" for one on the Hugging Face hub.

    Returns:
      `WeightsFile`: arrays by name, and the checksum to record in results.

    Raises:
      WeightsError: a file that is not a weights file, is truncated, or contains code.
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
    try:
        data = _content(path)
        arrays = _parse(data)
    except WeightsError as error:
        raise WeightsError(f"{text}: {error}") from error
    return WeightsFile(arrays, hashlib.sha256(data).hexdigest(), text)


def _content(path: Path) -> bytes:
    """Reads a regular file, but only if it begins as weights files do."""

    def without_waiting(name: str, flags: int) -> int:  # a pipe would block
        return os.open(name, flags | getattr(os, "O_NONBLOCK", 0))

    with open(path, "rb", opener=without_waiting) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise WeightsError("expected a file, got a folder, a pipe or a device")
        head = file.read(64)
        _check_head(head)
        # Some file systems do not count blocks and report 0.
        stored = getattr(status, "st_blocks", 0) * 512
        if status.st_size > _LARGEST_SPARSE and 0 < stored < status.st_size / 2:
            raise WeightsError(
                f"expected weights, got a file of {status.st_size} bytes of which only {stored} "
                "are stored: copy it again"
            )
        file.seek(0)
        return file.read(status.st_size)


def _check_head(head: bytes) -> None:
    """Raises unless a weights file can begin with these bytes."""
    if not head:
        raise WeightsError("expected weights, got an empty file")
    if head.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        raise WeightsError("expected weights, got a web page: download the file itself")
    if head.startswith(b"version https://git-lfs"):
        raise WeightsError("expected weights, got a Git LFS pointer: run 'git lfs pull'")
    if not _is_safetensors(head):
        torch_file.check_head(head)


def _is_safetensors(data: bytes) -> bool:
    """Whether a JSON object follows the eight bytes of the header's length."""
    return data[8:9] == b"{"


def _parse(data: bytes) -> dict[str, np.ndarray]:
    return _parse_safetensors(data) if _is_safetensors(data) else torch_file.parse(data)


def _parse_safetensors(data: bytes) -> dict[str, np.ndarray]:
    if int.from_bytes(data[:8], "little") > min(_LARGEST_HEADER, len(data)):
        raise WeightsError(
            "truncated or damaged safetensors file (its header would be longer than the file, or "
            f"than {_LARGEST_HEADER} bytes)"
        )
    try:
        tensors = safetensors.deserialize(data)
    except safetensors.SafetensorError as error:
        raise WeightsError(f"truncated or damaged safetensors file ({printable(error)})") from error
    arrays = {}
    for name, tensor in tensors:
        dtype = _SAFETENSORS_DTYPES.get(tensor["dtype"])
        if dtype is None:
            known = ", ".join(_SAFETENSORS_DTYPES)
            raise WeightsError(f"{printable(name)}: expected one of {known}; got {tensor['dtype']}")
        try:
            arrays[name] = np.frombuffer(tensor["data"], dtype).reshape(tensor["shape"])
        except (OverflowError, ValueError) as error:
            raise WeightsError(f"{printable(name)}: damaged ({printable(error)})") from error
    return arrays
