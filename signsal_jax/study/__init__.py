"""Studies of whole data sets: sharded over devices, resumable, one engine for every evaluation."""

import importlib
from typing import TYPE_CHECKING, Any

from signsal_jax._extras import extra
from signsal_jax.study._config import (
    EVALUATION as EVALUATION,
    STORABLE as STORABLE,
    STORAGES as STORAGES,
    StudyConfig as StudyConfig,
)
from signsal_jax.study._cut import study_cut as study_cut
from signsal_jax.study._step import study_step as study_step
from signsal_jax.study._table import (
    array_specs as array_specs,
    constant_specs as constant_specs,
    resolve_group as resolve_group,
)

if TYPE_CHECKING:
    from signsal_jax.study._evaluate import evaluate as evaluate
    from signsal_jax.study._export import (
        gram_matrices as gram_matrices,
        image_columns as image_columns,
    )
    from signsal_jax.study._images import JoinedSplits as JoinedSplits
    from signsal_jax.study._manifest import status_lines as status_lines
    from signsal_jax.study._run import UnfinishedError as UnfinishedError, run_study as run_study
    from signsal_jax.study._store import (
        Store as Store,
        StudyError as StudyError,
        open_study as open_study,
    )
    from signsal_jax.study._workers import join_pod as join_pod

_STORED = {
    "UnfinishedError": "_run",
    "join_pod": "_workers",
    "JoinedSplits": "_images",
    "Store": "_store",
    "StudyError": "_store",
    "evaluate": "_evaluate",
    "gram_matrices": "_export",
    "image_columns": "_export",
    "open_study": "_store",
    "run_study": "_run",
    "status_lines": "_manifest",
}


def __getattr__(name: str) -> Any:
    # The pure step is all that a plan needs; what touches storage takes long to import.
    if name in _STORED:
        extra("tensorstore", "study")
        return getattr(importlib.import_module(f"{__name__}.{_STORED[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_STORED})
