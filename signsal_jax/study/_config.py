"""What a study computes: its configuration."""

import dataclasses

from signsal_jax import _checks
from signsal_jax.evaluations.deletion import PAPER_CURVES
from signsal_jax.evaluations.perturbation import PAPER_FRACTIONS, RULES
from signsal_jax.evaluations.registry import ENTRIES
from signsal_jax.maps import METHODS

STORABLE = tuple(ENTRIES)
STORAGES = ("float16", "float32")
TARGETS = ("predicted", "label")


@dataclasses.dataclass(frozen=True)
class StudyConfig:
    """What a study computes; two studies with equal fields give the same numbers."""

    dataset: str
    split: str = "test"
    """One split, or several joined as in "train+test"."""
    images: int | None = None
    """Only the first so many; None for all."""
    model: str | None = None
    run: str | None = None
    weights: str | None = None
    preprocess: bool = True
    methods: tuple[str, ...] = METHODS
    target: str | int = "predicted"
    """"predicted", "label", or a class index."""
    store: tuple[str, ...] = ("maps", "logits", "deletion", "shares", "norm")
    """Any of `STORABLE`."""
    fractions: tuple[float, ...] = PAPER_FRACTIONS
    rule: str = "paper"
    precision: str = "highest"
    """Of float32 products, see `signed_jacobian`."""
    storage: str = "float16"
    """The type that maps are stored in."""
    chunk: int = 64
    """Images computed, stored and committed together."""
    class_chunk: int | None = None
    """Classes pulled back at a time on each device."""

    def __post_init__(self) -> None:
        _checks.check_methods(self.methods, METHODS)
        for name in self.store:
            _checks.check_member("store", name, tuple(ENTRIES))
        _checks.check_member("rule", self.rule, RULES)
        _checks.check_member("storage", self.storage, STORAGES)
        _checks.check_class_chunk(self.class_chunk)
        _checks.check_fractions(self.fractions)
        if isinstance(self.target, str):
            _checks.check_member("target", self.target, TARGETS)
        if self.chunk < 1:
            raise ValueError(f"chunk: expected at least 1, got {self.chunk}")
        if self.images is not None and self.images < 1:
            raise ValueError(f"images: expected at least 1, got {self.images}")

    @property
    def curves(self) -> tuple[tuple[str, str], ...]:
        """The deletion curves whose map is computed, (fill, method)."""
        return tuple(curve for curve in PAPER_CURVES if curve[1] in self.methods)
