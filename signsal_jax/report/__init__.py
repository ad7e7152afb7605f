"""What people look at: figures and tables of results."""

from signsal_jax._extras import extra

extra("matplotlib", "cli")

from signsal_jax.evaluation import Example as Example
from signsal_jax.report.figures import curves_figure as curves_figure
from signsal_jax.report.panels import maps_figure as maps_figure
from signsal_jax.report.tables import (
    csv_table as csv_table,
    markdown_table as markdown_table,
    table_rows as table_rows,
)
