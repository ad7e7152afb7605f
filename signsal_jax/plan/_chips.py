"""Published figures of the TPU chips that a study can be planned for."""

from typing import NamedTuple


class Chip(NamedTuple):
    """One chip, as its maker describes it.

    Attributes:
      hbm_bytes: memory of the chip, with a GB taken as 10^9 bytes, the smaller of its meanings.
      bf16_flops: peak operations per second in bfloat16 products.
      source: the page that publishes the figures.
      configuration: compiler setting for chips whose two cores act as one device, if it needs one.
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

# Passes of the bfloat16 units per float32 product, from the documentation of jax.lax.Precision.
FLOAT32_PASSES = {"default": 1, "high": 3, "highest": 6}
