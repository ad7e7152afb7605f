#!/usr/bin/env bash
# Sets up .venv with the test extra, then lints, type-checks and runs the whole test suite:
#   bash scripts/test.sh [further arguments of pytest]
set -euo pipefail
cd "$(dirname "$0")/.."
bash scripts/setup.sh test

.venv/bin/ruff check .
.venv/bin/ruff format --check .
.venv/bin/pyright
# Two processes, each running whole files: most of the time goes into single-threaded compilation.
.venv/bin/python -m pytest --numprocesses 2 --dist loadfile "$@"
