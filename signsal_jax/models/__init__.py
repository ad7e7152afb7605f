"""The zoo: networks by name, and conversion of Flax NNX modules to `apply_fn` and variables."""

from signsal_jax._extras import extra

extra("flax", "zoo")

from signsal_jax.models.functional import from_nnx as from_nnx
from signsal_jax.models.pretrained import Model as Model, load as load
from signsal_jax.models.registry import MODELS as MODELS, create as create
