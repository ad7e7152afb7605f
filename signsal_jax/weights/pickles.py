"""A pickle reader that handles torch's tensors and plain containers, and nothing else.

A pickle is a program that can call any function of any installed module. Python's own reader runs
that program; even if it is given no functions, it hashes, compares and allocates whatever the file
asks for. This reader interprets only the few operations found in torch's files. It builds strings,
numbers, lists, tuples, dicts and inert descriptions of tensors, looks names up in the table of
`torch_objects`, and refuses everything else. It never recurses, and both the number of operations
and the time and memory of each are bounded.
"""

import io
import pickletools
from typing import Any

from signsal_jax.weights.errors import WeightsError, printable
from signsal_jax.weights.torch_objects import (
    LONGEST_NAME,
    Constructor,
    Storage,
    StorageType,
    describe,
    is_natural,
    known,
    set_item,
)

# A tensor takes about 40 operations and 200 bytes. Python objects are larger than the opcodes that
# make them: these limits keep their total below 256 MB.
_MOST_OPERATIONS = 2**20
_MOST_BYTES = 2**25
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_NUMBERS = ("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT")
_TEXTS = ("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8")
_BYTES = ("BINBYTES", "SHORT_BINBYTES", "BINBYTES8")
_VALUES = frozenset((*_NUMBERS, *_TEXTS, *_BYTES))
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class _Machine:
    """The stack, the memo and the marks of a pickle's program."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.storages: dict[str, Storage] = {}
        self.operations = 0

    def charge(self, operations: int) -> None:
        self.operations += operations
        if self.operations > _MOST_OPERATIONS:
            raise WeightsError(
                f"expected at most {_MOST_OPERATIONS} operations in a pickle: save the network's "
                "state_dict() alone"
            )

    def pop(self, count: int) -> list[Any]:
        """Removes and returns the last `count` values, all above the last mark."""
        start = len(self.stack) - count
        if start < (self.marks[-1] if self.marks else 0):
            raise WeightsError("damaged: a value is missing")
        values = self.stack[start:]
        del self.stack[start:]
        return values

    def pop_mark(self) -> list[Any]:
        """Removes the last mark and all values above it, and returns the values."""
        if not self.marks:
            raise WeightsError("damaged: a mark is missing")
        values = self.pop(len(self.stack) - self.marks[-1])
        self.marks.pop()
        return values

    def top(self, kind: type) -> Any:
        """Returns the last value, which stays on the stack and must be a `kind`."""
        (value,) = self.pop(1)
        if not isinstance(value, kind):
            raise WeightsError(f"damaged: expected a {kind.__name__}, got {describe(value)}")
        self.stack.append(value)
        return value

    def run(self, name: str, argument: Any) -> None:
        """Carries out one operation other than STOP."""
        match name:
            case "PROTO" | "FRAME":
                pass
            case "MARK":
                self.marks.append(len(self.stack))
            case "EMPTY_LIST":
                self.stack.append([])
            case "EMPTY_DICT":
                self.stack.append({})
            case "TUPLE":
                self.stack.append(tuple(self.pop_mark()))
            case "SHORT_BINSTRING" | "BINSTRING":  # Python 2's str; pickletools took it for latin-1
                self.stack.append(argument.encode("latin-1").decode("utf-8"))
            case "APPEND":
                (value,) = self.pop(1)
                self.top(list).append(value)
            case "APPENDS":
                values = self.pop_mark()
                self.top(list).extend(values)
            case "SETITEM":
                key, value = self.pop(2)
                set_item(self.top(dict), key, value)
            case "SETITEMS":
                values = self.pop_mark()
                target = self.top(dict)
                for key, value in zip(values[::2], values[1::2], strict=True):
                    set_item(target, key, value)
            case "BINPUT" | "LONG_BINPUT":
                self.memo[argument] = self.top(object)
            case "MEMOIZE":
                self.memo[len(self.memo)] = self.top(object)
            case "BINGET" | "LONG_BINGET":
                if argument not in self.memo:
                    raise WeightsError(f"damaged: place {argument} of the memo is empty")
                self.stack.append(self.memo[argument])
            case "GLOBAL":
                self.stack.append(known(argument))
            case "STACK_GLOBAL":
                module, qualified_name = self.pop(2)
                if not isinstance(module, str) or not isinstance(qualified_name, str):
                    raise WeightsError("damaged: expected the name of a module and one in it")
                self.stack.append(known(f"{module} {qualified_name}"))
            case "BINPERSID":
                self.stack.append(self.storage(*self.pop(1)))
            case "REDUCE":
                self.stack.append(self.call(*self.pop(2)))
            case "BUILD":
                # Torch sets attributes on ordered dicts; nothing here needs them.
                self.pop(1)
                self.top(dict)
            case _ if name in _CONSTANTS:
                self.stack.append(_CONSTANTS[name])
            case _ if name in _VALUES:
                self.stack.append(argument)
            case _ if name in _TUPLES:
                self.stack.append(tuple(self.pop(_TUPLES[name])))
            case _:
                raise WeightsError(f"expected tensors and plain containers only, got {name}")

    def call(self, function: Any, arguments: Any) -> Any:
        if not isinstance(function, Constructor) or not isinstance(arguments, tuple):
            raise WeightsError(f"damaged: expected a constructor, got {describe(function)}")
        # Copied elements count as if the file had listed them.
        self.charge(sum(len(value) for value in arguments if isinstance(value, list | tuple)))
        return function.function(*arguments)

    def storage(self, pid: Any) -> Storage:
        match pid:
            case ("storage", StorageType(dtype), str(key), str(), size, *rest) if (
                is_natural(size) and len(key) <= LONGEST_NAME
            ):
                # Old files may refer to part of another storage; recent writers never do.
                if any(view is not None for view in rest):
                    raise WeightsError("expected whole storages, got a view of one")
                storage = Storage(dtype, key, size)
                if self.storages.setdefault(key, storage) != storage:
                    raise WeightsError(f"storage {printable(key)} is described in two ways")
                return storage
        raise WeightsError(f"expected a tensor's storage, got {describe(pid)}")


def load(data: memoryview, start: int = 0) -> tuple[Any, dict[str, Storage], int]:
    """Reads the pickle that begins at `start`, with descriptions in place of tensors.

    Returns:
      The content (dict, list, tuple, numbers, strings and `Tensor`), the storages that it refers
      to, by key, and the position just after it.

    Raises:
      WeightsError: any other object (the message names it; nothing is executed), dictionary keys
        other than strings and integers, more than a million operations, or damage.

    >>> import os, pickle
    >>> load(memoryview(pickle.dumps({"epoch": 3, "best": [0.5]})))
    ({'epoch': 3, 'best': [0.5]}, {}, 45)
    >>> load(memoryview(pickle.dumps(os.getcwd)))
    Traceback (most recent call last):
    ...
    signsal_jax.weights.errors.WeightsError: expected tensors and plain containers only, got \
posix.getcwd, which was not executed: save the network's state_dict() alone
    """
    machine, file = _Machine(), io.BytesIO(data[start : start + _MOST_BYTES])
    try:
        for opcode, argument, _ in pickletools.genops(file):
            if opcode.name == "STOP":
                (content,) = machine.pop(1)
                return content, machine.storages, start + file.tell()
            machine.charge(1)
            machine.run(opcode.name, argument)
    except WeightsError:
        raise
    except ValueError as error:  # an invalid opcode, or its argument is cut off
        if len(data) - start > _MOST_BYTES:
            raise WeightsError(f"expected a pickle of at most {_MOST_BYTES} bytes") from error
        raise WeightsError(f"truncated or damaged ({printable(error)})") from error
    raise WeightsError("truncated: the pickle does not end")
