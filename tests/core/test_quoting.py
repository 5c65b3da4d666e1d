import shlex

import pytest

from cnnlab.core.quoting import as_override, printable


def test_unprintable_characters_are_escaped() -> None:
    assert printable("a\nb\x1b[31m\udc80é") == "a\\nb\\x1b[31m\\udc80é"


@pytest.mark.parametrize("path", ["outputs/train/a_1", "with space", "a'b", "a,b=c", "${x}"])
def test_a_quoted_override_survives_the_shell_and_hydra(path: str) -> None:
    from cnnlab.config import compose

    (word,) = shlex.split(as_override("run", path))
    assert compose("eval", [word])["run"] == path
    assert as_override("run", "a/b-1.c") == "run=a/b-1.c"
