"""Fingerprints of data, recorded with results and compared before a run resumes."""

import concurrent.futures
import hashlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from signsal_jax.data.reading import Source, UnreadableImageError

# Up to this size every byte is hashed, in seconds. Above it, only blocks of each file: hundreds of
# gigabytes would take hundreds of seconds, on every host of a pod.
_WHOLE_BYTES = 4 * 2**30
_BLOCK_BYTES = 2**20
_BLOCKS = 64
# Elements read from a source without a fingerprint of its own.
_SAMPLES = 64


def of_arrays(*arrays: np.ndarray) -> dict[str, Any]:
    """The fingerprint of arrays: one SHA-256 of their types, shapes and contents.

    >>> import numpy as np
    >>> from signsal_jax.data import fingerprint
    >>> one, other = (fingerprint.of_arrays(np.full(3, value)) for value in (1, 2))
    >>> one["kind"], one == other
    ('arrays', False)
    """
    return {"kind": "arrays", "sha256": _sha256_of_arrays(arrays)}


def of_files(paths: Sequence[Path]) -> dict[str, Any]:
    """The fingerprint of large files, such as the shards of a set: names, sizes and checksums.

    Up to 4 GiB in all, the checksum (`sha256`) covers every byte. Above, it covers 64 blocks of
    1 MiB spread over each file, the first and the last included, and is called `sha256_of_blocks`.
    Folders and times do not count, so a copy of a set has the same fingerprint.
    """
    sizes = [path.stat().st_size for path in paths]
    name, checksum = ("sha256", _sha256)
    if sum(sizes) > _WHOLE_BYTES:
        name, checksum = ("sha256_of_blocks", _sha256_of_blocks)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:  # hashing frees the GIL
        checksums = pool.map(checksum, paths)
        files = [
            {"name": path.name, "bytes": size, name: digest}
            for path, size, digest in zip(paths, sizes, checksums, strict=True)
        ]
    return {"kind": "files", "files": files}


def of_listing(root: Path, paths: Iterable[Path]) -> dict[str, Any]:
    """The fingerprint of a folder of many files: a checksum of their names, sizes and times.

    The files are not opened, so this takes milliseconds per thousand files.
    """
    digest, count, total = hashlib.sha256(), 0, 0
    for path in paths:
        found = path.stat()
        name = os.fsencode(path.relative_to(root).as_posix())
        digest.update(b"%s\0%d\0%d\0" % (name, found.st_size, found.st_mtime_ns))
        count, total = count + 1, total + found.st_size
    return {
        "kind": "folder",
        "files": count,
        "bytes": total,
        "sha256_of_listing": digest.hexdigest(),
    }


def of_source(source: Any) -> dict[str, Any]:
    """The fingerprint of any source of images and labels.

    Calls the source's own method `fingerprint()` if it has one, otherwise `of_elements`.
    """
    own = getattr(source, "fingerprint", None)
    return of_elements(source) if own is None else own()


def of_elements(source: Source) -> dict[str, Any]:
    """The fingerprint of a source that only its elements can identify.

    Consists of its length and a checksum of up to 64 elements spread evenly over it, the first and
    the last included.
    """
    rows = np.unique(np.linspace(0, len(source) - 1, _SAMPLES).astype(int)) if len(source) else ()
    digest = hashlib.sha256()
    for row in rows:
        try:
            image, label = source[int(row)]
        except UnreadableImageError as error:
            digest.update(str(error).encode())
        else:
            digest.update(_sha256_of_arrays((image, np.asarray(label))).encode())
    return {"kind": "elements", "length": len(source), "sha256_of_samples": digest.hexdigest()}


def _sha256_of_arrays(arrays: Iterable[np.ndarray]) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype.str} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sha256_of_blocks(path: Path) -> str:
    digest = hashlib.sha256()
    last = max(0, path.stat().st_size - _BLOCK_BYTES)
    with path.open("rb") as file:
        for start in np.linspace(0, last, _BLOCKS).astype(int).tolist():
            file.seek(start)
            digest.update(file.read(_BLOCK_BYTES))
    return digest.hexdigest()
