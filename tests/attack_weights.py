"""An attack on the readers of weights files: crafted bombs, and thousands of damaged files.

python -m tests.attack_weights --mutations 5000

Every file must be read or refused by a WeightsError or OSError, within twice its size and 256 MB
of memory, and nothing in it may be executed. Prints one line; exits 1 if any of this fails.
"""

import argparse
import codecs
import collections
import json
import os
import pickletools
import struct
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import safetensors.numpy

from signsal_jax import weights
from tests.torch_writer import Call, Global, View, pickled, stream_file, whole, zip_file

ALLOWANCE = 2**28
_SLOWEST = 60
_WATCHED = ("os.", "subprocess.", "exec", "compile", "import", "socket.", "ctypes.", "shutil.")
_executed: list[str] = []
_armed = False


def _watch(event: str, arguments: tuple) -> None:
    """An audit hook: what Python does while a file is being read."""
    if _armed and event.startswith(_WATCHED):
        _executed.append(f"{event} {arguments!r:.80}")


def _memory(field: str) -> int:
    """Bytes, of /proc/self/status: VmRSS is now, VmHWM the most since it was reset."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"no {field} in /proc/self/status")


class Attack:
    """Reads files and counts what came of it."""

    def __init__(self) -> None:
        self.outcomes: collections.Counter[str] = collections.Counter()
        self.failures: list[str] = []
        self.most = 0.0

    def read(self, path: Path, label: str) -> None:
        global _armed
        Path("/proc/self/clear_refs").write_text("5")
        before, start = _memory("VmRSS"), time.monotonic()
        size = path.stat().st_size if path.is_file() else 0
        _armed = True
        try:
            arrays = weights.read(path).arrays
            with np.errstate(over="ignore", invalid="ignore"):
                for array in arrays.values():
                    if array.size < 2**16:
                        array.astype(np.float32)
            outcome = "read"
        except (weights.WeightsError, OSError) as error:
            outcome = "refused"
            if not all(c.isprintable() or c == "\n" for c in str(error)) or len(str(error)) > 10**5:
                self.failures.append(f"{label}: message {error!r:.200}")
        except BaseException as error:
            outcome = "raw"
            self.failures.append(f"{label}: {traceback.format_exception_only(error)[-1]!s:.200}")
        finally:
            _armed = False
        share = (_memory("VmHWM") - before) / (2 * size + ALLOWANCE)
        self.most = max(self.most, share)
        self.outcomes[outcome] += 1
        if share > 1:
            self.failures.append(f"{label}: {share:.1f} times the memory that is allowed")
        if time.monotonic() - start > _SLOWEST:
            self.failures.append(f"{label}: {time.monotonic() - start:.0f} s")


def seeds() -> list[bytes]:
    """Whole files of every kind."""
    generator = np.random.default_rng(0)
    names = [f"layer{i}.weight" for i in range(6)]
    arrays = {name: generator.normal(size=(3, 4)).astype(np.float32) for name in names}
    storage = np.arange(24, dtype=np.float16)
    content = {
        "state_dict": {name: whole(array) for name, array in arrays.items()}
        | {"shared": View(storage, 3, (2, 5), (5, 1)), "again": View(storage, 0, (4,), (0,))},
        "epoch": 3,
        "history": [0.5, None, True, (1, 2, 3)],
    }
    ordered = Call(Global("collections", "OrderedDict"), [["fc.bias", whole(np.ones(2))]])
    return [
        zip_file(content),
        zip_file({"net": ordered}, byte_order="big"),
        stream_file(content),
        stream_file(ordered),
        safetensors.numpy.save(arrays, {"format": "pt"}),
    ]


_ATTACKS = [
    Call(Global("os", "system"), "touch executed"),
    Call(Global("builtins", "eval"), "open('executed', 'w')"),
    Call(Global("builtins", "__import__"), "this"),
    Call(Global("torch._utils", "_rebuild_tensor_v2"), Global("os", "system"), 0, (1,), (1,)),
    Call(Global("torch._utils", "_rebuild_parameter"), Call(Global("os", "mkdir"), "executed")),
]
_EXTREMES = [0, 1, 2**7, 2**15, 2**31 - 1, 2**32 - 1, 2**53, 2**63 - 1, 2**64 - 1]


def _damaged(data: bytes, others: list[bytes], generator: np.random.Generator) -> bytes:
    """Bytes flipped, lost, doubled, overwritten by extremes, or spliced from another file."""
    changed = bytearray(data)
    for _ in range(int(generator.integers(1, 5))):
        place = int(generator.integers(len(changed) or 1))
        end = place + int(generator.integers(1, 24))
        other = others[int(generator.integers(len(others)))]
        start = int(generator.integers(len(other)))
        size = int(generator.choice([1, 2, 4, 8]))
        extreme = _EXTREMES[int(generator.integers(len(_EXTREMES)))] % 256**size
        match int(generator.integers(7)):
            case 0:
                changed[place : place + 1] = bytes([generator.integers(256)])
            case 1:
                del changed[place:end]
            case 2:
                changed[place:place] = changed[place:end]
            case 3:
                changed[place : place + size] = extreme.to_bytes(size, "little")
            case 4:
                changed[place:end] = other[start : start + end - place]
            case 5:
                changed[place:end] = generator.bytes(end - place)
            case 6 if generator.random() < 0.3:
                del changed[place:]
    return bytes(changed)


def _program(generator: np.random.Generator) -> bytes:
    """A pickle of random operations, most of them such as torch's files have."""
    opcodes = [opcode.code.encode("latin-1") for opcode in pickletools.opcodes]
    usual = [b"}", b"]", b")", b"(", b"t", b"\x85", b"\x86", b"\x87", b"u", b"s", b"e", b"a", b"R"]
    usual += [
        b"X\x01\0\0\0a",
        b"K\x01",
        b"N",
        b"\x88",
        b"q\x01",
        b"h\x01",
        b"Q",
        b"b",
        b"\x8a\x01\x7f",
    ]
    usual += [b"ccollections\nOrderedDict\n", b"ctorch._utils\n_rebuild_tensor_v2\n"]
    usual += [b"ctorch\nFloatStorage\n", b"X\x07\0\0\0storage", b"cos\nsystem\n", b"\x8a\x01\x7f"]
    chosen = [
        opcodes[int(generator.integers(len(opcodes)))]
        if generator.random() < 0.1
        else usual[int(generator.integers(len(usual)))]
        for _ in range(int(generator.integers(3, 60)))
    ]
    return b"\x80\x02" + b"".join(chosen) + b"."


def _header(data: bytes, generator: np.random.Generator) -> bytes:
    """A safetensors file whose header says something else."""
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    name = sorted(header)[int(generator.integers(len(header)))]
    extreme = _EXTREMES[int(generator.integers(len(_EXTREMES)))]
    match int(generator.integers(6)):
        case 0:
            header[name] = {"dtype": "F32", "shape": [0, extreme], "data_offsets": [0, 0]}
        case 1:
            header[name] = {"dtype": "F32", "shape": [1] * 100, "data_offsets": [0, 4]}
        case 2:
            header[name] = {"dtype": "F8_E4M3", "shape": [1], "data_offsets": [0, 1]}
        case 3:
            header[name] = {"dtype": "F32", "shape": [extreme], "data_offsets": [0, extreme]}
        case 4:
            header["\x1b[2J\u202e\n" * 3] = {"dtype": "F99", "shape": [], "data_offsets": [0, 4]}
        case 5:
            header = [header] * 3
    text = json.dumps(header).encode()
    claimed = len(text) if generator.random() < 0.8 else extreme % 2**64
    return struct.pack("<Q", claimed) + text + data[8 + size :]


def mutations(count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """Damaged files, and whole files of damaged or hostile content, with labels to find them."""
    files = seeds()
    content = pickled({"a": whole(np.ones(3)), "b": {"c": [1, "x"]}}, {})
    for number in range(count):
        generator = np.random.default_rng([seed, number])
        write = (zip_file, stream_file)[int(generator.integers(2))]
        kind = int(generator.integers(8))
        if kind < 4:
            data = _damaged(files[int(generator.integers(len(files)))], files, generator)
        elif kind == 4:
            # A zip whose checksums are right: the damage reaches the pickle's reader.
            data = write(_damaged(content, [content], generator))
        elif kind == 5:
            data = write(_program(generator))
        elif kind == 6:
            hostile = _ATTACKS[int(generator.integers(len(_ATTACKS)))]
            data = write({"state_dict": {"a": whole(np.ones(2))}, "hook": hostile})
            data = _damaged(data, files, generator) if generator.random() < 0.3 else data
        else:
            data = _header(files[-1], generator)
        yield f"mutation {seed}/{number}", data


def _zip_directory(entries: int) -> bytes:
    """A zip of many empty members; written at once, as zipfile takes a minute."""
    body = zip_file({"a": whole(np.ones(1))})
    end = body.rindex(b"PK\x05\x06")
    start = body.index(b"PK\x01\x02")
    first = body[start : body.index(b"PK\x01\x02", start + 4)]
    directory = body[start:end] + first * entries
    sizes = struct.pack("<HHII", 65535, 65535, len(directory), start)
    return body[:start] + directory + b"PK\x05\x06\0\0\0\0" + sizes + b"\0\0"


def bombs(formats: Sequence[Callable[..., bytes]]) -> Iterator[tuple[str, bytes]]:
    """Small files that cost much, unless they are refused."""
    end = b"K\x01s."
    text = b"X\x01\0\0\0a"
    for write in formats:
        kind = write.__name__
        # Hashing a tuple of pairs of pairs ... doubles the work with every byte.
        yield f"{kind} keys of pairs", write(b"\x80\x02})" + b"2\x86" * 120 + end)
        pairs = b"".join(b"q" + bytes([i]) + b"h" + bytes([i]) + b"\x86" for i in range(50))
        yield f"{kind} keys of pairs by memo", write(b"\x80\x02})" + pairs + end)
        yield f"{kind} nested tuples as a key", write(b"\x80\x02})" + b"\x85" * 200_000 + end)
        nested = b"\x80\x02}" + text + b")" + b"\x85" * 200_000 + b"s."
        yield f"{kind} nested tuples", write(nested)
        yield f"{kind} lists", write(b"\x80\x02" + b"]" * 10_000_000 + b".")
        yield f"{kind} dictionaries", write(b"\x80\x02}" + text + b"(" + b"}" * 10**6 + b"ls.")
        pair = b"(" + (text + b"N\x86") * 200_000 + b"t\x85q\x02"
        copies = b"ccollections\nOrderedDict\nq\x01" + pair + b"h\x01h\x02R" * 5000 + b"."
        yield f"{kind} copies of a dictionary", write(b"\x80\x02" + copies)
        yield f"{kind} one long name", write({"\u6f22" * 5_000_000: whole(np.ones(1))})
        yield f"{kind} wide text", write(b"\x80\x02}" + b"X\0\0\0\x02" + b"a" * 2**25 + end)
        names = {
            f"{i:0100d}": whole(np.ones(1))
            for i in range(20_000 if write is stream_file else 5_000)
        }
        yield f"{kind} many names", write(names)
        shared = np.ones(2**22, np.float32)
        tensors = {f"a{i}": View(shared, 0, (2**22,), (1,)) for i in range(300)}
        yield f"{kind} one storage shown 300 times", write(tensors)
        yield f"{kind} repeated numbers", write({"a": View(np.ones(4), 0, (2**24, 2), (0, 1))})
        yield f"{kind} dimensions", write({"a": View(np.ones(4), 0, (1,) * 10**5, (1,) * 10**5)})
        large = {"a": View(np.ones(4), 2**70, (2**600,), (2**600,))}
        yield f"{kind} numbers beyond 64 bits", write(large)
        yield f"{kind} escape codes", write({"\x1b]0;x\x07\u202e": 1, "a": whole(np.ones(1))})
        yield (
            f"{kind} long number",
            write(b"\x80\x02\x8b" + struct.pack("<i", 10**6) + b"\x7f" * 10**6 + b"."),
        )
        yield f"{kind} memo", write(b"\x80\x02}r" + struct.pack("<I", 2**30) + b".")
    stream = bytearray(stream_file({"a": whole(np.ones(4))}))
    stream[-40:-32] = b"\xff" * 8
    yield "a storage's count overflows", bytes(stream)
    yield "zip directory", _zip_directory(400_000)
    entries = ",".join(
        f'"{i}":{{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}' for i in range(10**6)
    )
    header = b"{" + entries.encode() + b"}"
    yield "safetensors entries", struct.pack("<Q", len(header)) + header
    dimensions = ",".join("1" * 10**7)
    header = f'{{"a":{{"dtype":"F32","shape":[{dimensions}],"data_offsets":[0,4]}}}}'.encode()
    yield "safetensors dimensions", struct.pack("<Q", len(header)) + header + bytes(4)
    header = b'{"a":' + b"[" * 10**6
    yield "safetensors nesting", struct.pack("<Q", len(header)) + header
    yield "safetensors header", struct.pack("<Q", 2**63) + b"{}"


def special_files(folder: Path) -> Iterator[tuple[str, Path]]:
    """What is not a file of bytes that are there."""
    pipe = folder / "pipe"
    os.mkfifo(pipe)
    yield "a pipe", pipe
    yield "a device", Path("/dev/zero")
    yield "a folder", folder
    for name, head in (
        ("zeros", b""),
        ("zip", b"PK\x03\x04"),
        ("safetensors", b"\x02" + b"\0" * 7 + b"{}"),
    ):
        path = folder / f"sparse {name}"
        with path.open("wb") as file:
            file.write(head)
            file.truncate(2**40)
        yield f"a sparse file of {name}", path
        path.unlink()


def main() -> int:
    """Attacks, prints one line, and says whether everything held."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mutations", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="the bombs of one format only")
    options = parser.parse_args()
    sys.addaudithook(_watch)
    damaged, crafted, start = Attack(), Attack(), time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "weights"
        os.chdir(folder)
        codecs.lookup("raw_unicode_escape")  # pickletools imports it to print an opcode's argument
        for data in seeds():  # imports what reading needs, once
            path.write_bytes(data)
            weights.read(path)
        for label, data in mutations(options.mutations, options.seed):
            path.write_bytes(data)
            damaged.read(path, label)
        for label, data in bombs((zip_file,) if options.quick else (zip_file, stream_file)):
            path.write_bytes(data)
            del data
            crafted.read(path, label)
        path.unlink()
        for label, special in special_files(folder):
            crafted.read(special, label)
        left = sorted(file.name for file in folder.iterdir() if file.name != "pipe")
    failures = [*damaged.failures, *crafted.failures, *map("executed: {}".format, _executed)]
    failures += [f"left behind: {file}" for file in left]
    for failure in failures[:20]:
        print(failure, file=sys.stderr)
    done, others = damaged.outcomes, crafted.outcomes
    print(
        f"{done.total()} mutated files: {done['read']} read, {done['refused']} refused; "
        f"{others.total()} crafted: {others['read']} read, {others['refused']} refused; "
        f"{done['raw'] + others['raw']} raw errors, {len(_executed)} executed, most memory "
        f"{max(damaged.most, crafted.most):.2f} of the bound, {len(failures)} failures, "
        f"{time.monotonic() - start:.0f} s"
    )
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
