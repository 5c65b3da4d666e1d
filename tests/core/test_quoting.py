import shlex

import pytest

from cnnlab.core.quoting import plain, typed


def test_what_cannot_be_printed_is_escaped() -> None:
    assert plain("a\nb\x1b[31m\udc80é") == "a\\nb\\x1b[31m\\udc80é"


@pytest.mark.parametrize("path", ["outputs/train/a_1", "with space", "a'b", "a,b=c", "${x}"])
def test_a_suggested_word_survives_the_shell_and_hydra(path: str) -> None:
    from cnnlab.config import compose

    (word,) = shlex.split(typed("run", path))
    assert compose("eval", [word])["run"] == path
    assert typed("run", "a/b-1.c") == "run=a/b-1.c"
