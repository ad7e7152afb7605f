#!/usr/bin/env bash
# Explains four photographs with EfficientNet-Lite0 trained on ImageNet, all 1000 classes, and
# writes the explorer of them, a page to open in a browser:
#   bash scripts/demo_photos.sh [further options of `signsal explain`]
# Photos and weights come in packages of the extra `demo`; nothing else is downloaded.
set -euo pipefail
cd "$(dirname "$0")/.."
bash scripts/setup.sh demo

photos="$(.venv/bin/python -c 'import pathlib, skimage; print(pathlib.Path(skimage.__file__).parent / "data")')"
.venv/bin/signsal explain \
  "$photos/chelsea.png" "$photos/coffee.png" "$photos/rocket.jpg" "$photos/astronaut.png" \
  --model efficientnet_lite0 --out photos "$@"
# The last --out given is the one that counted.
out=photos
while (($#)); do
  case "$1" in
    --out) out="${2:-$out}" ;;
    --out=*) out="${1#--out=}" ;;
  esac
  shift
done
.venv/bin/signsal report "$out"
