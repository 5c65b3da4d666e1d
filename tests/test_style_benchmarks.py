"""The benchmarks that compare stylized images: the peer's network, the judges."""

from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest
import torch
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


@pytest.fixture
def benchmark_module(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return lambda name: import_module(f"benchmarks.{name}")


@pytest.fixture
def peer(benchmark_module) -> ModuleType:
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


def test_judge_gives_1_and_0_for_the_content_image_and_0_for_the_style(benchmark_module) -> None:
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
