from pathlib import Path

import pytest

from cnnlab.cli.arguments import qualify_style_override, split_arguments
from cnnlab.config import compose
from cnnlab.core.errors import UsageError


def test_names_and_overrides_are_separated(here: Path) -> None:
    Path("x=1.png").write_text("")
    words = ["x=1.png", "top=3", "a.png", "+a.b=1", "++a=1", "~a.b", "./y=2.png", "~/home.png"]
    assert split_arguments(words) == (
        ["x=1.png", "a.png", "./y=2.png", "~/home.png"],
        ["top=3", "+a.b=1", "++a=1", "~a.b"],
    )


@pytest.mark.parametrize(
    "name", ["a b", "it's", "d & (c)", "x=1", "7", "a'b\\", "é", "run#1", "a,b/x"]
)
def test_paths_are_taken_literally(here: Path, name: str) -> None:
    for key in ("outputs", "dataset.root"):
        _, (word,) = split_arguments([f"{key}={name}"])
        config = compose("train", ["dataset=folder", word])
        assert (config["outputs"] if key == "outputs" else config["dataset"]["root"]) == name
    for word in ("outputs='a b'", "resume=", "resume=null", "name=a-1", "optim.lr=1"):
        assert split_arguments([word])[1] == [word]


@pytest.mark.parametrize(
    "name", ["é", "run#1", "a,b", "7", "true", "1e5", "null1", "a b", "run(1)"]
)
def test_any_run_name_needs_no_quotes(name: str) -> None:
    _, (word,) = split_arguments([f"name={name}"])
    assert compose("train", [word])["name"] == name


def test_commas_separate_paths_in_a_sweep_only() -> None:
    for given, expected in (
        ("name=é,b,run#1", "name='é',b,'run#1'"),
        ("dataset.root=a b,c", "dataset.root='a b','c'"),
        ("init=null,last", "init=null,'last'"),
        ("name='a,b'", "name='a,b'"),
        ("name=choice(a,b)", "name=choice(a,b)"),
        ("outputs=a,b/x", "outputs='a,b/x'"),
        ("resume=a,b", "resume='a,b'"),
        ("optim.lr=1,2", "optim.lr=1,2"),
    ):
        assert split_arguments([given], multirun=True)[1] == [expected]


def test_commas_in_single_paths_are_literal() -> None:
    for key in ("out", "reproduce", "score", "features.weights", "content_map"):
        assert split_arguments([f"{key}=a,b.png"])[1] == [f"{key}='a,b.png'"]


def test_style_keys_need_no_prefix() -> None:
    for word, expected in (
        ("strength=0.9", "style.strength=0.9"),
        ("layers=[relu1_1]", "style.layers=[relu1_1]"),
        ("layers=relu1_1,relu2_1", "style.layers=[relu1_1,relu2_1]"),
        ("style_weights=2,1", "style_weights=[2,1]"),
        ("style_scale=1,0.5", "style_scale=[1,0.5]"),
        ("style_scale=0.5", "style_scale=0.5"),
        ("mask=my sky.png", "mask='my sky.png'"),
        ("mask=a.png,b (1).png", "mask=['a.png','b (1).png']"),
        ("mask=[a.png, b.png]", "mask=['a.png','b.png']"),
        ("mask=['a.png','b.png']", "mask=['a.png','b.png']"),
        ("mask=bob's.png", "mask='bob\\'s.png'"),
        ("mask=null", "mask=null"),
        ("features=vgg16", "features.name=vgg16"),
        ("features.pool=average", "features.pool=average"),
        ("time=1:30", "time='1:30'"),
        ("time='1:30'", "time='1:30'"),
        ("time=null", "time=null"),
        ("size=64", "size=64"),
    ):
        assert qualify_style_override(word) == expected


def test_comma_in_the_name_of_a_mask_is_literal_where_the_file_exists(here: Path) -> None:
    (here / "a,b.png").touch()
    assert qualify_style_override("mask=a,b.png") == "mask='a,b.png'"
    assert qualify_style_override("mask=a,c.png") == "mask=['a','c.png']"


def test_explored_values_without_the_flag_are_refused() -> None:
    with pytest.raises(UsageError, match=r"given as a flag\ntype --explore strength=0\.5,0\.7$"):
        qualify_style_override("explore=strength=0.5,0.7")
    assert qualify_style_override("explore=['seed=1,2']") == "explore=['seed=1,2']"
