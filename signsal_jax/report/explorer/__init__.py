"""The explorer: images, signed maps and class gradients in one page that needs no network."""

from signsal_jax.report.explorer.compute import class_gradients as class_gradients
from signsal_jax.report.explorer.content import map_kind as map_kind
from signsal_jax.report.explorer.explanations import (
    explain_explorer as explain_explorer,
    is_explanation as is_explanation,
    network_name as network_name,
)
from signsal_jax.report.explorer.explore import Explorer as Explorer, explore as explore
from signsal_jax.report.explorer.page import (
    EXPLORER as EXPLORER,
    explorer_html as explorer_html,
    write_explorer as write_explorer,
)
from signsal_jax.report.explorer.results import (
    Plot as Plot,
    Table as Table,
    result_plots as result_plots,
    result_tables as result_tables,
)
from signsal_jax.report.explorer.subject import (
    BLUR as BLUR,
    MOST_IMAGES as MOST_IMAGES,
    ClassGradients as ClassGradients,
    Deleted as Deleted,
    Steps as Steps,
    Subject as Subject,
    View as View,
    from_arrays as from_arrays,
    load as load,
    save as save,
    shown_classes as shown_classes,
    subject as subject,
    to_arrays as to_arrays,
)
