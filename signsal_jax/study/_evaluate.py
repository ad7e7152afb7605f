"""The deletion benchmark over a data set in one call: a study of what an evaluation stores."""

from collections.abc import Sequence
from typing import Any

from jax.sharding import Mesh

from signsal_jax import data, sharding
from signsal_jax.models import Model
from signsal_jax.study._config import EVALUATION, StudyConfig
from signsal_jax.study._run import run_study
from signsal_jax.study._store import Store, open_study


def evaluate(
    model: Model,
    dataset: data.Dataset | Sequence[data.Dataset],
    out: Any,
    *,
    mesh: Mesh | None = None,
    strict: bool = False,
    **fields: Any,
) -> Store:
    """Runs the deletion benchmark on every image of a data set, on all devices of this process.

    Killed or interrupted, the same call goes on where it was.

    Args:
      model: the classifier.
      dataset: from `data.load` or `data.from_sequence`, or several, one after another; its
        classes are found among the network's by name, see `data.match_classes`.
      out: the study's folder, local, gs:// or s3://.
      mesh: from `sharding.make_mesh`; None for all devices of this process.
      strict: whether an image that is unreadable or gives no finite numbers is an error.
      **fields: of `StudyConfig`, such as `fractions`, `rule`, `precision`, `chunk`.

    Returns:
      The study, for `report.summarize` and `report.write_report`.

    Raises:
      TypeError, ValueError: as `StudyConfig` and `run_study`.

    Reference: arXiv 2309.12913, black and white deletion.

    >>> import tempfile
    >>> import jax.numpy as jnp, numpy as np
    >>> from signsal_jax import data, models, report, study
    >>> source = data.Arrays(np.full((4, 2, 2, 1), 255, np.uint8), np.array([0, 1, 1, 1]))
    >>> dataset = data.Dataset("white", "test", ("dark", "bright"), (2, 2, 1), source)
    >>> def apply_fn(variables, images):
    ...     return jnp.stack([1 - images.mean((1, 2, 3)), images.mean((1, 2, 3))], axis=1)
    >>> model = models.Model(apply_fn, (), dataset.class_names, (2, 2, 1), {})
    >>> store = study.evaluate(model, dataset, tempfile.mkdtemp() + "/white", chunk=8)
    >>> report.summarize(store)["accuracy"]
    0.75
    """
    splits = [dataset] if isinstance(dataset, data.Dataset) else list(dataset)
    config = StudyConfig(
        **{
            "dataset": splits[0].name,
            "split": "+".join(split.split for split in splits),
            "store": EVALUATION,
            **fields,
        }
    )
    run_study(config, model, splits, out, mesh=mesh or sharding.make_mesh(), strict=strict)
    return open_study(out)
