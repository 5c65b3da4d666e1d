"""The entry point of the command line, with exit codes and one-line errors.

Signals and streams are taken care of before anything else is imported.
"""

import os
import sys
from time import monotonic

from cnnlab.core.signals import exit_on_signal, install_stop_handlers


def main() -> None:
    """Run the command line; errors that a user can cause are a line or two on stderr."""
    install_stop_handlers(exit_on_signal)  # for the rest of the process, its very end included
    from cnnlab.core.output import standard_streams

    with standard_streams() as stdout:
        code = run_command()
    is_output_lost = stdout.error is not None and not stdout.is_reader_gone
    sys.exit(code or int(is_output_lost))


def run_command() -> int | str | None:
    """Run the command in sys.argv; return its exit code."""
    from cnnlab.cli import completion
    from cnnlab.cli.verbs import app
    from cnnlab.core.errors import CnnlabError, format_error
    from cnnlab.core.progress import COMMAND_START

    if completion.complete_bash_value():
        return 0
    COMMAND_START.set(monotonic())
    try:
        check_current_folder()
        app()
    except SystemExit as end:  # Typer's, at every end
        return end.code
    except CnnlabError as error:
        if "--debug" in sys.argv:
            raise
        print(f"cnnlab: {error}", file=sys.stderr)
        return error.exit_code
    except Exception as error:
        if "--debug" in sys.argv:
            raise
        print(f"cnnlab: {format_error(error)}", file=sys.stderr)
        return 1
    return 0


def check_current_folder() -> None:
    """Raise CnnlabError where the current folder was removed: no relative path means anything."""
    from cnnlab.core.errors import CnnlabError

    try:
        os.getcwd()  # noqa: PTH109
    except OSError as error:
        raise CnnlabError(
            "the current folder was removed or cannot be read;\ncd to another one"
        ) from error
