"""Estimates of what a study takes on a TPU pod, made without one (extra `plan`)."""

from signsal_jax.plan._plan import Workload as Workload, make_plan as make_plan
