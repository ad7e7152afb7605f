"""What goes wrong with weights that somebody else wrote, and how their names are printed."""

_LONGEST = 200


class WeightsError(ValueError):
    """A file that is no weights file, or weights that do not fit the network."""


def printable(text: object) -> str:
    r"""A text from a file, fit for a terminal: control characters escaped, the length bounded.

    >>> printable("fc.\x1b[2Jweight")
    'fc.\\x1b[2Jweight'
    """
    text = str(text)
    shown = "".join(
        character if character.isprintable() else ascii(character)[1:-1]
        for character in text[:_LONGEST]
    )
    return shown if len(text) <= _LONGEST else f"{shown}..."


def listed(names: list[str], most: int) -> str:
    """Names for a message, separated by commas; beyond `most` their number.

    >>> listed(["a", "b", "c"], 2)
    'a, b and 1 more'
    """
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
