"""The `signsal` command: explain pictures, evaluate networks, plan, study, prepare data sets."""

import sys
from collections.abc import Sequence

from signsal_jax._extras import extra

extra("tyro", "cli")

import tyro

from signsal_jax._cache import enable_compilation_cache
from signsal_jax.cli._tpu import quiet_without_tpu
from signsal_jax.cli.evaluate import Evaluate
from signsal_jax.cli.explain import Explain
from signsal_jax.cli.plan import Plan
from signsal_jax.cli.prepare import Prepare
from signsal_jax.cli.study import Study
from signsal_jax.study import UnfinishedError

COMMANDS = {
    "explain": Explain,
    "evaluate": Evaluate,
    "plan": Plan,
    "study": Study,
    "prepare": Prepare,
}
UNFINISHED = 75  # EX_TEMPFAIL of sysexits.h: try again


def main(arguments: Sequence[str] | None = None) -> int:
    """The entry point: a user's mistake ends in a message on stderr and exit status 1.

    An unfinished study ends in a message and exit status 75.
    """
    command = tyro.extras.subcommand_cli_from_dict(
        COMMANDS, prog="signsal", description=__doc__, args=arguments
    )
    quiet_without_tpu()
    enable_compilation_cache()
    try:
        return command.run_command()
    except UnfinishedError as error:
        print(f"signsal: {error}", file=sys.stderr)
        return UNFINISHED
    except (ValueError, OSError, ImportError) as error:
        print(f"signsal: {error}", file=sys.stderr)
        return 1
