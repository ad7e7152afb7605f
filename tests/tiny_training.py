"""Training with a network and images so small that a run takes a second.

python -m tests.tiny_training OPTIONS is python -m train OPTIONS on them.
"""

import sys

import numpy as np
import safetensors.numpy
from flax import nnx

from signsal_jax import data, models, weights
from signsal_jax.models import registry
from signsal_jax.models.registry import create_backbone
from signsal_jax.models.resnet import ResNet
from signsal_jax.weights import tables as weight_tables
from signsal_jax.weights.tables import resnet as resnet_tables
from train import __main__ as command

SHAPE = (4, 4, 1)


class Tiny(nnx.Module):
    """Batch norm and one linear layer: parameters, batch statistics, hardly any arithmetic."""

    def __init__(self, classes: int, rngs: nnx.Rngs):
        self.norm = nnx.BatchNorm(16, rngs=rngs)
        self.linear = nnx.Linear(16, classes, rngs=rngs)

    def __call__(self, images):
        return self.linear(self.norm(images.reshape(len(images), -1)))


def create(name, classes, *, in_features, key):
    """Takes the place of `models.create`."""
    return Tiny(classes, nnx.Rngs(params=key))


def load(name, split, *, data_dir=None, image_size=None):
    """Takes the place of `data.load`: 40 noisy pictures, the brighter row is the class."""
    generator = np.random.default_rng(len(split))
    labels = np.arange(40, dtype=np.int32) % 4
    images = generator.integers(0, 120, (40, *SHAPE))
    images[np.arange(40), labels] += 100
    source = data.Arrays(images.astype(np.uint8), labels)
    return data.Dataset("rows:1.0.0", split, ("a", "b", "c", "d"), SHAPE, source, "Rows of noise.")


def load_two_tones(name, split, **_):
    """Takes the place of `data.load`: two classes of 32x32 colour images, dark and bright."""
    labels = np.arange(24, dtype=np.int32) % 2
    noise = np.random.default_rng(len(split)).integers(0, 60, (24, 32, 32, 3))
    images = (noise + 120 * labels[:, None, None, None]).astype(np.uint8)
    return data.Dataset(name, split, ("dark", "bright"), (32, 32, 3), data.Arrays(images, labels))


def _shallow(num_classes, in_features, rngs):
    return ResNet(num_classes, in_features=in_features, depths=(1,), rngs=rngs)


def make_resnet18_shallow(patch):
    """Gives "resnet18" one block instead of eight: compiling the others takes most of a test."""
    architecture = registry._ARCHITECTURES["resnet18"]
    patch.setitem(registry._ARCHITECTURES, "resnet18", architecture._replace(build=_shallow))
    patch.setitem(resnet_tables._SHAPES, "resnet18", ((1,), 2))
    # What is cached belongs to the whole network, before and after.
    patch.setattr(weight_tables, "layouts", weight_tables.layouts.__wrapped__)
    patch.setattr(weights, "layouts", weight_tables.layouts)


def write_resnet18(path):
    """Writes random ResNet-18 weights as torchvision would."""
    layout = weights.layouts("resnet18")[0]
    variables = nnx.to_pure_dict(nnx.state(nnx.eval_shape(lambda: create_backbone("resnet18"))))
    generator = np.random.default_rng(0)
    arrays = {
        key: generator.uniform(0.5, 1, shape).astype(np.float32)
        if len(shape) == 1
        else (generator.normal(size=shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)
        for key, shape in weights.source_shapes(layout, variables).items()
    }
    safetensors.numpy.save_file(arrays, path)


if __name__ == "__main__":
    setattr(models, "create", create)  # noqa: B010 - the name is a re-export
    setattr(data, "load", load)  # noqa: B010
    sys.exit(command.main())
