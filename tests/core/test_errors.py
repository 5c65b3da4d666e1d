from cnnlab.core.errors import (
    CnnlabError,
    Stopped,
    UsageError,
    format_unknown_choice,
    suggest_nearest,
)


def test_only_similar_choices_are_suggested() -> None:
    assert suggest_nearest("mnist_cn", ["mnist_cnn", "mnist_mlp"]) == "; did you mean mnist_cnn?"
    assert suggest_nearest("zzz", ["mnist_cnn"]) == ""


def test_all_choices_are_listed() -> None:
    assert (
        format_unknown_choice("optim", "sdg", ["sgd", "adam"])
        == "optim 'sdg' is not one of adam, sgd; did you mean sgd?"
    )
    assert format_unknown_choice("run", "x", []) == "run 'x' is not one of (none)"


def test_exit_codes() -> None:
    assert CnnlabError.exit_code == 1
    assert UsageError.exit_code == 2
    assert Stopped("", 15).exit_code == 143


def test_suggestion_begins_like_the_name_or_is_similar_to_it() -> None:
    layers = ["conv_1.conv", "conv_1.relu", "conv_2.conv"]
    assert suggest_nearest("conv1", layers) == "; did you mean conv_1.conv?"
    assert suggest_nearest("Conv-2", layers) == "; did you mean conv_2.conv?"
    assert suggest_nearest("resnet18", ["alexnet", "vgg16"]) == ""
