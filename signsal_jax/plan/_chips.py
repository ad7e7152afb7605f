"""Published figures of the TPU chips that a study can be planned for."""

from typing import NamedTuple


class Chip(NamedTuple):
    """One device of a chip, as its maker describes it: the chip, or a part of it.

    Attributes:
      hbm_bytes: memory of the device, with a GB taken as 10^9 bytes, the smaller of its meanings.
      bf16_flops: peak operations per second in bfloat16 products.
      source: the page that publishes the figures.
      configuration: compiler setting for chips whose two cores act as one device, if it needs one.
      devices: that a chip is to JAX; it has so many times the memory and the speed.
    """

    hbm_bytes: int
    bf16_flops: float
    source: str
    configuration: str | None = None
    devices: int = 1


_DOCUMENTATION = "https://cloud.google.com/tpu/docs"

CHIPS = {
    "v4": Chip(32 * 10**9, 275e12, f"{_DOCUMENTATION}/v4", "megacore"),
    "v5e": Chip(16 * 10**9, 197e12, f"{_DOCUMENTATION}/v5e"),
    "v5p": Chip(95 * 10**9, 459e12, f"{_DOCUMENTATION}/v5p"),
    "v6e": Chip(32 * 10**9, 918e12, f"{_DOCUMENTATION}/v6e"),
    # Ironwood: 192 GB and 2,307 TFLOP/s per chip, whose two chiplets are a device each.
    "tpu7x": Chip(96 * 10**9, 2307e12 / 2, f"{_DOCUMENTATION}/tpu7x", devices=2),
}

# Passes of the bfloat16 units per float32 product, from the documentation of jax.lax.Precision.
FLOAT32_PASSES = {"default": 1, "high": 3, "highest": 6}
