"""The arguments and options that several commands have."""

from typing import Annotated

import typer

from cnnlab.cli import completion


def override_argument(value: str | None = None) -> typer.models.ArgumentInfo:
    """Return the positional arguments of a command, completed by group, option and key."""
    return typer.Argument(
        metavar=value or "[KEY=VALUE]...",
        show_default=False,
        autocompletion=completion.complete_argument,
    )


def print_version(is_wanted: bool) -> None:
    """Print the version and exit, if the option was given."""
    if is_wanted:
        from cnnlab import __version__

        print(__version__)
        raise typer.Exit


OverrideArgs = Annotated[list[str] | None, override_argument()]
RunArgs = Annotated[list[str] | None, override_argument("[RUN] [KEY=VALUE]...")]
EmbedArgs = Annotated[list[str] | None, override_argument("[RUN [RUN]] [KEY=VALUE]...")]
VisualizeArgs = Annotated[
    list[str] | None, override_argument("[WHAT]... [RUN] [IMAGE]... [KEY=VALUE]...")
]
RunsArgs = Annotated[list[str] | None, override_argument("RUN... [KEY=VALUE]...")]
StylizeArgs = Annotated[list[str] | None, override_argument("CONTENT STYLE... [KEY=VALUE]...")]
ImageArgs = Annotated[list[str] | None, override_argument("IMAGE... [KEY=VALUE]...")]
MultirunOption = Annotated[
    bool,
    typer.Option(
        "-m", "--multirun", help="One run for every combination of comma-separated values."
    ),
]
CompareOption = Annotated[
    bool, typer.Option("--compare", help="After a sweep: its runs side by side, as `compare` does.")
]
CfgOption = Annotated[
    str,
    typer.Option("--cfg", metavar="job|hydra|all", help="Print the configuration; run nothing."),
]
ConfigDirOption = Annotated[
    str, typer.Option("--config-dir", metavar="DIR", help="A folder with configs of your own.")
]
TsneOption = Annotated[bool, typer.Option("--tsne", help="By t-SNE, the default.")]
PcaOption = Annotated[bool, typer.Option("--pca", help="By the first two principal components.")]
DebugOption = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print numbers as JSON, for programs.")]
FormatOption = Annotated[
    str, typer.Option("--format", metavar="table|csv|json", help="How to print.")
]
ProfileOption = Annotated[
    bool, typer.Option("--profile", help="Write a trace of a few steps, for Perfetto.")
]
VersionOption = Annotated[
    bool,
    typer.Option("--version", callback=print_version, help="Print the version."),
]
OutputsOption = Annotated[str, typer.Option("--outputs", metavar="DIR", help="Where the runs are.")]
