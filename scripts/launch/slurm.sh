#!/usr/bin/env bash
# A study by an array of workers under Slurm; each takes the chunks that are free.
#
#   sbatch --array=0-7 scripts/launch/slurm.sh --dataset cifar10 --model cnn-cifar10 --out DIR
#
# DIR lies where every node sees it. A worker that is preempted or runs out of time gets SIGTERM two
# minutes before, gives back what it has not begun and ends with status 75: Slurm starts it again.
#SBATCH --job-name=signsal-study
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:TERM@120
set -uo pipefail

signsal study "$@" &
worker=$!
# Slurm signals this shell, which passes it on and goes on waiting.
trap 'kill -TERM "$worker"' TERM
wait "$worker"
status=$?
if kill -0 "$worker" 2>/dev/null; then
  wait "$worker"
  status=$?
fi
if [[ $status -eq 75 && -n "${SLURM_JOB_ID:-}" ]]; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
