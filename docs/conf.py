"""Configuration of the documentation: bash scripts/docs.sh builds it."""

import sys
from pathlib import Path

import signsal_jax

sys.path.insert(0, str(Path(__file__).parent / "_extensions"))

project = "signsal_jax"
author = "The signsal_jax authors"
release = signsal_jax.__version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "repository"]

exclude_patterns = ["_build"]

html_theme = "sphinx_book_theme"
html_title = f"signsal_jax {release}"
html_theme_options = {
    "show_toc_level": 2,
    "use_download_button": False,
    "navbar_persistent": [],  # the search of the sidebar is enough
}
html_static_path = ["_static"]
html_css_files = ["wide.css"]

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
# Every cell runs in every build, and an error in one is an error of the build.
nb_execution_mode = "force"
nb_execution_raise_on_error = True
# Of a cell; a busy machine takes several times as long as a free one.
nb_execution_timeout = 600
# Progress bars, and the note of matplotlib that it makes its font cache.
nb_output_stderr = "remove"

# Docstrings have shapes and names in single backquotes.
default_role = "literal"
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 88
# A field of a NamedTuple is described once, in the docstring of its class.
napoleon_use_ivar = True
napoleon_attr_annotations = False
add_module_names = False
