"""Trains a network from the command line.

python -m train --dataset cifar10 --model cnn --out runs/cifar10-cnn
"""

import sys

import tyro

from signsal_jax._cache import enable_compilation_cache
from signsal_jax.checkpoint import RunError
from signsal_jax.data import NotPreparedError
from train.config import TrainConfig
from train.loop import train


def main() -> int:
    """Parses the command line and trains; mistakes of the user end in one line, not a trace."""
    try:
        config = tyro.cli(TrainConfig, prog="python -m train")
        enable_compilation_cache()
        accuracy = train(config)
    except (RunError, NotPreparedError, ValueError, ImportError, FloatingPointError, OSError) as e:
        print(f"train: {e}", file=sys.stderr)
        return 1
    print(f"test accuracy {accuracy:.4f}, run folder {config.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
