"""Images to explain and evaluate: data sets by name, and your own folders, files and sequences."""

from signsal_jax._extras import extra

extra("PIL", "study")
extra("tqdm", "study")

from signsal_jax.data.arrays import Elements as Elements, from_sequence as from_sequence
from signsal_jax.data.classes import (
    display_name as display_name,
    match_classes as match_classes,
    wordnet_names as wordnet_names,
)
from signsal_jax.data.dataset import (
    Arrays as Arrays,
    Batch as Batch,
    Dataset as Dataset,
    batches as batches,
    in_memory as in_memory,
    resize as resize,
    training_batches as training_batches,
)
from signsal_jax.data.digits import MNIST5K as MNIST5K
from signsal_jax.data.load import load as load
from signsal_jax.data.reading import (
    Rows as Rows,
    Source as Source,
    UnreadableImageError as UnreadableImageError,
    read_ahead as read_ahead,
    to_float as to_float,
)
from signsal_jax.data.tfds import (
    NotPreparedError as NotPreparedError,
    default_data_dir as default_data_dir,
    prepare as prepare,
)
