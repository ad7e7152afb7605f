"""Convolution and pooling whose pullbacks are fast on CPU, and networks rewritten to use them."""

from signsal_jax.nn._accelerate import accelerate as accelerate
from signsal_jax.nn._layers import conv2d as conv2d, max_pool as max_pool
