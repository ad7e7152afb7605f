"""What people look at: figures, tables and summaries of results."""

from signsal_jax._extras import extra

extra("matplotlib", "cli")

from signsal_jax.report.evaluated import (
    Evaluated as Evaluated,
    read_evaluations as read_evaluations,
)
from signsal_jax.report.examples import (
    Example as Example,
    compute_examples as compute_examples,
    save_examples as save_examples,
)
from signsal_jax.report.explanation import write_explanation as write_explanation
from signsal_jax.report.explorer import Explorer as Explorer, explore as explore
from signsal_jax.report.figures import (
    curves_figure as curves_figure,
    plot_curves as plot_curves,
    save_figure as save_figure,
)
from signsal_jax.report.formats import (
    Column as Column,
    format_table as format_table,
    write_table as write_table,
)
from signsal_jax.report.pairs import plot_pairs as plot_pairs
from signsal_jax.report.panels import maps_figure as maps_figure
from signsal_jax.report.paper import (
    paper_notes as paper_notes,
    paper_table as paper_table,
    write_paper as write_paper,
)
from signsal_jax.report.plots import (
    plot_effects as plot_effects,
    plot_runner_up as plot_runner_up,
    plot_signed as plot_signed,
)
from signsal_jax.report.saliency import plot_saliency as plot_saliency
from signsal_jax.report.scores import (
    Score as Score,
    image_scores as image_scores,
    score_rows as score_rows,
    scores_table as scores_table,
)
from signsal_jax.report.steps import steps_table as steps_table
from signsal_jax.report.strips import (
    plot_classes as plot_classes,
    plot_deletion as plot_deletion,
)
from signsal_jax.report.summary import summarize as summarize
from signsal_jax.report.tables import (
    auc_table as auc_table,
    csv_table as csv_table,
    markdown_table as markdown_table,
)
from signsal_jax.report.training import plot_training as plot_training
from signsal_jax.report.write import Report as Report, write_report as write_report
