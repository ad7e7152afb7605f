"""The error for weights that cannot be used, and safe printing of the names in them."""

_LONGEST = 200


class WeightsError(ValueError):
    """A file that is not a weights file, or weights that do not fit the network."""


def printable(text: object) -> str:
    r"""Makes text from a file safe to print: escapes control characters and bounds the length.

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
    """Joins names with commas for a message; of those beyond the first `most`, only counts them.

    >>> listed(["a", "b", "c"], 2)
    'a, b and 1 more'
    """
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
