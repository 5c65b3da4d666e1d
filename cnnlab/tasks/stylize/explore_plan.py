"""What `cnnlab stylize --explore` compares: every combination of the values of one or two keys."""

import re
from dataclasses import dataclass
from itertools import product

from cnnlab.config import compose
from cnnlab.core.errors import UsageError
from cnnlab.core.quoting import printable
from cnnlab.core.schema import Config, call_checked
from cnnlab.tasks.stylize.settings import RECORDED_KEYS, StylizeSettings

MAX_KEYS = 2  # rows and columns of the figure
MAX_VALUES = 100  # images of one figure
MAX_COLUMNS = 4  # where one key is explored
EXPLORED_KEYS = {*RECORDED_KEYS, "styles", "time"} - {"threads"}
MAX_STEM_LENGTH = 80


@dataclass(frozen=True)
class Variant:
    """One combination of the explored values, as typed by key; `settings` include them.

    `stem`: the name of its files without a suffix, no other variant's: `strength_0.5`.
    """

    values: dict[str, str]
    stem: str
    settings: StylizeSettings
    config: Config
    overrides: list[str]

    @property
    def label(self) -> str:
        """Return `strength=0.5, color=content`."""
        return format_values(self.values)


def plan_variants(settings: StylizeSettings, overrides: list[str]) -> tuple[list[Variant], int]:
    """Return every combination of the explored values, and the rows that show them.

    The first key's values are the rows where there are two keys. Raises UsageError for keys that
    cannot be explored, or invalid values.
    """
    explored = dict(parse_explored_values(word) for word in settings.explore)
    if not len(explored) == len(settings.explore) <= MAX_KEYS:
        raise UsageError(
            f"--explore takes one or two different keys, not {len(settings.explore)}\n"
            "e.g. --explore strength=0.5,0.8 --explore color=style,content"
        )
    combinations = list(product(*explored.values()))
    if len(combinations) > MAX_VALUES:
        raise UsageError(
            f"--explore would stylize {len(combinations)} images; the limit is {MAX_VALUES}\n"
            "give fewer values"
        )
    others = [word for word in overrides if get_override_key(word) not in (*explored, "explore")]
    if not any(get_override_key(word) == "size" for word in others) and "size" not in explored:
        others.append(f"size={settings.explore_size}")
    variants = [
        make_variant(dict(zip(explored, values, strict=True)), others, number)
        for number, values in enumerate(combinations, 1)
    ]
    first, *more = explored.values()
    return variants, len(first) if more else -(-len(first) // MAX_COLUMNS)


def parse_explored_values(word: str) -> tuple[str, list[str]]:
    """Return the key and the values of `key=a,b`, as Hydra reads a sweep's.

    Raises UsageError for a key that does not change the image.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser

    key, _, text = word.partition("=")
    if not text:
        raise UsageError(
            f"--explore takes KEY=A,B, not {printable(word)}\ne.g. --explore strength=0.5,0.8"
        )
    if key in set(StylizeSettings.__dataclass_fields__) - EXPLORED_KEYS:
        raise UsageError(
            f"--explore cannot compare values of {key}, which does not change the image\n"
            "explore a key that does, such as strength, color or style_scale"
        )
    override = OverridesParser.create().parse_overrides([word])[0]
    if not override.is_sweep_override():
        return key, [text]
    return key, list(dict.fromkeys(override.sweep_string_iterator()))


def get_override_key(word: str) -> str:
    """Return the key of an override: `size` of `+size=3`."""
    return word.lstrip("+~").partition("=")[0]


def make_variant(values: dict[str, str], overrides: list[str], number: int) -> Variant:
    """Return a variant by its number, from 1. Raises UsageError for values that no key can have."""
    words = [*overrides, *(f"{key}={value}" for key, value in values.items())]
    config = compose("stylize", words)
    settings = call_checked(StylizeSettings, config, "")
    shown = {key: re.sub(r"\\(.)", r"\1", value.strip("'\"")) for key, value in values.items()}
    stem = re.sub(r"[^\w.-]+", "_", format_values(shown)).strip("_.")
    if re.search(r"[^\w.=, -]", format_values(shown)) or len(stem) > MAX_STEM_LENGTH:
        stem = f"{stem[:MAX_STEM_LENGTH]}_{number}"  # several may be equal so far
    return Variant(shown, stem, settings, config, words)


def format_values(values: dict[str, str]) -> str:
    """Return `strength=0.5, color=content`."""
    return ", ".join(f"{key.removeprefix('style.')}={value}" for key, value in values.items())
