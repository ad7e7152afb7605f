"""The end of a command: one line for a user's mistake, a traceback for a bug, at once on Ctrl-C."""

import dis
import sys
import traceback
from collections.abc import Callable

MISTAKE, BUG, INTERRUPTED = 1, 70, 130

_RAISE = dis.opmap["RAISE_VARARGS"]
_KINDS = (ValueError, TypeError, ImportError, OSError, FloatingPointError)
_PACKAGES = ("signsal_jax", "train")


def run(program: str, command: Callable[[], int], *, debug: bool = False) -> int:
    """Runs a command and returns the exit status of the program.

    Args:
      program: the program's name, put in front of messages on stderr.
      command: a function that does the work and returns an exit status.
      debug: show the traceback of every error.

    Returns:
      The command's status; 1 for an error of the user or the system (no such file, disk full),
      70 for a bug, 130 for Ctrl-C.
    """
    try:
        return command()
    except KeyboardInterrupt:
        if debug:
            traceback.print_exc()
        print(f"{program}: interrupted; completed parts are kept", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        expected = is_expected(error)
        if debug or not expected:
            traceback.print_exc()
        if expected:
            print(f"{program}: {error}", file=sys.stderr)
            return MISTAKE
        print(f"{program}: the error above is a bug: please report it", file=sys.stderr)
        return BUG


def is_expected(error: Exception) -> bool:
    """Whether one of our own checks or the operating system raised this error.

    Bugs raise the same types, so the type does not tell. Our checks are `raise` statements in our
    own files: the last instruction of the traceback shows whether one of them raised the error.
    """
    if isinstance(error, OSError) and error.errno is not None:
        return True
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    if last is None or not isinstance(error, _KINDS):
        return False
    package = last.tb_frame.f_globals.get("__name__", "").partition(".")[0]
    return package in _PACKAGES and last.tb_frame.f_code.co_code[last.tb_lasti] == _RAISE
