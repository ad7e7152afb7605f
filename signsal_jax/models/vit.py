"""Vision transformers as in torchvision and timm."""

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from signsal_jax.models.layers import Conv, Linear, layer_norm, named_features

# Positions that a network has one embedding for: 14x14 patches, of an image of 224x224.
GRID = 14
PATCH = 16


class Attention(nnx.Module):
    """Attention between tokens, with separate queries, keys and values, over several heads."""

    def __init__(self, features: int, heads: int, *, rngs: nnx.Rngs):
        self.heads = heads
        self.query = Linear(features, features, rngs=rngs)
        self.key = Linear(features, features, rngs=rngs)
        self.value = Linear(features, features, rngs=rngs)
        self.project = Linear(features, features, rngs=rngs)

    def __call__(self, x: Array, asking: Array) -> Array:
        """Returns what the tokens `asking` read from the tokens `x`, both normalized."""

        def split(tokens: Array) -> Array:
            return tokens.reshape(*tokens.shape[:2], self.heads, -1)

        query, key, value = split(self.query(asking)), split(self.key(x)), split(self.value(x))
        scores = jnp.einsum("bqhd,bkhd->bhqk", query, key) * query.shape[-1] ** -0.5
        read = jnp.einsum("bhqk,bkhd->bqhd", jax.nn.softmax(scores, axis=-1), value)
        return self.project(read.reshape(asking.shape))


class Block(nnx.Module):
    """Attention and a two-layer perceptron, each with layer norm before and a shortcut around."""

    def __init__(self, features: int, heads: int, *, rngs: nnx.Rngs):
        self.norm1 = layer_norm(features, rngs=rngs)
        self.attention = Attention(features, heads, rngs=rngs)
        self.norm2 = layer_norm(features, rngs=rngs)
        self.expand = Linear(features, 4 * features, rngs=rngs)
        self.project = Linear(4 * features, features, rngs=rngs)

    def __call__(self, x: Array, count: int | None = None) -> Array:
        """Returns the first `count` tokens, None for all; nothing is computed for the others."""
        normed = self.norm1(x)
        x = x[:, :count] + self.attention(normed, normed[:, :count])
        hidden = jax.nn.gelu(self.expand(self.norm2(x)), approximate=False)
        return x + self.project(hidden)


class ViT(nnx.Module):
    """A vision transformer with a class token, by default ViT-Ti/16.

    Images of more or fewer patches than `grid` squared get position embeddings interpolated between
    those learned (bicubic), as the paper does for finer images; rows and columns that fill no patch
    are left out.

    Reference: Dosovitskiy et al., An Image is Worth 16x16 Words (2021), section 3.1; Touvron et
    al., Training data-efficient image transformers (2021), table 1, for Ti and S. Dropout is
    omitted: it acts only during training.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        in_features: int = 3,
        features: int = 192,
        heads: int = 3,
        depth: int = 12,
        patch: int = PATCH,
        grid: int = GRID,
        rngs: nnx.Rngs,
    ):
        self.grid = grid
        self.stem = Conv(in_features, features, patch, strides=patch, rngs=rngs)
        self.class_token = nnx.Param(jnp.zeros((1, 1, features)))
        positions = 0.02 * jax.random.normal(rngs.params(), (1, 1 + grid**2, features))
        self.positions = nnx.Param(positions)
        self.blocks = nnx.List(Block(features, heads, rngs=rngs) for _ in range(depth))
        self.norm = layer_norm(features, rngs=rngs)
        self.classifier = Linear(features, num_classes, rngs=rngs)

    def __call__(self, images: Array) -> Array:
        patches = self.stem(images)
        batch, *grid, features = patches.shape
        token = jnp.broadcast_to(self.class_token[...], (batch, 1, features))
        x = jnp.concatenate([token, patches.reshape(batch, -1, features)], axis=1)
        x = x + self._positions(grid[0], grid[1])
        for index, block in enumerate(self.blocks):
            last = index == len(self.blocks) - 1
            if last:
                named = named_features(x[:, 1:].reshape(patches.shape))
                x = jnp.concatenate([x[:, :1], named.reshape(batch, -1, features)], axis=1)
            # The classifier reads the class token alone.
            x = block(x, 1 if last else None)
        return self.classifier(self.norm(x[:, 0]))

    def _positions(self, height: int, width: int) -> Array:
        learned = self.positions[...]
        if (height, width) == (self.grid, self.grid):
            return learned
        grid = learned[:, 1:].reshape(1, self.grid, self.grid, -1)
        grid = jax.image.resize(grid, (1, height, width, grid.shape[3]), "cubic", antialias=False)
        return jnp.concatenate([learned[:, :1], grid.reshape(1, -1, grid.shape[3])], axis=1)
