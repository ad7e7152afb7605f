"""Evaluations of saliency maps, one file each, and the table of results that a study can store."""

from signsal_jax.evaluations.claims import (
    claimed_signs as claimed_signs,
    claimed_values as claimed_values,
)
from signsal_jax.evaluations.controls import (
    control_maps as control_maps,
    control_names as control_names,
)
from signsal_jax.evaluations.deletion import (
    PAPER_CURVES as PAPER_CURVES,
    DeletionCurve as DeletionCurve,
    deletion_curve as deletion_curve,
    evaluate_deletion as evaluate_deletion,
)
from signsal_jax.evaluations.imputation import linear_imputation as linear_imputation
from signsal_jax.evaluations.infidelities import (
    INFIDELITY_SCORES as INFIDELITY_SCORES,
    PERTURBATIONS as PERTURBATIONS,
    Infidelity as Infidelity,
    infidelity as infidelity,
)
from signsal_jax.evaluations.insertion import (
    InsertionCurve as InsertionCurve,
    insertion_curve as insertion_curve,
)
from signsal_jax.evaluations.patches import (
    PATCH_CONTROLS as PATCH_CONTROLS,
    PatchRanks as PatchRanks,
    patch_deletion as patch_deletion,
)
from signsal_jax.evaluations.perturbation import (
    PAPER_FRACTIONS as PAPER_FRACTIONS,
    blur as blur,
    delete as delete,
    deletion_masks as deletion_masks,
)
from signsal_jax.evaluations.randomization import (
    RANDOMIZATION_SCORES as RANDOMIZATION_SCORES,
    STAGES as STAGES,
    Randomization as Randomization,
    model_randomization as model_randomization,
)
from signsal_jax.evaluations.rival import (
    RIVAL_SCORES as RIVAL_SCORES,
    RIVAL_WAYS as RIVAL_WAYS,
    RivalStep as RivalStep,
    rival_step as rival_step,
)
from signsal_jax.evaluations.rival_groups import (
    RivalPlace as RivalPlace,
    rival_place as rival_place,
)
from signsal_jax.evaluations.sensitivity import max_sensitivity as max_sensitivity
from signsal_jax.evaluations.sparsity import gini as gini
from signsal_jax.evaluations.steps import (
    EPSILONS as EPSILONS,
    SCORES as SCORES,
    WAYS as WAYS,
    SmallStep as SmallStep,
    small_step as small_step,
)
