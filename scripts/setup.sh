#!/usr/bin/env bash
# Makes or reuses .venv and installs the project with an extra: bash scripts/setup.sh EXTRA
# Installs only if pyproject.toml or this script has changed, so a second run starts at once.
set -euo pipefail
cd "$(dirname "$0")/.."
extra="$1"

python="${PYTHON:-}"
if [[ -z "$python" ]]; then
  for candidate in python3.11 python3.12 python3.13 python3; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      python="$candidate"
      break
    fi
  done
fi
if [[ -z "$python" ]]; then
  echo "setup: expected Python 3.11 or newer on PATH, found none; name one with PYTHON=..." >&2
  exit 1
fi

if [[ ! -x .venv/bin/python ]]; then
  "$python" -m venv .venv
fi
stamp=".venv/.installed-$extra"
wanted="$(cat pyproject.toml scripts/setup.sh | cksum)"
if [[ ! -f "$stamp" || "$(cat "$stamp")" != "$wanted" ]]; then
  echo "Installing signsal_jax[$extra] into .venv (a few minutes the first time) ..."
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --editable ".[$extra]"
  echo "$wanted" > "$stamp"
fi
