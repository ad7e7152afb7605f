#!/usr/bin/env bash
# Builds the documentation into docs/_build/html, every cell executed, warnings as errors, and
# checks its internal links: bash scripts/docs.sh
set -euo pipefail
cd "$(dirname "$0")/.."
bash scripts/setup.sh docs

# Pages share what they compile, also with the next build.
export JAX_PLATFORMS=cpu JAX_COMPILATION_CACHE_DIR="$PWD/docs/_build/compiled"
export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=0.1
# From an empty folder, so that no page of an earlier build hides a dead link.
rm -rf docs/_build/html docs/_build/doctrees docs/_build/jupyter_execute docs/_made
.venv/bin/python -m sphinx -b html -W --keep-going -q -j 2 -d docs/_build/doctrees docs docs/_build/html
.venv/bin/python scripts/check_links.py docs/_build/html
