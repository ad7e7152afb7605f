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
# Slurm signals this shell, which passes it on and goes on waiting, as often as it comes.
trap 'told=yes; kill -TERM "$worker"' TERM
told=yes
while [[ -n "$told" ]]; do
  told=
  wait "$worker"
  status=$?
done
if [[ $status -eq 75 && -n "${SLURM_JOB_ID:-}" ]]; then
  # One task of an array has the number of the whole array, which would start all tasks again.
  if [[ -n "${SLURM_ARRAY_JOB_ID:-}" ]]; then
    SLURM_JOB_ID="${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"
  fi
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
