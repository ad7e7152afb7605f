"""Known truth: tasks whose classes depend on marks by construction, and scores of maps of them."""

from signsal_jax.truth.anchor import anchor as anchor
from signsal_jax.truth.render import (
    Scene as Scene,
    footprints as footprints,
    render_scene as render_scene,
)
from signsal_jax.truth.samples import Sample as Sample, batch as batch, sample as sample
from signsal_jax.truth.scores import (
    PixelScores as PixelScores,
    SignScores as SignScores,
    pixel_scores as pixel_scores,
    rival_scores as rival_scores,
    sign_scores as sign_scores,
)
from signsal_jax.truth.tasks import TASKS as TASKS, Task as Task
from signsal_jax.truth.truth import (
    INTERVENTIONS as INTERVENTIONS,
    Agreement as Agreement,
    agreement as agreement,
    design_effects as design_effects,
    directions as directions,
    measured_effects as measured_effects,
    only_rivals as only_rivals,
)
