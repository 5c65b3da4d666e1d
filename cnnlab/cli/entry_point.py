"""The entry point of the command line, with exit codes and one-line errors."""

import os
import sys
from time import monotonic

from cnnlab.cli import completion
from cnnlab.cli.verbs import app
from cnnlab.core.errors import CnnlabError, format_error
from cnnlab.core.progress import COMMAND_START


def main() -> None:
    """Run the command line; errors that a user can cause are a line or two on stderr."""
    if completion.complete_bash_value():
        return
    COMMAND_START.set(monotonic())
    try:
        app()
    except CnnlabError as error:
        if "--debug" in sys.argv:
            raise
        print(f"cnnlab: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("cnnlab: interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        if "--debug" in sys.argv:
            raise
        print(f"cnnlab: {format_error(error)}", file=sys.stderr)
        sys.exit(1)
