import os
import shutil
import subprocess
import sys

import pytest

from cnnlab.cli.completion import complete_bash_value, list_completions


def test_groups_options_and_keys_are_offered() -> None:
    assert {"model=", "model.filters="} <= set(list_completions("train", "mod"))
    assert list_completions("train", "model=mn") == ["model=mnist_cnn", "model=mnist_mlp"]
    assert {"epochs=", "experiment=", "optim.lr="} <= set(list_completions("train", ""))
    assert {"model=", "seconds=", "optim.lr="} <= set(list_completions("bench", ""))
    assert {"lowest=", "epochs="} <= set(list_completions("lr-find", ""))
    assert {"style=", "style.strength=", "size=", "color="} <= set(list_completions("stylize", ""))
    assert "model=" not in list_completions("stylize", "") and "style=" not in list_completions(
        "train", ""
    )
    assert list_completions("train", "resum") == ["resume=", "resume=null"]
    assert list_completions("train", "compi") == ["compile=", "compile=false"]
    assert list_completions("train", "nothing") == [] == list_completions("runs", "x")


def test_a_single_key_goes_on_to_its_values_so_that_no_space_follows() -> None:
    assert list_completions("train", "optim.l") == ["optim.lr=", "optim.lr=0.001"]
    assert list_completions("train", "exper")[:2] == ["experiment=", "experiment=cifar10_bn_best"]
    assert list_completions("eval", "sp") == ["split=", "split=test"]


@pytest.mark.parametrize("between", [" ", "\n"])
@pytest.mark.parametrize(
    ("words", "at", "answer"),
    [
        ("cnnlab train model = mn", 4, "mnist_cnn mnist_mlp"),
        (
            "cnnlab train model =",
            3,
            "alexnet cifar_bn cifar_cnn digits_cnn fixed_filters mnist_cnn mnist_mlp vgg16 vgg19",
        ),
        ("cnnlab train optim = sgd model = mnist_m", 7, "mnist_mlp"),
        ("cnnlab train model = mn epochs = 3", 4, "mnist_cnn mnist_mlp"),
        ("cnnlab train mod", 2, None),
        ("cnnlab train model = mnist_cnn opt", 5, None),
    ],
)
def test_bash_is_given_values_alone(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: str,
    at: int,
    answer: str | None,
    between: str,
) -> None:
    monkeypatch.setenv("_CNNLAB_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", words.replace(" ", between))
    monkeypatch.setenv("COMP_CWORD", str(at))
    assert complete_bash_value() is (answer is not None)
    assert capsys.readouterr().out.split() == (answer or "").split()


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not here")
def test_bash_itself_gets_what_follows_the_equals_sign() -> None:
    """The installed completion function, in a real bash, on `cnnlab train model=mn<TAB>`."""
    script = """
    eval "$(_CNNLAB_COMPLETE=source_bash cnnlab)"
    COMP_WORDS=(cnnlab train model = mn) COMP_CWORD=4
    _cnnlab_completion cnnlab
    printf '%s\\n' "${COMPREPLY[@]}"
    """
    path = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])  # noqa: PTH120
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, env=os.environ | {"PATH": path}
    )
    assert done.stdout.split() == ["mnist_cnn", "mnist_mlp"], done.stderr
