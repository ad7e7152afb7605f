"""Image classification data by name: bundled digits, or any TFDS set read without TensorFlow."""

from signsal_jax._extras import extra

extra("PIL", "study")
extra("tqdm", "study")

from signsal_jax.data.dataset import (
    Arrays as Arrays,
    Batch as Batch,
    Dataset as Dataset,
    Source as Source,
    batches as batches,
    resize as resize,
    to_float as to_float,
    training_batches as training_batches,
)
from signsal_jax.data.digits import MNIST5K as MNIST5K
from signsal_jax.data.load import load as load
from signsal_jax.data.tfds import (
    NotPreparedError as NotPreparedError,
    default_data_dir as default_data_dir,
    prepare as prepare,
)
