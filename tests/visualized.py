"""`cnnlab visualize` as the tests call it."""

import json
from typing import Any

from tests.conftest import Cnnlab


def found(cnnlab: Cnnlab, *words: str) -> dict[str, Any]:
    """What it prints as JSON, its figures among it."""
    code, out, err = cnnlab("visualize", *words, "--json")
    assert (code, err) == (0, ""), err
    return dict(json.loads(out))


def refused(cnnlab: Cnnlab, *words: str) -> str:
    """The one line that it refuses words with."""
    code, _, err = cnnlab("visualize", *words)
    assert code == 2 and err.startswith("cnnlab: ") and len(err.splitlines()) == 1, (code, err)
    return err
