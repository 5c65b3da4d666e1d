"""The verbs. Typer has flags and help; everything `key=value` goes to Hydra. torch is imported inside the task."""

import os
import re
import sys
from pathlib import Path
from textwrap import wrap
from typing import Annotated, Any

import typer

from cnnlab import completion, config
from cnnlab.core.errors import CnnlabError, UsageError, told
from cnnlab.core.files import exists
from cnnlab.core.text import literal, plain

app = typer.Typer(
    name="cnnlab",
    help="A bench for convolutional networks: train them, score them, look inside them.",
    epilog="Start with `cnnlab train`: it needs no download and takes seconds. Then `cnnlab VERB -h`.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
OVERRIDE = re.compile(r"(\+{0,2}[A-Za-z_][\w./@:-]*=|~[A-Za-z_])")

LISTS = ("indices", "features.layers", "dream.units")  # of visualize, whose defaults are null
PATHS = ("dataset.root", "drawing", "init", "outputs", "resume", "run")  # keys whose values are files, folders or runs
TRAIN_HELP = """Train a network to a scored run.

\b
Examples:
  cnnlab train                            digits that come with it: seconds
  cnnlab train model=mnist_cnn            the chapter's network on MNIST
  cnnlab train model=mnist_mlp epochs=5 optim.lr=0.002
  cnnlab train experiment=mnist_cnn_best  a recipe that was measured
  cnnlab train -m seed=1,2,3              a sweep, one run each
  cnnlab train -m model=cifar_cnn,cifar_bn --compare   figure 5-17
  cnnlab train model=cifar_bn augment.preview=true     see its pipeline
  cnnlab train resume=last                go on with an interrupted run
  cnnlab train init=last                  a new run from a run's weights
  cnnlab train dataset=folder dataset.root=photos    your own pictures
  cnnlab train model=mnist_cnn --cfg job  show all keys; run nothing
"""
EVAL_HELP = """Score a run: the last one, or the one named.

\b
Examples:
  cnnlab eval
  cnnlab eval outputs/train/2026-11-24_10-00-00_mnist_cnn
  cnnlab eval last split=validation checkpoint=best
  cnnlab eval --json

\b
Keys:
  checkpoint=result|last|best|STEP   split=test|validation|train
  mistakes=N  batch_size=N  device=auto|cpu|cuda  outputs=DIR
  single_batches=N    also what single batches of N pictures would have shown
"""
PREDICT_HELP = """Classify pictures of your own by a run.

\b
Examples:
  cnnlab predict digit.png
  cnnlab predict photos/*.jpg run=outputs/train/2026-11-24_10-00-00_mnist_cnn
  cnnlab predict digit.png --format csv

\b
Keys:
  run=RUN  checkpoint=result|last|best|STEP  top=N  device=...  outputs=DIR
"""


BENCH_HELP = """Measure this machine, and how much of it a training reaches.

\b
Examples:
  cnnlab bench                            every model, a line each
  cnnlab bench model=mnist_cnn            one, and where its time goes
  cnnlab bench model=mnist_cnn batch_sizes=[32,64,128,256]
  cnnlab bench model=mnist_cnn --profile  also a trace, for ui.perfetto.dev

\b
Keys: those of `cnnlab train`, and
  seconds=S   batch_sizes=[N,...]
"""


LR_FIND_HELP = """Find a learning rate: let it rise from step to step.

\b
Examples:
  cnnlab lr-find
  cnnlab lr-find model=mnist_cnn
  cnnlab lr-find model=mnist_mlp optim=sgd lowest=1e-4 highest=100

\b
Keys: those of `cnnlab train`, and
  lowest=LR   highest=LR   steps=N   smoothing=0..1
"""


COMPARE_HELP = """Put runs side by side: curves, time to a threshold, scores.

\b
Examples:
  cnnlab compare outputs/train/*_cifar_cnn outputs/train/*_cifar_bn
  cnnlab compare outputs/train/2026-11-24_10-00-00_sweep
  cnnlab compare RUN RUN thresholds=[0.9,0.95] --json

\b
Keys:
  thresholds=[...]   consecutive=N   name=NAME   outputs=DIR
"""


VISUALIZE_HELP = """Look inside a run: the last one, or the one named.

\b
Examples:
  cnnlab visualize                        everything, and report.html
  cnnlab visualize filters last layer=conv_2
  cnnlab visualize saliency photo.jpg     a picture of your own
  cnnlab visualize saliency indices=3,17 target=cat
  cnnlab visualize dream features last
  cnnlab visualize invariance RUN against=ANOTHER
  cnnlab visualize features filters=vertical,horizontal,sobel     no run

\b
What there is:
  filters     the first layer's, and their way through the training
  features    pictures on their way through the layers
  exciting    the test pictures that excite each channel most
  saliency    which pixels an answer depends on, by five methods
  dream       the input that excites a class or channel most
  invariance  what a shift, a turn, or darkness changes

\b
Keys:
  run=RUN  checkpoint=result|last|best|STEP  split=test|validation|train
  indices=[N,...]  pictures=[FILE,...]  seed=N  device=...  outputs=DIR
  and each one's own, bare where it is named alone: `--cfg job` shows all
"""


DESCRIBE_HELP = """Describe a network's layers: volumes, parameters, work, memory.

\b
Examples:
  cnnlab describe model=mnist_cnn
  cnnlab describe last                    the newest run's network
  cnnlab describe model=vgg16 drawing=vgg16.svg
  cnnlab describe model=mnist_cnn layer=conv_1.conv   its formulas
  cnnlab describe conv w=5 h=5 d=3 e=3 s=2 p=1 k=2    of any layer
  cnnlab describe pool w=28 h=28 d=32 e=3 s=2
  cnnlab describe growth                  figure 5-3: picture and JSON

\b
Keys: those of `cnnlab train` (of a run: batch_size), and
  layer=NAME   formulas=true   drawing=FILE (.svg and .png)
  growth.sizes=[N,...]  growth.depth=N  growth.extent=N  growth.units=N
Nothing is loaded, downloaded or allocated; without drawing= nothing is
written, but by growth.
"""


def group_help() -> str:
    """Every configuration group with its options, a line each."""
    rows = [
        row
        for group, options in config.groups().items()
        for row in wrap(" | ".join(options), 76, initial_indent=f"  {group + '=':<12}", subsequent_indent=" " * 14)
    ]
    return "\b\nGroups, and what each can be:\n" + "\n".join(rows)


def words(value: str | None = None) -> typer.models.ArgumentInfo:
    """The positional words of a verb, completed by group, option and key."""
    return typer.Argument(metavar=value or "[KEY=VALUE]...", show_default=False, autocompletion=completion.complete)


Overrides = Annotated[list[str] | None, words()]
RunWords = Annotated[list[str] | None, words("[RUN] [KEY=VALUE]...")]
VisualizeWords = Annotated[list[str] | None, words("[WHAT]... [RUN] [PICTURE]... [KEY=VALUE]...")]
RunsWords = Annotated[list[str] | None, words("RUN... [KEY=VALUE]...")]
PictureWords = Annotated[list[str] | None, words("PICTURE... [KEY=VALUE]...")]
Multirun = Annotated[
    bool, typer.Option("-m", "--multirun", help="One run for every combination of comma-separated values.")
]
Compare = Annotated[bool, typer.Option("--compare", help="After a sweep: its runs side by side, as `compare` does.")]
Cfg = Annotated[str, typer.Option("--cfg", metavar="job|hydra|all", help="Print the configuration; run nothing.")]
ConfigDir = Annotated[str, typer.Option("--config-dir", metavar="DIR", help="A folder with configs of your own.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
Json = Annotated[bool, typer.Option("--json", help="Print numbers as JSON, for programs.")]
Format = Annotated[str, typer.Option("--format", metavar="table|csv|json", help="How to print.")]
Profile = Annotated[bool, typer.Option("--profile", help="Write a trace of a few steps, for Perfetto.")]
Outputs = Annotated[str, typer.Option("--outputs", metavar="DIR", help="Where the runs are.")]


def split(given: list[str] | None) -> tuple[list[str], list[str]]:
    """Words of the command line -> (names of files or runs, Hydra's overrides)."""
    overrides = [word for word in given or [] if OVERRIDE.match(word) and not exists(Path(word))]
    return [word for word in given or [] if word not in overrides], [path_word(word) for word in overrides]


def path_word(word: str) -> str:
    """`key=path` as Hydra takes it: `~`, which no shell expands there, is the user's folder; and whatever else is in a
    path means itself, but for what is quoted already, null, or several with commas between them."""
    key, _, value = word.partition("=")
    if value.startswith("~/"):
        return f"{key}={literal(str(Path(value).expanduser()))}"
    several = value[:1] in ("'", '"', "[", "{") or ("," in value and not exists(Path(value)))
    if key not in PATHS or value in ("", "null") or value.isspace() or several or "${" in value:
        return word
    return f"{key}={literal(value)}"


@app.command(help=TRAIN_HELP, epilog=group_help())
def train(
    overrides: Overrides = None,
    multirun: Multirun = False,
    compare: Compare = False,
    cfg: Cfg = "",
    config_dir: ConfigDir = "",
    debug: Debug = False,
) -> None:
    names, rest = split(overrides)
    if names:
        raise UsageError(f"{names[0]!r} is not KEY=VALUE; for a network say model={names[0]}, see `cnnlab train -h`")
    if compare and not multirun:
        raise UsageError("--compare puts the runs of a sweep side by side: it goes with -m")
    sweep = config.launch("train", rest, multirun=multirun, cfg=cfg, config_dir=config_dir)
    if compare and sweep and sweep.exists():
        outputs = [word for word in rest if word.startswith("outputs=")]
        config.launch("compare", [f"runs=[{literal(str(sweep))}]", *outputs])


@app.command(name="eval", help=EVAL_HELP)
def evaluate(given: RunWords = None, json: Json = False, cfg: Cfg = "", debug: Debug = False) -> None:
    names, rest = split(given)
    if len(names) > 1:
        raise UsageError(f"eval takes one run, not {', '.join(names)}")
    config.launch(
        "eval",
        [*(f"run={literal(n)}" for n in names), *rest, *(["json=true"] if json else [])],
        cfg=cfg,
    )


@app.command(help=COMPARE_HELP)
def compare(given: RunsWords = None, json: Json = False, cfg: Cfg = "", debug: Debug = False) -> None:
    names, rest = split(given)
    named = [f"runs=[{','.join(map(literal, names))}]"] if names else []
    config.launch("compare", [*named, *rest, *(["json=true"] if json else [])], cfg=cfg)


@app.command(help=VISUALIZE_HELP)
def visualize(given: VisualizeWords = None, json: Json = False, cfg: Cfg = "", debug: Debug = False) -> None:
    names, rest = split(given)
    own = config.plain_defaults("visualize")
    what = [name for name in names if isinstance(own.get(name), dict)]
    files = [name for name in names if Path(name).is_file()]
    runs = [name for name in names if name not in (*what, *files)]
    if len(runs) > 1:
        raise UsageError(f"visualize looks at one run, not {', '.join(runs)}")
    words = [
        *([f"what=[{','.join(what)}]"] if what else []),
        *(f"run={literal(name)}" for name in runs),
        *([f"pictures=[{','.join(map(literal, files))}]"] if files else []),
        *(bare(word, what[0] if len(what) == 1 else "", own) for word in rest),
        *(["json=true"] if json else []),
    ]
    config.launch("visualize", words, cfg=cfg)


def bare(word: str, group: str, own: dict[str, Any]) -> str:
    """A visualizer's own `key=a,b` as Hydra has it, `group.key=[a,b]`: where it is named alone its keys go without its
    name, and lists without brackets."""
    key, equals, value = word.partition("=")
    path = f"{group}.{key}" if group and key in own[group] else key
    outer, _, inner = path.partition(".")
    default = own.get(outer, {}).get(inner) if inner and isinstance(own.get(outer), dict) else own.get(path)
    several = isinstance(default, list) or path in LISTS
    if several and value not in ("", "null") and not value.startswith("["):
        quoted = path != "pictures" or value[:1] in ("'", '"')
        value = f"[{value if quoted else ','.join(map(literal, value.split(',')))}]"
    return f"{path}{equals}{value}"


@app.command(help=PREDICT_HELP)
def predict(given: PictureWords = None, format: Format = "table", cfg: Cfg = "", debug: Debug = False) -> None:
    names, rest = split(given)
    pictures = ",".join(map(literal, names))
    config.launch("predict", [f"pictures=[{pictures}]", f"format={literal(format)}", *rest], cfg=cfg)


@app.command(help=BENCH_HELP)
def bench(overrides: Overrides = None, profile: Profile = False, cfg: Cfg = "", debug: Debug = False) -> None:
    names, rest = split(overrides)
    if names:
        raise UsageError(f"{names[0]!r} is not KEY=VALUE; for a network say model={names[0]}")
    if profile and not any(word.startswith(("model=", "experiment=")) for word in rest):
        raise UsageError("--profile traces one model: name it, model=...")
    if cfg or any(word.startswith(("model=", "experiment=", "batch_sizes=")) for word in rest):
        config.launch("bench", [*rest, *(["profile=true"] if profile else [])], cfg=cfg)
        return
    os.environ.setdefault("CNNLAB_OFFLINE", "1")  # nobody asked for a model: nothing is fetched for one
    for name in config.groups()["model"]:
        config.launch("bench", [*rest, f"model={name}", "brief=true"])


@app.command(name="lr-find", help=LR_FIND_HELP)
def lr_find(overrides: Overrides = None, cfg: Cfg = "", debug: Debug = False) -> None:
    names, rest = split(overrides)
    if names:
        raise UsageError(f"{names[0]!r} is not KEY=VALUE; for a network say model={names[0]}")
    config.launch("lr_find", rest, cfg=cfg)


@app.command(help=DESCRIBE_HELP)
def describe(given: RunWords = None, json: Json = False, cfg: Cfg = "", debug: Debug = False) -> None:
    names, rest = split(given)
    if len(names) > 1:
        raise UsageError(f"describe takes one of conv, pool, growth or a run, not {', '.join(map(plain, names))}")
    if names and names[0] in config.groups()["model"] and not exists(Path(names[0])):
        raise UsageError(f"{names[0]!r} is not a run; for a network say model={names[0]}")
    what = next((name for name in names if name in ("conv", "pool", "growth")), None)
    if what is None and (letters := [word for word in rest if re.match("[whdespk]=", word)]):
        raise UsageError(f"{letters[0]} is of one layer: `cnnlab describe conv {letters[0]} ...`, or pool")
    if what in ("conv", "pool"):
        rest = [word if word[0] in "+~" else f"+shape.{word}" for word in rest]
    named = [f"what={what}" if what else f"run={literal(name)}" for name in names]
    config.launch("describe", [*named, *rest, *(["json=true"] if json else [])], cfg=cfg)


@app.command()
def runs(outputs: Outputs = "outputs", json: Json = False, debug: Debug = False) -> None:
    """List the runs there are, with their state and score."""
    from cnnlab.tasks import runs as task

    task.run(Path(outputs), as_json=json)


@app.command()
def version() -> None:
    """Print the version."""
    from cnnlab import __version__

    print(__version__)


def main() -> None:
    """Run the command line; every error that a user can cause is a line or two on stderr."""
    if completion.answer_bash():
        return
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
        print(f"cnnlab: {told(error)}", file=sys.stderr)
        sys.exit(1)
