"""The verbs. Typer has flags and help; everything `key=value` goes to Hydra. torch is imported inside the task."""

import os
import sys
from typing import Annotated

import typer

from cnnlab import config
from cnnlab.core.errors import CnnlabError

app = typer.Typer(
    name="cnnlab",
    help="A bench for convolutional networks: train them, score them, look inside them.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
Overrides = Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", show_default=False)]
Multirun = Annotated[bool, typer.Option("-m", "--multirun", help="Every combination of comma-separated values.")]
Cfg = Annotated[str | None, typer.Option("--cfg", metavar="job|hydra|all", help="Print the configuration; run nothing.")]
ConfigDir = Annotated[str | None, typer.Option("--config-dir", metavar="DIR", help="A folder with configs of your own.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


def flags(multirun: bool, cfg: str | None, config_dir: str | None) -> list[str]:
    """Typer's options as Hydra's flags."""
    words = ["--multirun"] if multirun else []
    words += ["--cfg", cfg] if cfg else []
    return words + (["--config-dir", config_dir] if config_dir else [])


@app.command()
def train(
    overrides: Overrides = None,
    multirun: Multirun = False,
    cfg: Cfg = None,
    config_dir: ConfigDir = None,
    debug: Debug = False,
) -> None:
    """Train a network to a scored run."""
    config.launch("train", overrides or [], flags(multirun, cfg, config_dir))


@app.command()
def version() -> None:
    """Print the version."""
    from cnnlab import __version__

    print(__version__)


def main() -> None:
    """Run the command line; every error a user can cause is a line or two on stderr."""
    try:
        app()
    except CnnlabError as error:
        if "--debug" in sys.argv:
            raise
        print(f"cnnlab: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
