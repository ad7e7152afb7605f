"""The gradient method that a command line names."""

import dataclasses
from typing import Literal

from signsal_jax.gradients import Estimator, named_estimator

# Which options belong to which method.
_OWN = {
    "plain": (),
    "smooth_grad": ("samples", "noise", "seed"),
    "integrated_gradients": ("steps", "baseline"),
}


@dataclasses.dataclass(frozen=True)
class EstimatorOptions:
    """The gradient method, and its settings; those not given are its own defaults."""

    estimator: Literal[tuple(_OWN)] = "plain"  # pyright: ignore[reportInvalidTypeForm]
    """The gradient at the picture, or averaged over noise or along a path."""
    samples: int | None = None
    """For smooth_grad: noisy copies (default: 32)."""
    noise: float | None = None
    """For smooth_grad: the noise's standard deviation, in units of pixel value (default: 0.1)."""
    seed: int | None = None
    """For smooth_grad: of the noise (default: 0)."""
    steps: int | None = None
    """For integrated_gradients: points on the path (default: 32)."""
    baseline: float | None = None
    """For integrated_gradients: the gray level where the path starts (default: 0, black)."""

    def make(self) -> Estimator:
        """The estimator.

        Raises:
          ValueError: an option of another method, or a value that the method cannot have.
        """
        given = dataclasses.asdict(self)
        settings = {
            name: value
            for name, value in given.items()
            if name != "estimator" and value is not None
        }
        for name in settings:
            if name not in _OWN[self.estimator]:
                owner = next(method for method, names in _OWN.items() if name in names)
                raise ValueError(
                    f"--{name}: expected with --estimator {owner}, got {self.estimator}"
                )
        if "seed" in settings:
            settings["noise_seed"] = settings.pop("seed")
        return named_estimator(self.estimator, **settings)
