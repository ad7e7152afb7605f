"""The table of results that a study can store: a new evaluation adds its entry here."""

from collections.abc import Sequence

from signsal_jax.evaluations import (
    controls,
    deletion,
    imputation,
    infidelities,
    insertion,
    jacobian,
    patches,
    randomization,
    rival,
    rival_groups,
    saliency,
    sensitivity,
    sparsity,
    steps,
)
from signsal_jax.evaluations.entry import Entry

ENTRIES = {
    entry.name: entry
    for entry in (
        saliency.MAP,
        saliency.LOGITS,
        saliency.RUNNER_UP,
        deletion.ENTRY,
        insertion.ENTRY,
        controls.ENTRY,
        imputation.ENTRY,
        steps.ENTRY,
        rival.ENTRY,
        rival_groups.ENTRY,
        patches.ENTRY,
        infidelities.ENTRY,
        sensitivity.ENTRY,
        randomization.ENTRY,
        sparsity.ENTRY,
        jacobian.PIXEL_SHARES,
        jacobian.RIVALS,
        jacobian.NORM,
        jacobian.GRAM,
        jacobian.SIGN_AGREEMENT,
    )
}


def chosen(store: Sequence[str]) -> list[Entry]:
    """Returns the entries with these names, in the order of the table."""
    return [entry for name, entry in ENTRIES.items() if name in store]
