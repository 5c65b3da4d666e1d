"""The commands: flags and names of files become overrides, and Hydra runs the task.

torch is imported by the tasks, not here.
"""

import os
import re
from pathlib import Path
from typing import Annotated

import typer

from cnnlab import config
from cnnlab.cli import help_text
from cnnlab.cli.arguments import (
    name_stylize_images,
    qualify_explored_values,
    qualify_override,
    qualify_style_image,
    qualify_style_override,
    split_arguments,
    split_overrides,
)
from cnnlab.cli.keys_help import VerbCommand
from cnnlab.cli.options import (
    CfgOption,
    CompareOption,
    ConfigDirOption,
    DebugOption,
    EmbedArgs,
    FormatOption,
    ImageArgs,
    JsonOption,
    MultirunOption,
    OutputsOption,
    OverrideArgs,
    PcaOption,
    ProfileOption,
    RunArgs,
    RunsArgs,
    StylizeArgs,
    TsneOption,
    VersionOption,
    VisualizeArgs,
    print_version,
)
from cnnlab.core.errors import UsageError, format_unknown_choice
from cnnlab.core.files import path_exists
from cnnlab.core.quoting import hydra_literal, printable
from cnnlab.launch import launch
from cnnlab.tasks.visualize.renamed_visualizers import check_not_renamed

app = typer.Typer(
    name="cnnlab",
    help="Train convolutional networks, evaluate them, look inside them.",
    epilog="Start with `cnnlab train`: no download, seconds. Then `cnnlab VERB -h`.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


@app.callback()
def cnnlab(version: VersionOption = False) -> None:
    """Parse the options before a command."""


@app.command(cls=VerbCommand, help=help_text.TRAIN_HELP, epilog=help_text.format_group_help())
def train(
    overrides: OverrideArgs = None,
    multirun: MultirunOption = False,
    compare: CompareOption = False,
    cfg: CfgOption = "",
    config_dir: ConfigDirOption = "",
    debug: DebugOption = False,
) -> None:
    words, see = qualify_style_image(overrides), "; see `cnnlab train -h`"
    rest = split_overrides(words, see, multirun=multirun)
    if compare and not multirun:
        raise UsageError("--compare compares the runs of a sweep: add -m")
    if not multirun and any(word.startswith("resume=") for word in rest):
        # The run's data set may have keys that the default one lacks.
        rest = [f"++{word}" if word.startswith("dataset.") else word for word in rest]
    sweep = launch("train", rest, multirun=multirun, cfg=cfg, config_dir=config_dir)
    if compare and sweep and sweep.exists():
        outputs = [word for word in rest if word.startswith("outputs=")]
        launch("compare", [f"runs=[{hydra_literal(str(sweep))}]", *outputs])


@app.command(name="eval", cls=VerbCommand, help=help_text.EVAL_HELP)
def evaluate(
    arguments: RunArgs = None,
    json: JsonOption = False,
    cfg: CfgOption = "",
    debug: DebugOption = False,
) -> None:
    names, rest = split_arguments(arguments)
    if len(names) > 1:
        raise UsageError(f"eval takes one run, not {', '.join(names)}")
    launch(
        "eval",
        [*(f"run={hydra_literal(n)}" for n in names), *rest, *(["json=true"] if json else [])],
        cfg=cfg,
    )


@app.command(cls=VerbCommand, help=help_text.COMPARE_HELP)
def compare(
    arguments: RunsArgs = None,
    json: JsonOption = False,
    cfg: CfgOption = "",
    debug: DebugOption = False,
) -> None:
    names, rest = split_arguments(arguments)
    named = [f"runs=[{','.join(map(hydra_literal, names))}]"] if names else []
    launch("compare", [*named, *rest, *(["json=true"] if json else [])], cfg=cfg)


@app.command(cls=VerbCommand, help=help_text.VISUALIZE_HELP)
def visualize(
    arguments: VisualizeArgs = None,
    json: JsonOption = False,
    cfg: CfgOption = "",
    debug: DebugOption = False,
) -> None:
    names, rest = split_arguments(arguments)
    check_not_renamed(name for name in names if not path_exists(Path(name)))
    own = config.read_task_defaults("visualize")
    what = [name for name in names if isinstance(own.get(name), dict)]
    files = [name for name in names if path_exists(Path(name)) and Path(name).is_file()]
    runs = [name for name in names if name not in (*what, *files)]
    if len(runs) > 1:
        strangers = [name for name in runs if not path_exists(Path(name))]
        if strangers:
            kinds = [key for key, value in own.items() if isinstance(value, dict)]
            unknown = format_unknown_choice("visualizer", printable(strangers[0]), kinds)
            raise UsageError(f"{unknown}; nor is it a file, or a run's folder")
        raise UsageError(f"visualize looks at one run, not {', '.join(map(printable, runs))}")
    words = [
        *([f"what=[{','.join(what)}]"] if what else []),
        *(f"run={hydra_literal(name)}" for name in runs),
        *([f"images=[{','.join(map(hydra_literal, files))}]"] if files else []),
        *(qualify_override(word, what[0] if len(what) == 1 else "", own) for word in rest),
        *(["json=true"] if json else []),
    ]
    launch("visualize", words, cfg=cfg)


@app.command(cls=VerbCommand, help=help_text.EMBED_HELP)
def embed(
    arguments: EmbedArgs = None,
    tsne: TsneOption = False,
    pca: PcaOption = False,
    json: JsonOption = False,
    cfg: CfgOption = "",
    debug: DebugOption = False,
) -> None:
    names, rest = split_arguments(arguments)
    if len(names) > 2:
        listed = ", ".join(map(printable, names))
        raise UsageError(f"embed takes one run, or two to align, not {listed}")
    if tsne and pca:
        raise UsageError("--tsne and --pca are two maps: one at a time")
    # Waiting threads that spin make t-SNE many times slower on busy cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    own = config.read_task_defaults("embed")
    chosen = [word.partition("=")[2] for word in rest if word.startswith("projection=")]
    method = "pca" if pca else "tsne" if tsne or not chosen else chosen[-1]
    words = [
        *(
            f"{key}={hydra_literal(name)}"
            for key, name in zip(("run", "against"), names, strict=False)
        ),
        *([f"projection={method}"] if tsne or pca else []),
        *(
            qualify_override(word, method if isinstance(own.get(method), dict) else "", own)
            for word in rest
        ),
        *(["json=true"] if json else []),
    ]
    launch("embed", words, cfg=cfg)


@app.command(cls=VerbCommand, help=help_text.STYLIZE_HELP, no_args_is_help=True)
def stylize(
    arguments: StylizeArgs = None,
    time: Annotated[
        str, typer.Option("--time", metavar="30s", help="The best image in that time.")
    ] = "",
    reproduce: Annotated[
        str, typer.Option("--reproduce", metavar="IMAGE", help="Compute a saved image again.")
    ] = "",
    again: Annotated[str, typer.Option("--again", hidden=True)] = "",  # the former name
    score: Annotated[
        str, typer.Option("--score", metavar="IMAGE", help="Print an image's losses only.")
    ] = "",
    explore: Annotated[
        list[str] | None,
        typer.Option(
            "--explore", metavar="KEY=A,B", help="Compare values in a figure; one or two keys."
        ),
    ] = None,
    download: Annotated[bool, typer.Option("--download", help="Download missing weights.")] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an existing image.")
    ] = False,
    json: JsonOption = False,
    cfg: CfgOption = "",
    debug: DebugOption = False,
) -> None:
    names, rest = split_arguments(arguments)
    images = name_stylize_images(names, must_exist=not cfg)
    # Threads that spin for long make it many times slower on busy cores; briefly is free.
    os.environ.setdefault("GOMP_SPINCOUNT", "3000")
    texts = {"time": time, "reproduce": reproduce or again, "score": score}
    flags = {"download": download, "overwrite": overwrite, "json": json}
    explored = [hydra_literal(qualify_explored_values(word)) for word in explore or []]
    words = [
        *images,
        *(qualify_style_override(word) for word in rest),
        *(f"{key}={hydra_literal(value)}" for key, value in texts.items() if value),
        *(f"{key}=true" for key, on in flags.items() if on),
        *([f"explore=[{','.join(explored)}]"] if explored else []),
    ]
    launch("stylize", words, cfg=cfg)


@app.command(cls=VerbCommand, help=help_text.PREDICT_HELP)
def predict(
    arguments: ImageArgs = None,
    format: FormatOption = "table",
    cfg: CfgOption = "",
    debug: DebugOption = False,
) -> None:
    names, rest = split_arguments(arguments)
    images = ",".join(map(hydra_literal, names))
    launch("predict", [f"images=[{images}]", f"format={hydra_literal(format)}", *rest], cfg=cfg)


@app.command(cls=VerbCommand, help=help_text.BENCH_HELP)
def bench(
    overrides: OverrideArgs = None,
    profile: ProfileOption = False,
    cfg: CfgOption = "",
    debug: DebugOption = False,
) -> None:
    rest = split_overrides(overrides)
    if profile and not any(word.startswith(("model=", "experiment=")) for word in rest):
        raise UsageError("--profile traces one model: name it, model=...")
    if cfg or any(word.startswith(("model=", "experiment=", "batch_sizes=")) for word in rest):
        launch("bench", [*rest, *(["profile=true"] if profile else [])], cfg=cfg)
        return
    os.environ.setdefault("CNNLAB_OFFLINE", "1")  # no model was asked for: download none
    for name in config.list_groups()["model"]:
        launch("bench", [*rest, f"model={name}", "one_line=true"])


@app.command(name="lr-find", cls=VerbCommand, help=help_text.LR_FIND_HELP)
def lr_find(
    overrides: OverrideArgs = None, cfg: CfgOption = "", debug: DebugOption = False
) -> None:
    rest = split_overrides(qualify_style_image(overrides))
    launch("lr_find", rest, cfg=cfg)


@app.command(cls=VerbCommand, help=help_text.DESCRIBE_HELP)
def describe(
    arguments: RunArgs = None,
    json: JsonOption = False,
    cfg: CfgOption = "",
    debug: DebugOption = False,
) -> None:
    names, rest = split_arguments(arguments)
    if len(names) > 1:
        listed = ", ".join(map(printable, names))
        raise UsageError(f"describe takes one of conv, pool, growth or a run, not {listed}")
    if names and names[0] in config.list_groups()["model"] and not path_exists(Path(names[0])):
        raise UsageError(f"{names[0]!r} is not a run; for a network say model={names[0]}")
    what = next((name for name in names if name in ("conv", "pool", "growth")), None)
    if what is None and (letters := [word for word in rest if re.match("[whdespk]=", word)]):
        raise UsageError(
            f"{letters[0]} is of one layer: `cnnlab describe conv {letters[0]} ...`, or pool"
        )
    if what in ("conv", "pool"):
        others = ("+", "~", "json=", "outputs=", "figure=")
        rest = [word if word.startswith(others) else f"+shape.{word}" for word in rest]
    named = [f"what={what}" if what else f"run={hydra_literal(name)}" for name in names]
    launch("describe", [*named, *rest, *(["json=true"] if json else [])], cfg=cfg)


@app.command()
def runs(
    outputs: OutputsOption = "outputs", json: JsonOption = False, debug: DebugOption = False
) -> None:
    """List the runs with their state and accuracy."""
    from cnnlab.tasks import runs as task

    task.run(Path(outputs), as_json=json)


@app.command()
def version() -> None:
    """Print the version."""
    print_version(is_wanted=True)
