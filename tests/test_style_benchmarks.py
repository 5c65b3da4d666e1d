"""The benchmarks that compare stylized images: the peer's network, the judges, blind sheets."""

import json
import sys
from argparse import Namespace
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import binomtest
from torch import nn

from cnnlab.style.vgg import (
    CONVS_PER_BLOCK,
    VGGConvention,
    conv_channels,
    init_random_vgg,
)
from cnnlab.style.vgg_weights import save_vgg_weights

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"
CONVENTION = VGGConvention(
    mean=(0.0, 0.0, 0.0),
    std=(1.0, 1.0, 1.0),
    range="0..1",
    color="RGB",
    padding="reflect",
    pool="max",
)


LoadModule = Callable[[str], ModuleType]


@pytest.fixture
def benchmark_module(monkeypatch: pytest.MonkeyPatch) -> LoadModule:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return lambda name: import_module(f"benchmarks.{name}")


@pytest.fixture
def peer(benchmark_module: LoadModule) -> ModuleType:
    return benchmark_module("peer_style_transfer")


def write_random_vgg(path: Path) -> dict[str, torch.Tensor]:
    channels = conv_channels((*CONVS_PER_BLOCK["vgg19"][:4], 1), (2, 2, 3, 3, 4))
    tensors = init_random_vgg(channels, torch.Generator().manual_seed(0))
    save_vgg_weights(path, tensors, CONVENTION)
    return tensors


def test_peer_network_has_torchvisions_order_of_layers(peer: ModuleType, tmp_path: Path) -> None:
    """The peer takes layers by torchvision's index: style 1, 6, 11, 20, 29, content 22."""
    from torchvision.models import vgg19

    path = tmp_path / "vgg.safetensors"
    tensors = write_random_vgg(path)
    layers, normalize = peer.make_network(path)
    with torch.device("meta"):
        expected = vgg19(weights=None).features[:30]
    assert [type(layer) for layer in layers] == [type(layer) for layer in expected]
    names = list(dict(layers.named_children()))
    named = {i: names[i] for i in (1, 6, 11, 20, 22, 29)}
    relus = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu4_2", "relu5_1")
    assert tuple(named.values()) == relus
    convolutions = [layer for layer in layers if isinstance(layer, nn.Conv2d)]
    assert all(conv.padding_mode == "reflect" for conv in convolutions)
    assert torch.equal(layers[21].weight, tensors["conv4_2.weight"])
    x = torch.rand(1, 3, 4, 4)
    assert torch.equal(normalize(x), x)


PEER_CODE = """
from types import SimpleNamespace
from PIL import Image
from torchvision import models, transforms

class StyleTransfer:
    def __init__(self, devices):
        self.model = transforms.Normalize([0.5] * 3, [0.5] * 3)
        self.model.normalize = self.model
        self.model.layers = models.vgg19(weights="IMAGENET1K_V1").features[:30]

    def stylize(self, content, styles, *, content_weight, end_scale, iterations,
                initial_iterations, callback):
        assert len(self.model.layers) == 30 and self.model.normalize.mean == (0.0, 0.0, 0.0)
        for side, count in ((end_scale // 2, initial_iterations), (end_scale, iterations)):
            for _ in range(count):
                callback(SimpleNamespace(w=side, h=side // 2))
        return Image.blend(content, styles[0], content_weight)
"""


def test_peer_runs_with_the_given_network_and_images(
    peer: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "style_transfer"
    package.mkdir()
    (package / "__init__.py").write_text("raise ImportError('no web server')")
    (package / "style_transfer.py").write_text(PEER_CODE)
    for name in ("style_transfer", "style_transfer.style_transfer"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
        del sys.modules[name]
    write_random_vgg(tmp_path / "vgg.safetensors")
    write_pair(tmp_path, "p.jpg", 0)
    write_pair(tmp_path, "q.jpg", 100)
    paths = {"content": "p.jpg", "style": "q.jpg", "out": "out.png", "weights": "vgg.safetensors"}
    options = Namespace(**{key: tmp_path / name for key, name in paths.items()}, peer=tmp_path)
    options.size, options.initial_iterations, options.iterations = 64, 3, 2
    options.content_weight, options.threads, options.device = 0.5, None, "cpu"
    result = peer.stylize(options)
    assert [(s["size"], s["iterations"]) for s in result["scales"]] == [(32, 3), (64, 2)]
    assert Image.open(tmp_path / "out.png").getpixel((0, 0)) == (50, 50, 50)


def test_peer_iterations_are_scaled_to_take_the_seconds(peer: ModuleType) -> None:
    scales = [
        {"size": 128, "iteration_s": 0.01, "setup_s": 0.5},
        {"size": 181, "iteration_s": 0.03, "setup_s": 0.5},
    ]
    initial, others = peer.scale_iterations({"scales": scales}, 2.0, 15.5)
    assert (initial, others) == (500, 250)  # half of 1000 and 500
    assert 2.0 + 1.0 + initial * 0.01 + others * 0.03 == pytest.approx(15.5)
    assert peer.scale_iterations({"scales": scales}, 2.0, 1.0) == (1, 1)


def test_peer_times_of_scales_are_medians_of_iterations(peer: ModuleType) -> None:
    ends = {128: [3.0, 4.0, 5.0, 9.0], 181: [13.0, 15.0]}
    first, second = peer.summarize_scales(1.0, ends)
    assert first == {"size": 128, "iterations": 4, "iteration_s": 1.0, "setup_s": 1.0}
    assert second == {"size": 181, "iterations": 2, "iteration_s": 2.0, "setup_s": 2.0}


def test_judge_gives_1_and_0_for_the_content_image_and_0_for_the_style(
    benchmark_module: LoadModule,
) -> None:
    judge = benchmark_module("judge")

    def compute_maps(x: torch.Tensor, layers: list[int]) -> dict[int, torch.Tensor]:
        return {layer: x * layer for layer in layers}

    generator = torch.Generator().manual_seed(0)
    P, A = (torch.rand(1, 3, 8, 8, generator=generator) for _ in range(2))
    scores = judge.Judge(compute_maps, (1, 2), 1).score
    assert scores(P, P, A) == {"style_left": 1.0, "content": 0.0}
    shuffled = A.flatten(2)[..., torch.randperm(64, generator=generator)].view_as(A)
    of_style = scores(shuffled, P, A)
    assert of_style["style_left"] == pytest.approx(0, abs=1e-6)
    assert of_style["content"] == pytest.approx(1, abs=0.3)


def make_row(program: str, value: float, content: float, style_left: float) -> dict:
    scores = {"judge": {"content": content, "style_left": style_left}}
    row = {"program": program, "content": "a", "style": "b", "size": 8, "seconds": 15.0}
    row |= {"value": value, "is_default": value == 1, "process_s": 15.0, "steps": [3]}
    return row | {"image": "", "scores": scores}


def test_style_left_is_interpolated_on_a_logarithmic_scale(benchmark_module: LoadModule) -> None:
    interpolate = benchmark_module("stylize_tables").interpolate_style_left
    contents, lefts = [0.5, 0.1, 0.3], [0.1, 0.9, 0.4]
    points = list(zip(contents, lefts, strict=True))
    for content in (0.1, 0.15, 0.3, 0.42, 0.5):
        expected = np.exp(np.interp(content, [0.1, 0.3, 0.5], np.log([0.9, 0.4, 0.1])))
        assert interpolate(points, content) == pytest.approx(expected)
    assert interpolate(points, 0.05) is None and interpolate(points, 0.55) is None
    assert interpolate(points[:1], 0.5) is None


def test_programs_are_compared_at_the_content_distance_of_either(
    benchmark_module: LoadModule,
) -> None:
    relate = benchmark_module("stylize_tables").relate_at_content
    own = [make_row("cnnlab", 1, 0.2, 0.4), make_row("cnnlab", 2, 0.4, 0.1)]
    other = [make_row("peer", 1, 0.3, 0.4), make_row("peer", 2, 0.1, 0.8)]
    rows = [*own, *other]
    at_others = relate(rows, own[0], other[0], "judge", other[0])
    assert at_others == pytest.approx((0.4 * 0.1) ** 0.5 / 0.4)
    at_own = relate(rows, own[0], other[0], "judge", own[0])
    assert at_own == pytest.approx(0.4 / (0.4 * 0.8) ** 0.5)
    assert relate(rows[:1] + other, own[0], other[0], "judge", other[0]) is None


def test_tables_name_programs_and_count_pairs(
    benchmark_module: LoadModule, capsys: pytest.CaptureFixture[str]
) -> None:
    tables = benchmark_module("stylize_tables")
    calibration = {"program": "peer", "seconds": "calibration"}
    rows = [make_row("new", 1, 0.2, 0.1), make_row("peer", 1, 0.2, 0.2)]
    tables.print_tables([calibration, *rows, make_row("peer", 2, 0.3, 0.1)])
    out = capsys.readouterr().out
    assert "| 15 s | 15 and 15 | 0.50 (below 1 in 1 of 1) | 0.200 and 0.200 |" in out
    assert "At equal content distance: new and peer" in out
    assert "| 15 s | a, b, 8 | not reached | 0.50 |" in out


def write_pair(folder: Path, name: str, shade: int) -> None:
    folder.mkdir(exist_ok=True)
    Image.new("RGB", (20, 10), (shade, shade, shade)).save(folder / name)


def test_blind_sheets_hide_the_order_that_the_key_holds(
    benchmark_module: LoadModule, tmp_path: Path
) -> None:
    blind = benchmark_module("blind")
    for name in ("p.jpg", "q.jpg"):
        write_pair(tmp_path / "images", name, 128)
    for i in range(12):
        write_pair(tmp_path / "new", f"p__q__{i}px__15s.png", 10)
        write_pair(tmp_path / "old", f"p__q__{i}px__15s.png", 200)
    write_pair(tmp_path / "new", "p__q__only_here.png", 10)
    folders, names = [tmp_path / "new", tmp_path / "old"], None
    paths = {key: tmp_path / key for key in ("sheets", "images", "key")}
    options = Namespace(folders=folders, names=names, seed=3, answers=None, **paths)
    blind.run(options)
    key = json.loads((tmp_path / "key").read_text())
    assert len(list((tmp_path / "sheets").iterdir())) == len(key["sheets"]) == 12
    assert {entry["first_is"] for entry in key["sheets"]} == {"A", "B"}
    for entry in key["sheets"]:
        pixels = np.asarray(Image.open(tmp_path / "sheets" / f"{entry['sheet']}.png"))
        row = pixels[-blind.GAP - 5, :, 0]  # through both outputs
        shades = [int(shade) for shade in row if shade in (10, 200)]
        expected = [10] * 20 + [200] * 20
        assert shades == (expected if entry["first_is"] == "A" else expected[::-1])


def test_answers_are_counted_for_the_first_folder(
    benchmark_module: LoadModule, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    blind = benchmark_module("blind")
    sheets = [
        {"sheet": f"{i:03d}", "name": "", "kind": kind, "first_is": first}
        for i, kind, first in ((1, "15s", "A"), (2, "15s", "B"), (3, "60s", "B"))
    ]
    path = tmp_path / "answers"
    path.write_text("001 A\n2: a\n\n# a comment\n3, b  # sure\n003 =\n1 A\n")
    answers = blind.read_answers(path)
    assert answers == [("001", "A"), ("002", "A"), ("003", "B"), ("003", "="), ("001", "A")]
    counts = blind.count_answers(sheets, answers)
    assert counts == {"15s": (2, 1, 0), "60s": (1, 0, 1), "all": (3, 1, 1)}
    rows = blind.print_answers({"folders": ["new", "old"], "sheets": sheets}, answers)
    interval = binomtest(3, 4).proportion_ci(method="wilson")
    assert rows[-1]["interval_95"] == pytest.approx([interval.low, interval.high])
    assert "| all | 3 | 1 | 1 | 75% | 30% to 95% |" in capsys.readouterr().out
    path.write_text("1 C\n")
    with pytest.raises(SystemExit) as error:
        blind.read_answers(path)
    assert error.value.code == 2


def test_tasks_alternate_programs_and_are_not_repeated(benchmark_module: LoadModule) -> None:
    stylize = benchmark_module("stylize")
    options = Namespace(name="new", pairs=[1], seconds=[15.0, "default"], size=None)
    options.strengths, options.content_weights = [0.7, 0.8], [0.03]
    options.programs = ["cnnlab", "peer"]
    tasks = stylize.list_tasks(options, 0.8)
    made = [(task.program, task.seconds, task.value, task.is_default) for task in tasks]
    assert made[:4] == [
        ("new", 15.0, 0.8, True),
        ("peer", 15.0, 0.015, True),
        ("new", 15.0, 0.7, False),
        ("peer", 15.0, 0.03, False),
    ]
    assert len(made) == 8 and made[4][1] == "default"
    names = [task.image_name for task in tasks]
    assert names[0] == names[1] == "golden_gate__great_wave__384px__15s.png"
    assert names[2] == "golden_gate__great_wave__384px__15s__0.7.png"
    row = {**vars(tasks[0]), "scores": {}}
    assert [stylize.is_done(task, [row]) for task in tasks[:2]] == [True, False]
