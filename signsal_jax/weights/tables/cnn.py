"""The paper's Basic CNN."""

from signsal_jax.weights.table import Layout, Rules, conv, linear


def layouts(name: str) -> tuple[Layout, ...]:
    """The names of the authors' PyTorch implementation."""
    rules: Rules = conv("cnn_net.0", "stem")
    for block in range(3):
        for index in range(3):
            # Behind stem, ReLU and pooling; every convolution of a block is followed by a ReLU.
            source = f"cnn_net.{3 + block}.net.{2 * index}"
            rules += conv(source, f"blocks.{block}.convs.{index}")
    rules += linear("classifier", "classifier")
    return (Layout(name, "authors", tuple(rules), classifier="classifier.weight"),)
