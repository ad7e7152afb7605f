#!/usr/bin/env bash
# A study on every host of a TPU VM slice, with plain gcloud:
#
#   scripts/launch/tpu_vm.sh NAME ZONE --dataset cifar10 --model cnn-cifar10 --out gs://BUCKET/DIR
#
# The hosts of one slice must start together, hence --distributed; after that each works for itself.
# Started again after a loss, the study goes on where it was.
set -euo pipefail
if [[ $# -lt 3 ]]; then
  echo "usage: $0 NAME ZONE OPTIONS-OF-SIGNSAL-STUDY ..." >&2
  exit 2
fi
name="$1" zone="$2"
shift 2
printf -v options ' %q' "$@"
exec gcloud compute tpus tpu-vm ssh "$name" --zone="$zone" --worker=all \
  --command="signsal study --distributed$options"
