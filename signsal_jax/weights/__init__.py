"""Conversion of published weights files to variables of the zoo's networks, without torch."""

from signsal_jax._extras import extra

extra("safetensors", "zoo")

from signsal_jax.weights.conversion import (
    convert as convert,
    count_classes as count_classes,
    source_shapes as source_shapes,
)
from signsal_jax.weights.errors import WeightsError as WeightsError
from signsal_jax.weights.packages import PACKAGED as PACKAGED, packaged as packaged
from signsal_jax.weights.prefix import without_prefix as without_prefix
from signsal_jax.weights.reading import (
    WeightsFile as WeightsFile,
    read as read,
    sha256 as sha256,
)
from signsal_jax.weights.table import Layout as Layout, Rule as Rule
from signsal_jax.weights.tables import (
    ARCHITECTURES as ARCHITECTURES,
    layouts as layouts,
    select_layout as select_layout,
)
