"""What goes wrong with weights that somebody else wrote."""


class WeightsError(ValueError):
    """A file that is no weights file, or weights that do not fit the network."""
