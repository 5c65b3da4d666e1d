"""`cnnlab visualize` as the tests call it."""

import json
from typing import Any

from tests.conftest import Cnnlab


def visualize_json(cnnlab: Cnnlab, *words: str) -> dict[str, Any]:
    """Return what `visualize --json` prints, the figures' numbers among it."""
    code, out, err = cnnlab("visualize", *words, "--json")
    assert (code, err) == (0, ""), err
    return dict(json.loads(out))


def get_usage_error(cnnlab: Cnnlab, *words: str) -> str:
    """Return the one line with which `visualize` refuses words."""
    code, _, err = cnnlab("visualize", *words)
    assert code == 2 and err.startswith("cnnlab: ") and len(err.splitlines()) == 1, (code, err)
    return err
