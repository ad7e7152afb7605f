"""The paper's Basic CNN."""

from signsal_jax.weights.table import Layout, Rules, conv, linear


def layouts(name: str) -> tuple[Layout, ...]:
    """The names in the authors' PyTorch implementation."""
    rules: Rules = conv("cnn_net.0", "stem")
    for block in range(3):
        for index in range(3):
            # Blocks come after stem, ReLU and pooling; each of their convolutions has a ReLU.
            source = f"cnn_net.{3 + block}.net.{2 * index}"
            rules += conv(source, f"blocks.{block}.convs.{index}")
    rules += linear("classifier", "classifier")
    return (Layout(name, "authors", tuple(rules), classifier="classifier.weight"),)
