"""Progress of long work: a bar on a terminal, elsewhere one line every 30 seconds."""

import sys
import time
from collections.abc import Mapping
from typing import Any, Protocol

from tqdm import tqdm

# A bar appears only if the work takes longer.
_DELAY_SECONDS = 2
_LINE_SECONDS = 30


class Progress(Protocol):
    """A display of progress; as a context manager it closes itself at the end."""

    def update(self, n: int = 1, /) -> Any:
        """Counts `n` more units as done."""
        ...

    def set_postfix(self, values: Mapping[str, Any], /) -> Any:
        """Shows some figures of the work beside the progress."""
        ...

    def close(self) -> None: ...
    def __enter__(self) -> Any: ...
    def __exit__(self, *error: Any) -> None: ...


def progress(title: str, total: int, unit: str, *, initial: int = 0, hidden: bool = False) -> Any:
    """Starts to show progress on stderr.

    Args:
      title: the work, such as "training cnn".
      total: the number of units in all.
      unit: the name of a unit, in the singular.
      initial: the number of units that are already done.
      hidden: show nothing, as on all processes but the first.

    Returns:
      `Progress`.
    """
    if hidden or sys.stderr.isatty():
        return tqdm(
            desc=title,
            total=total,
            unit=unit,
            initial=initial,
            delay=_DELAY_SECONDS,
            disable=hidden,
        )
    return Lines(title, total, unit, initial)


def write(text: str) -> None:
    """Prints a line to stdout at once, above the bar if one is shown."""
    tqdm.write(text)
    sys.stdout.flush()


class Lines:
    """Progress for files and pipes: a line every 30 seconds with rate and time left."""

    def __init__(self, title: str, total: int, unit: str, initial: int = 0):
        self._title, self._total, self._unit = title, total, unit
        self._initial = self._done = initial
        self._started = self._said = time.monotonic()
        self._postfix = ""

    def update(self, n: int = 1, /) -> None:
        self._done += n
        now = time.monotonic()
        if now - self._said >= _LINE_SECONDS:
            self._said = now
            print(self._line(now), file=sys.stderr, flush=True)

    def _line(self, now: float) -> str:
        rate = (self._done - self._initial) / (now - self._started)
        left = tqdm.format_interval((self._total - self._done) / rate) if rate else "?"
        done = f"{self._done} of {self._total} ({self._done / max(1, self._total):.0%})"
        return (
            f"{self._title}: {self._unit} {done}, {rate:.3g} per second, {left} left{self._postfix}"
        )

    def set_postfix(self, values: Mapping[str, Any], /) -> None:
        self._postfix = "".join(f", {name} {value}" for name, value in values.items())

    def close(self) -> None:
        pass

    def __enter__(self) -> "Lines":
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()
