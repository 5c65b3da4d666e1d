"""`cnnlab stylize --again`: what a picture says of how it was made, as settings once more."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cnnlab.core.errors import CnnlabError, UsageError
from cnnlab.core.schema import call, fits
from cnnlab.core.quoting import plain
from cnnlab.style.pretrained import Features, weights_folder
from cnnlab.style.source_image import about, hashed
from cnnlab.tasks.stylize.setup import Studio
from cnnlab.tasks.stylize.settings import FREE, RECORDED, Settings


@dataclass(frozen=True)
class Earlier:
    """The settings that a picture was made with, its steps at each scale, the fingerprints of its weights and of the
    settings as they were given, and its name."""

    settings: Settings
    steps: list[int]
    weights: str
    asked: str | None  # of what was made before there was one: none
    source: str

    def hold(self, made: Studio) -> None:
        """Raises UsageError where it was made with other weights, at fewer scales than it says, or
        with more memory."""
        if self.weights != made.chosen.sha256:
            raise UsageError(f"{self.source} was made with other weights than {made.chosen.name}'s")
        s = self.settings
        if made.shrunk or made.keys(s) != getattr(s, s.method) or made.piece != s.piece:
            raise UsageError(f"{self.source} was made with more memory than there is now, or memory_limit= leaves")
        if not 1 <= len(self.steps) <= len(made.sizes):
            raise UsageError(f"{self.source} does not say how it was made: {len(self.steps)} scales")


def earlier(s: Settings, overrides: list[str]) -> Earlier:
    """What the picture `s.again` says; pictures, place and device are this command's. Raises UsageError for other
    pictures than it was made of, or other keys, CnnlabError for a record that cannot be one."""
    source, found = plain(str(s.again)), about(str(s.again))
    for word in overrides:
        if word.lstrip("+").partition("=")[0] not in (*FREE, "features.weights"):
            raise UsageError(f"--again takes its settings from {source}: {word} cannot be given with it")
    known, steps = found["sha256"], found["steps"]
    shaped = all(fits(one, dict[str, Any]) for one in (found["settings"], known)) and fits(steps, list[int])
    if not shaped or not fits(known.get("styles"), list[str]) or not fits(known.get("settings"), str | None):
        raise CnnlabError(f"{source} does not say how it was made: its record is none of cnnlab's")
    if [hashed(one) for one in (str(s.content), *s.styles)] != [known.get("content"), *known["styles"]]:
        raise UsageError(f"{source} was made from other pictures (their SHA-256 differ), or in another order")
    if s.time is not None:
        raise UsageError(f"--again takes as many steps as {source} did: time cannot be given with it")
    free = {key: value for key, value in asdict(s).items() if key not in RECORDED}
    made = call(Settings, {"piece": None} | found["settings"] | free, f"{source}'s record")
    call(Features, made.features, "features")
    if made.features["name"] == "auto" and not made.features["weights"]:
        made.features["name"] = "vgg19"  # of before there was another to choose
    if s.features["weights"]:
        made.features["weights"] = s.features["weights"]
    elif name := made.features["weights"]:
        made.features["weights"] = str(weights_folder() / Path(name).name)
        if not Path(made.features["weights"]).exists():
            raise UsageError(f"{source} was made with {plain(name)}: say where it is, features.weights=FILE")
    return Earlier(made, steps, str(known.get("weights")), known.get("settings"), source)
