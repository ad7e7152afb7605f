"""The `signsal` command: explain pictures, evaluate networks, plan, study, prepare data sets.

`signsal --version` prints the version. With --debug, every command shows the traceback of an error.
"""

import contextlib
import io
import sys
import warnings
from collections.abc import Sequence
from typing import Any

from signsal_jax._extras import extra

extra("tyro", "cli")

import tyro

from signsal_jax import __version__, _endings
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


def parse(arguments: Sequence[str]) -> Any:
    """The command that the arguments name, with their options."""
    return tyro.extras.subcommand_cli_from_dict(
        COMMANDS, prog="signsal", description=__doc__, args=arguments
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """The entry point.

    Exit statuses: those of `signsal_jax._endings.run`, 2 for a wrong option, 75 for an unfinished
    study.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given == ["--version"]:
        print(f"signsal {__version__}")
        return 0
    debug = "--debug" in given
    # tyro would take it in front of a command only.
    given = [argument for argument in given if argument != "--debug"]
    with contextlib.suppress(AttributeError, io.UnsupportedOperation):
        # A file name that the terminal has no characters for is no reason to stop.
        sys.stdout.reconfigure(errors="backslashreplace")  # pyright: ignore[reportAttributeAccessIssue]
    # Warnings of damage that Pillow can read past; what it cannot read is an error.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    quiet_without_tpu()
    enable_compilation_cache()

    def command() -> int:
        try:
            return parse(given).run_command()
        except UnfinishedError as error:
            print(f"signsal: {error}", file=sys.stderr)
            return UNFINISHED

    return _endings.run("signsal", command, debug=debug)
