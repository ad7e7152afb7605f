"""From a classifier and images to the gradients of its class scores."""

from signsal_jax._types import ClassExtrema as ClassExtrema
from signsal_jax.gradients._extrema import (
    class_extrema as class_extrema,
    resolve_target as resolve_target,
    target_gradient as target_gradient,
)
from signsal_jax.gradients._jacobian import signed_jacobian as signed_jacobian
from signsal_jax.gradients._linearize import (
    CPU_CLASSES as CPU_CLASSES,
    Pullback as Pullback,
    class_gradients as class_gradients,
    linearize as linearize,
    same_class_gradients as same_class_gradients,
)
from signsal_jax.gradients._sharded import (
    sharded_extrema as sharded_extrema,
    split_extrema as split_extrema,
)
