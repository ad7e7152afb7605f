"""Published figures of the TPU chips that a study can be planned for."""

from typing import NamedTuple


class Chip(NamedTuple):
    """One chip, as its maker describes it.

    Attributes:
      hbm_bytes: memory of the chip; a GB taken as 10^9 bytes, the smaller reading.
      bf16_flops: peak operations a second of products of bfloat16.
      source: where the figures are published.
      configuration: for the compiler, where a chip has more than one core: both as one device.
    """

    hbm_bytes: int
    bf16_flops: float
    source: str
    configuration: str | None = None


_DOCUMENTATION = "https://cloud.google.com/tpu/docs"

CHIPS = {
    "v4": Chip(32 * 10**9, 275e12, f"{_DOCUMENTATION}/v4", "megacore"),
    "v5e": Chip(16 * 10**9, 197e12, f"{_DOCUMENTATION}/v5e"),
    "v5p": Chip(95 * 10**9, 459e12, f"{_DOCUMENTATION}/v5p"),
    "v6e": Chip(32 * 10**9, 918e12, f"{_DOCUMENTATION}/v6e"),
}

# How often the bfloat16 units run for one float32 product: documentation of jax.lax.Precision.
FLOAT32_PASSES = {"default": 1, "high": 3, "highest": 6}
