"""What a study computes: its configuration, declared once for Python, TOML and command line."""

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from signsal_jax import _checks
from signsal_jax._methods import ALL_METHODS, METHODS, check_maps
from signsal_jax.evaluations.deletion import OTHER_CURVES, PAPER_CURVES
from signsal_jax.evaluations.perturbation import PAPER_FRACTIONS, RULES
from signsal_jax.evaluations.registry import ENTRIES
from signsal_jax.evaluations.steps import EPSILONS, check_steps
from signsal_jax.gradients import THROUGH, EstimatorConfig

STORABLE = tuple(ENTRIES)
STORAGES = ("float16", "float32")
EVALUATION = ("logits", "deletion", "controls", "shares")
"""What an evaluation stores: no maps, and of what takes a network's time only deletion."""


@dataclasses.dataclass(frozen=True)
class StudyConfig(EstimatorConfig):
    """What a study computes; two studies with equal fields give the same numbers."""

    dataset: str = ""
    """mnist5k, cifar10, imagenette, or any TFDS image classification set by its TFDS name."""
    split: str = "test"
    """One split, or several joined as in train+test."""
    images: int | None = None
    """Only the first so many; None for all. Raised later, it extends a study."""
    model: str | None = None
    """A network with trained weights: cnn-cifar10, cnn-imagenette and efficientnet_lite0 have
    theirs."""
    run: str | None = None
    """A training run's folder, instead of a model."""
    weights: str | None = None
    """For a model: a safetensors or torch file, or hf://owner/name."""
    preprocess: bool = True
    """Apply the normalization that the weights were trained with; otherwise feed raw pixels."""
    methods: tuple[Literal[ALL_METHODS], ...] = METHODS  # pyright: ignore[reportInvalidTypeForm]
    """The maps."""
    target: int | str = "predicted"
    """The class explained: predicted, label, or an index."""
    store: tuple[str, ...] = ("maps", "logits", "deletion", "controls", "shares", "norm")
    """What to store of each image, any of maps, logits, runner_up, deletion, insertion,
    controls, imputation, small_step, rival, rival_groups, patches, infidelity, sensitivity,
    randomization, sparsity, shares, rivals, norm, gram, sign_agreement. Without controls, deletion
    takes about half the time, and nothing says what an order that explains nothing gets."""
    fractions: tuple[float, ...] = PAPER_FRACTIONS
    """Shares of deleted (or inserted) pixels, each in [0, 1]."""
    control_seed: int = 0
    """Of all that is random in evaluations: orders, signs, pixels, perturbations, weights."""
    control_orders: int = 1
    """Random orders among the controls of deletion, beside an edge filter and gradient x input."""
    step_share: float = 0.05
    """The share of pixels that small_step and rival move."""
    epsilons: tuple[float, ...] = EPSILONS
    """How far small_step moves them, in units of pixel value."""
    rule: Literal[RULES] = "paper"  # pyright: ignore[reportInvalidTypeForm]
    """How many pixels a fraction deletes, see `deletion_masks`."""
    precision: Literal["highest", "high", "default"] = "highest"
    """Of float32 products on devices that would round them; "default" is fastest there."""
    storage: Literal[STORAGES] = "float16"  # pyright: ignore[reportInvalidTypeForm]
    """The type that maps are stored in."""
    chunk: int = 64
    """Images computed together; at most so many are computed again where a worker is lost."""
    group: int | Literal["auto"] = "auto"
    """Chunks leased and committed together, in one object of each array; auto for about 500 groups
    of at most 1 GiB."""
    class_chunk: int | Literal["auto"] | None = "auto"
    """Classes pulled back at a time on each device: a number, auto for what fits about 1 GiB beside
    the forward pass, or None for all."""

    through: Literal[THROUGH] = "auto"  # pyright: ignore[reportInvalidTypeForm]
    """A pullback per class (scores), one per feature at the network's narrowest place (features),
    or what costs less (auto); the manifest says which."""

    def __post_init__(self) -> None:
        hints = typing.get_type_hints(type(self))
        for field in dataclasses.fields(self):
            _check_type(field.name, getattr(self, field.name), hints[field.name])
        for name in self.store:
            _checks.check_member("store", name, tuple(ENTRIES))
        _checks.check_class_chunk(self.class_chunk, auto=True)
        _checks.check_fractions(self.fractions)
        check_steps(self.step_share, self.epsilons)
        if isinstance(self.target, str):
            _checks.check_member("target", self.target, ("predicted", "label"))
        for name in ("chunk", "group", "images", "control_orders"):
            value = getattr(self, name)
            if value not in (None, "auto") and value < 1:
                raise ValueError(f"{name}: expected at least 1, got {value}")
        if len(set(self.splits)) < len(self.splits) or "" in self.splits:
            raise ValueError(f"split: expected each split once, got {self.split!r}")

        # Raises where the estimator's settings do not fit it, or the maps do not.
        check_maps(self.methods, self.make_estimator())

    def replaced(self, fields: Mapping[str, Any]) -> "StudyConfig":
        """The configuration with fields as TOML or JSON has them: with lists for tuples."""
        tuples = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in fields.items()
        }
        return dataclasses.replace(self, **tuples)

    @property
    def splits(self) -> list[str]:
        """The names joined in `split`."""
        return self.split.split("+")

    @property
    def curves(self) -> tuple[tuple[str, str], ...]:
        """The deletion curves whose map is computed, (fill, method)."""
        curves = *PAPER_CURVES, *OTHER_CURVES
        return tuple(curve for curve in curves if curve[1] in self.methods)


def _check_type(name: str, value: Any, hint: Any) -> None:
    """Raises unless a field has its declared type, or is among its declared values."""
    if typing.get_origin(hint) is tuple and isinstance(value, tuple):
        for item in value:
            _check_type(name, item, typing.get_args(hint)[0])
    elif typing.get_origin(hint) is Literal:
        _checks.check_member(name, value, typing.get_args(hint))
    elif not _fits(value, hint):
        expected = getattr(hint, "__name__", str(hint)) if isinstance(hint, type) else hint
        raise TypeError(f"{name}: expected {str(expected).replace('typing.', '')}, got {value!r}")


def _fits(value: Any, hint: Any) -> bool:
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        return any(_fits(value, option) for option in typing.get_args(hint))
    if typing.get_origin(hint) is Literal:
        return isinstance(value, str) and value in typing.get_args(hint)
    if typing.get_origin(hint) is tuple:
        return isinstance(value, tuple)
    if hint in (int, float):
        numbers = (int, np.integer) if hint is int else (int, float, np.integer, np.floating)
        return isinstance(value, numbers) and not isinstance(value, bool)
    return isinstance(value, hint)
