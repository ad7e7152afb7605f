"""The `signsal` command: explain pictures, evaluate networks, plan, study, prepare data sets.

`signsal --version` prints the version. With --debug, every command shows the traceback of an error.
"""

import contextlib
import dataclasses
import io
import sys
import types
import warnings
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Union

from signsal_jax._extras import extra

extra("tyro", "cli")

import tyro

from signsal_jax import __version__, _endings
from signsal_jax._cache import enable_compilation_cache
from signsal_jax.cli._engine import with_file
from signsal_jax.cli._tpu import quiet_without_tpu
from signsal_jax.cli.evaluate import Evaluate
from signsal_jax.cli.explain import Explain
from signsal_jax.cli.plan import Plan
from signsal_jax.cli.prepare import Prepare
from signsal_jax.cli.report import Report
from signsal_jax.cli.study import Study
from signsal_jax.cli.truth import Truth
from signsal_jax.study import UnfinishedError

COMMANDS = {
    "explain": Explain,
    "evaluate": Evaluate,
    "report": Report,
    "plan": Plan,
    "study": Study,
    "prepare": Prepare,
    "truth": Truth,
}
UNFINISHED = 75  # EX_TEMPFAIL of sysexits.h: try again


def parse(
    arguments: Sequence[str], defaults: Mapping[str, Any] = types.MappingProxyType({})
) -> Any:
    """The command that the arguments name, with their options.

    Args:
      arguments: as typed, without the program's name.
      defaults: by the name of a command, an instance whose values stand where no flag is given.
    """
    choices = []
    for name, command in COMMANDS.items():
        start = {"default": defaults[name]} if name in defaults else {}
        choices.append(Annotated[command, tyro.conf.subcommand(name, **start)])
    commands: Any = Union[tuple(choices)]  # noqa: UP007
    command = tyro.cli(commands, prog="signsal", description=__doc__, args=arguments)
    if isinstance(command, Evaluate | Study) and command.execution.config and not defaults:
        # Parsed again over the file's values, so that a flag wins.
        name = next(name for name, kind in COMMANDS.items() if isinstance(command, kind))
        start = COMMANDS[name]()
        study = with_file(start.study, command.execution.config)
        return parse(arguments, {name: dataclasses.replace(start, study=study)})
    return command


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
