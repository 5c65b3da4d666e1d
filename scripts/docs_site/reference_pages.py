"""The pages of the reference as Markdown: one for each command, one for each group of keys."""

import re
from collections.abc import Iterable, Iterator
from typing import Any

import yaml
from key_tables import (
    KeyRow,
    collect_meanings,
    list_operation_rows,
    list_option_rows,
    list_verb_rows,
)
from typer.main import get_command

from cnnlab.cli.verbs import app
from cnnlab.config import CONFIG_DIR, list_default_groups, list_groups

GENERATED = "<!-- Generated from the settings classes and configs/ by scripts/docs_site. -->\n\n"
TITLES = {
    "augment": "Augmentation pipelines",
    "dataset": "Data sets",
    "experiment": "Experiments",
    "model": "Models",
    "optim": "Optimizers",
    "schedule": "Learning-rate schedules",
    "style": "Style losses",
}
INTRODUCTIONS = {
    "augment": "`augment=OPTION` selects a pipeline; `+augment.train.OPERATION.KEY=VALUE` adds an "
    "operation. The operations run in the order of the file, `whiten` and `normalize` last.",
    "dataset": "`dataset=OPTION` selects the images. A model selects its own data set.",
    "experiment": "`experiment=OPTION` selects a measured recipe. It overrides the model's keys; "
    "the command line overrides both.",
    "model": "`model=OPTION` selects the network with its data set, pipeline, optimizer, batch "
    "size and epochs. The command line overrides each of them.",
    "optim": "`optim=OPTION` selects the optimizer. A model's own learning rate belongs to the "
    "optimizer that it was tuned with.",
    "schedule": "`schedule=OPTION` selects the factor of the learning rate during the run.",
    "style": "`style=OPTION` selects the loss of `cnnlab stylize`, and of `model=style_network`.",
}


def list_pages() -> dict[str, str]:
    """Return {path below docs/: Markdown} of every generated page."""
    meanings = collect_meanings() | {row.key: row.meaning for row in list_pipeline_rows()}
    commands = get_command(app).commands  # type: ignore[attr-defined]
    pages = {
        f"reference/commands/{name}.md": render_verb(name, command)
        for name, command in commands.items()
    }
    pages |= {
        f"reference/groups/{group}.md": render_group(group, options, meanings)
        for group, options in list_groups().items()
    }
    return {path: GENERATED + text for path, text in pages.items()}


def render_verb(name: str, command: Any) -> str:
    """Return the page of a command: its help, options, keys and groups."""
    summary, _, examples = (command.help or "").replace("\b\n", "").partition("\n\n")
    metavars = [p.metavar for p in command.params if p.param_type_name == "argument"]
    usage = " ".join(["cnnlab", name, *metavars])
    parts = [f"# cnnlab {name}\n", f"{summary}\n", f"```text\n{usage}\n```\n"]
    for block in examples.strip().split("\n\n") if examples else ():
        title, _, lines = block.partition(":\n")
        parts.append(f"## {title}\n\n```text\n{dedent(lines)}\n```\n" if lines else f"{block}\n")
    parts.append(f"## Options\n\n{render_options(command)}")
    task = name.replace("-", "_")
    if (CONFIG_DIR / f"{task}.yaml").exists():
        parts.append(f"## Keys\n\n{render_keys(list_verb_rows(task))}")
        parts.append(render_groups(name, task))
    return "\n".join(parts)


def dedent(lines: str) -> str:
    """Return lines without their common indentation of two blanks."""
    return "\n".join(line.removeprefix("  ") for line in lines.rstrip().splitlines())


def render_options(command: Any) -> str:
    """Return the table of a command's flags."""
    rows = [
        (f"`{', '.join(p.opts)}`" + (f" `{p.metavar}`" if p.metavar else ""), p.help)
        for p in command.params
        if p.param_type_name == "option" and not p.hidden and p.help
    ]
    return render_table(("option", "meaning"), [*rows, ("`-h, --help`", "Show the help.")])


def render_groups(name: str, task: str) -> str:
    """Return links to the groups that a command selects from."""
    groups = sorted(list_default_groups(task) & list_groups().keys())
    lines = [f"- [`{group}=`](../groups/{group}.md): {TITLES[group].lower()}" for group in groups]
    if name != "train" and "train" in (CONFIG_DIR / f"{task}.yaml").read_text("utf-8").split():
        lines.insert(0, "- the keys of [`cnnlab train`](train.md)")
    return "## Further keys\n\n" + "\n".join(lines) + "\n" if lines else ""


def render_group(group: str, options: Iterable[str], meanings: dict[str, str]) -> str:
    """Return the page of a configuration group: every option with its keys."""
    parts = [f"# {TITLES[group]}: `{group}=`\n", f"{INTRODUCTIONS[group]}\n"]
    if group == "augment":
        parts.append(render_operations())
    for option in options:
        text = (CONFIG_DIR / group / f"{option}.yaml").read_text(encoding="utf-8")
        rows = [
            KeyRow(row.key, row.type, row.default, row.meaning or find_meaning(row.key, meanings))
            if not row.when
            else KeyRow(row.key, row.type, row.default, f"with `{row.when}`")
            for row in list_option_rows(group, option)
        ]
        parts.append(f"## `{group}={option}`\n")
        parts += [f"{part}\n" for part in (read_heading(text), read_selections(text)) if part]
        parts.append(render_keys(rows))
    return "\n".join(parts)


def find_meaning(key: str, meanings: dict[str, str]) -> str:
    """Return the meaning of a key that has no comment in its own file."""
    operation = key.removeprefix("augment.train.").removeprefix("augment.eval.")
    return meanings.get(key) or meanings.get(operation) or meanings.get(operation + ".", "")


def list_pipeline_rows() -> Iterator[KeyRow]:
    """Yield a row for each operation, whose key ends in a point, and for each of its keys."""
    for name, summary, rows in list_operation_rows():
        yield KeyRow(f"{name}.", "", "", summary)
        yield from (row if row.meaning else with_meaning(row, f"of {name}") for row in rows)
        yield KeyRow(
            f"{name}.probability", "float", "", "share of the images that it is applied to"
        )
    yield KeyRow("augment.train", "", "", "operations on training images, in this order")
    yield KeyRow("augment.eval", "", "", "operations on evaluated images, in this order")


def with_meaning(row: KeyRow, meaning: str) -> KeyRow:
    """Return a row with another meaning."""
    return KeyRow(row.key, row.type, row.default, meaning, row.when)


def render_operations() -> str:
    """Return the table of operations with the types of their keys."""
    table = [
        (
            f"`{name}`",
            "<br>".join(f"`{row.key.partition('.')[2]}` {row.type}" for row in rows),
            summary,
        )
        for name, summary, rows in list_operation_rows()
    ]
    note = "Operations that keep an image's size also take `probability`, a float from 0 to 1.\n"
    return f"## Operations\n\n{render_table(('operation', 'keys', 'does'), table)}\n{note}"


def read_heading(text: str) -> str:
    """Return the comment at the top of a configuration file, a line of the page for each."""
    lines = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        if not line.startswith("# @package"):
            lines.append(escape(line.removeprefix("#").strip()))
    return "<br>\n".join(lines)


def read_selections(text: str) -> str:
    """Return what a file's defaults select: "Selects `dataset=cifar10`, `optim=adam`."."""
    defaults = (yaml.safe_load(text) or {}).get("defaults", [])
    pairs = [(key.split("/")[-1], value) for entry in defaults for key, value in entry.items()]
    chosen = ", ".join(f"`{group.partition('@')[0]}={value}`" for group, value in pairs)
    return f"Selects {chosen}." if chosen else ""


def render_keys(rows: Iterable[KeyRow]) -> str:
    """Return the table of keys."""
    cells = [(f"`{r.key}`", r.type, f"`{r.default}`", escape(r.meaning)) for r in rows]
    return render_table(("key", "type", "default", "meaning"), cells)


def render_table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """Return a Markdown table."""
    lines = [head, ("---",) * len(head), *rows]
    escaped = ([cell.replace("|", "\\|") for cell in row] for row in lines)
    return "".join(f"| {' | '.join(row)} |\n" for row in escaped)


def escape(text: str) -> str:
    """Return text in which Markdown changes nothing, code in backquotes excepted."""
    parts = text.split("`")
    parts[::2] = [re.sub(r"[<*_\[\]]", lambda sign: f"&#{ord(sign[0])};", p) for p in parts[::2]]
    return "`".join(parts)
