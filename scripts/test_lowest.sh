#!/usr/bin/env bash
# Installs, into .venv-lowest, the lowest version of every direct dependency that pyproject.toml
# allows, and runs the suite on them: bash scripts/test_lowest.sh [arguments of pytest]
set -euo pipefail
cd "$(dirname "$0")/.."
if [[ ! -x .venv-lowest/bin/uv ]]; then
  "${PYTHON:-python3}" -m venv .venv-lowest
  .venv-lowest/bin/python -m pip install --quiet --disable-pip-version-check uv
fi
VIRTUAL_ENV="$PWD/.venv-lowest" .venv-lowest/bin/uv pip install --quiet \
  --resolution lowest-direct --editable ".[test]"
.venv-lowest/bin/python -m pytest --numprocesses 2 --dist loadfile "$@"
