import os
import shutil
import subprocess
import sys

import pytest

from cnnlab.cli.completion import complete_bash_value, list_completions


def test_groups_options_and_keys_are_completed() -> None:
    assert {"model=", "model.filters="} <= set(list_completions("train", "mod"))
    assert list_completions("train", "model=mn") == [
        "model=mnist_cnn",
        "model=mnist_fast",
        "model=mnist_mlp",
    ]
    assert {"epochs=", "experiment=", "optim.lr="} <= set(list_completions("train", ""))
    assert {"model=", "seconds=", "optim.lr="} <= set(list_completions("bench", ""))
    assert {"min_lr=", "epochs="} <= set(list_completions("lr-find", ""))
    assert {"style=", "style.strength=", "size=", "color="} <= set(list_completions("stylize", ""))
    assert "model=" not in list_completions("stylize", "") and "style=" not in list_completions(
        "train", ""
    )
    assert list_completions("train", "resum") == ["resume=", "resume=null"]
    assert list_completions("train", "compi") == ["compile=", "compile=false"]
    assert list_completions("train", "nothing") == [] == list_completions("runs", "x")


def test_a_single_key_is_completed_with_its_values() -> None:
    assert list_completions("train", "optim.l") == ["optim.lr=", "optim.lr=0.001"]
    assert list_completions("train", "exper")[:2] == ["experiment=", "experiment=cifar10_bn_best"]
    assert list_completions("eval", "sp") == ["split=", "split=test"]


@pytest.mark.parametrize("separator", [" ", "\n"])
@pytest.mark.parametrize(
    ("line", "position", "answer"),
    [
        ("cnnlab train model = mn", 4, "mnist_cnn mnist_fast mnist_mlp"),
        (
            "cnnlab train model =",
            3,
            "alexnet cifar_bn cifar_cnn cifar_fast digits_cnn fixed_filters mnist_cnn mnist_fast "
            "mnist_mlp "
            "style_network vgg16 vgg19",
        ),
        ("cnnlab train optim = sgd model = mnist_m", 7, "mnist_mlp"),
        ("cnnlab train model = mn epochs = 3", 4, "mnist_cnn mnist_fast mnist_mlp"),
        ("cnnlab train mod", 2, None),
        ("cnnlab train model = mnist_cnn opt", 5, None),
    ],
)
def test_bash_gets_only_values(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    line: str,
    position: int,
    answer: str | None,
    separator: str,
) -> None:
    monkeypatch.setenv("_CNNLAB_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", line.replace(" ", separator))
    monkeypatch.setenv("COMP_CWORD", str(position))
    assert complete_bash_value() is (answer is not None)
    assert capsys.readouterr().out.split() == (answer or "").split()


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_the_installed_bash_function_completes_values() -> None:
    """The installed completion function, in a real bash, on `cnnlab train model=mn<TAB>`."""
    script = """
    eval "$(_CNNLAB_COMPLETE=source_bash cnnlab)"
    COMP_WORDS=(cnnlab train model = mn) COMP_CWORD=4
    _cnnlab_completion cnnlab
    printf '%s\\n' "${COMPREPLY[@]}"
    """
    path = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])  # noqa: PTH120
    process = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, env=os.environ | {"PATH": path}
    )
    assert process.stdout.split() == ["mnist_cnn", "mnist_fast", "mnist_mlp"], process.stderr
