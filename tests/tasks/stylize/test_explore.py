import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cnnlab.tasks.stylize import setup
from tests.tasks.conftest import Stylize, interrupt_at_step, pixels

STRENGTHS = ("--explore", "strength=0.2,0.9")


def find_explore_folder() -> Path:
    (folder,) = Path("outputs/stylize").glob("*_explore")
    return folder


@pytest.mark.slow
def test_explored_images_equal_single_images(
    stylize: Stylize, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_encoder, loads = setup.load_encoder, list[int]()
    monkeypatch.setattr(
        setup, "load_encoder", lambda *a, **k: loads.append(1) or load_encoder(*a, **k)
    )
    out, err = stylize(*STRENGTHS)
    assert err == "" and len(loads) == 1
    assert out.startswith(
        "cnnlab stylize --explore: 2 images, photo.png in the style of one.png\n"
        "net.safetensors, 48x36 pixels"
    )
    folder = find_explore_folder()
    assert "\n1/2  strength=0.2  content " in out and "\n2/2  strength=0.9  content " in out
    assert f"\n\n{folder}/explore.png\n" in out
    figure = pixels(str(folder / "explore.png"))
    assert figure.shape[1] > 4 * 256 and len(np.unique(figure)) > 50
    numbers = json.loads((folder / "explore.json").read_text())
    assert [row["values"] for row in numbers] == [
        {"style.strength": "0.2"},
        {"style.strength": "0.9"},
    ]
    assert numbers[0]["losses"]["content"] < numbers[1]["losses"]["content"]
    stylize("strength=0.9", "out=alone.png")
    assert (folder / "strength_0.9.png").read_bytes() == Path("alone.png").read_bytes()


@pytest.mark.slow
def test_two_keys_share_a_folder_and_print_json(stylize: Stylize) -> None:
    words = ("--explore", "color=style,content", "--explore", "steps=1,2", "out=compared")
    lines = [json.loads(line) for line in stylize(*words, "--json")[0].splitlines()]
    assert len(lines) == 5 and lines[4]["figure"] == "compared/explore.png"
    assert [line["values"]["steps"] for line in lines[:4]] == ["1", "2", "1", "2"]
    assert [line["steps"] for line in lines[:2]] == [[4, 1], [4, 2]]
    assert lines[2]["image"] == "compared/color_content_steps_1.png"
    heights = Image.open("compared/explore.png").height
    assert heights > 2 * 256  # two rows
    _, err = stylize(*words, code=2)
    assert "compared/explore.png already exists: --overwrite replaces it" in err
    assert len(list(Path("compared").iterdir())) == 6


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["strength=0.5,2"], "style: strength must be between 0 and 1, not 2"),
        (["strenth=0.5,2"], "unknown key strenth; did you mean style.strength?"),
        (["style=chapter,cubist"], "style 'cubist' is not one of chapter, relative, wasserstein"),
        (["size=48,0"], "size must be at least 1, not 0"),
        (["size=48,8"], "too small"),
        (["optimizer=adam,sgd"], "optimizer must be one of"),
        (["adam.lr=0.1,7", "optimizer=adam"], "must be between 0 and 1"),
        (["out=a,b"], "--explore cannot compare values of out, which does not change the image"),
        (["strength"], "--explore takes KEY=A,B, not strength"),
        (["size=48,", "strength=1,["], "cannot be read"),
        (["size=1", "seed=2", "color=style"], "--explore takes one or two different keys, not 3"),
        (["size=40,48", "size=30"], "--explore takes one or two different keys, not 2"),
        (["seed=range(1,102)"], "--explore would stylize 101 images; the limit is 100"),
    ],
)
def test_a_bad_value_is_refused_before_the_first_image(
    stylize: Stylize, values: list[str], message: str
) -> None:
    words = [word for value in values for word in ("--explore", value)]
    _, err = stylize(*words, code=2)
    assert message in err and len(err.splitlines()) <= 2
    assert not Path("outputs").exists()


def test_the_size_is_modest_unless_it_is_given(stylize: Stylize) -> None:
    stylize(*STRENGTHS, "~size", "explore_size=40", code=2)
    out, _ = stylize("--explore", "steps=1", "explore_size=40")
    assert ", 48x36 pixels" in out
    out, _ = stylize("--explore", "size=40,44", "explore_size=30")
    assert ", 40x30 pixels" in out
    assert [Image.open(next(Path("outputs").rglob(f"size_{n}.png"))).width for n in (40, 44)] == [
        40,
        44,
    ]


def test_interrupted_exploration_keeps_what_is_finished(
    stylize: Stylize, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_at_step(monkeypatch, 9)
    out, err = stylize(*STRENGTHS, code=130)
    assert err == "cnnlab: stopped; 1 of 2 images are finished\n"
    folder = find_explore_folder()
    assert f"\n{folder}/explore.png\n" in out
    assert [path.name for path in folder.glob("strength*")] == ["strength_0.2.png"]


def test_one_failure_does_not_stop_an_exploration(
    stylize: Stylize, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cnnlab.tasks.stylize import explore

    stylize_job, calls = explore.stylize_job, list[int]()

    def fail_once(*arguments: object, **options: object) -> object:
        calls.append(1)
        if len(calls) == 1:
            raise RuntimeError("no memory")
        return stylize_job(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(explore, "stylize_job", fail_once)
    out, err = stylize(*STRENGTHS, code=1)
    assert "1/2  strength=0.2  failed: RuntimeError: no memory" in out
    assert err == "cnnlab: 1 of 2 images failed: strength=0.2\n"
    assert (find_explore_folder() / "strength_0.9.png").exists()


def test_explore_takes_one_still_image(stylize: Stylize, photos: Path) -> None:
    _, err = stylize(*STRENGTHS, images=("photos", "one.png"), code=2)
    assert err == "cnnlab: photos is a folder: --explore takes one image\n"
    _, err = stylize(*STRENGTHS, "--score", "one.png", code=2)
    assert err == "cnnlab: --explore cannot be given with --reproduce or --score\n"
    _, err = stylize(*STRENGTHS, "out=a.png", code=2)
    assert "out=a.png must be a folder\nuse out=DIR" in err
