"""First runs that may fail or last too long, as another library's compilation may."""

import contextlib
import signal
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

_LONGEST_REASON = 200


class Attempt(NamedTuple):
    """What a run returned, or the reason that it returned nothing."""

    result: Any
    failure: str | None


class _TooLong(BaseException):
    """Not an `Exception`, which a compiler may take for a failure of its own and go on."""


@contextlib.contextmanager
def _limited(seconds: float) -> Iterator[None]:
    def stop(*_: Any) -> None:
        raise _TooLong

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def attempt(run: Callable[[], Any], seconds: float) -> Attempt:
    """Runs once, for at most so many seconds (main thread only).

    >>> attempt(lambda: 3, 60)
    Attempt(result=3, failure=None)
    >>> attempt(lambda: [][0], 60)
    Attempt(result=None, failure='IndexError: list index out of range')
    """
    try:
        with _limited(seconds):
            return Attempt(run(), None)
    except _TooLong:
        return Attempt(None, f"took longer than {seconds:g} s")
    except Exception as error:
        message = f"{type(error).__name__}: {error}".strip().splitlines()[0]
        return Attempt(None, message[:_LONGEST_REASON])
