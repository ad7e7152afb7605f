#!/usr/bin/env bash
# From a bare clone to signed saliency maps and deletion curves of a network trained on the spot:
#   bash scripts/demo.sh [--out DIR] [further arguments of `signsal evaluate`]
# Trains the Basic CNN on 4,000 real digits, evaluates it on the other 1,000, writes ./report with
# the explorer, a page to open in a browser.
set -euo pipefail
cd "$(dirname "$0")/.."
bash scripts/setup.sh demo

# Always starts from scratch: a finished run would not be trained again, with nothing to see.
run="runs/demo"
rm -rf "$run"
.venv/bin/python -m train --dataset mnist5k --model cnn --epochs 12 --out "$run"
.venv/bin/signsal evaluate --run "$run" --dataset mnist5k --split test --out report "$@"
