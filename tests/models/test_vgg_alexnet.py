import pytest
import torch
import torchvision
from torch import Tensor, nn

from cnnlab.config import compose
from cnnlab.models import build_model
from cnnlab.models.vgg_alexnet import fold_batch_norm, vgg
from cnnlab.style.vgg import CONVS_PER_BLOCK, FILTERS_PER_BLOCK

PARAMETERS = {"vgg16": 138_357_544, "vgg19": 143_667_240, "alexnet": 61_100_840}


def build_on_meta(name: str, size: int = 224, classes: int = 1000) -> nn.Module:
    with torch.device("meta"):
        return build_model(compose("train", [f"model={name}"])["model"], (3, size, size), classes)


def trace_output_shapes(model: nn.Module) -> list[tuple[str, tuple[int, ...]]]:
    """Return the layers that an image passes, in order, and their outputs' shapes."""
    shapes: list[tuple[str, tuple[int, ...]]] = []

    def record(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        if not isinstance(module, (nn.AdaptiveAvgPool2d, nn.Flatten)):
            shapes.append((str(module), tuple(output.shape)))

    for module in model.modules():
        if not list(module.children()):
            module.register_forward_hook(record)
    with torch.device("meta"):
        model.eval()(torch.zeros(1, 3, 224, 224))
    return shapes


@pytest.mark.parametrize("name", PARAMETERS)
def test_layers_match_torchvision(name: str) -> None:
    actual = build_on_meta(name)
    with torch.device("meta"):
        expected = getattr(torchvision.models, name)()
    assert trace_output_shapes(actual) == trace_output_shapes(expected)
    assert [tuple(p.shape) for p in actual.parameters()] == [
        tuple(p.shape) for p in expected.parameters()
    ]
    assert sum(p.numel() for p in actual.parameters()) == PARAMETERS[name]


@pytest.mark.parametrize("name", CONVS_PER_BLOCK)
def test_configured_filters_match_the_table_of_style(name: str) -> None:
    """The models' layout is configuration, which style does not read."""
    filters = compose("train", [f"model={name}"])["model"]["filters"]
    blocks = zip(CONVS_PER_BLOCK[name], FILTERS_PER_BLOCK, strict=True)
    assert filters == [[width] * count for count, width in blocks]


def test_the_same_weights_give_the_same_logits() -> None:
    """AlexNet with torchvision's own weights, in its order."""
    torch.manual_seed(0)
    expected = torchvision.models.alexnet(num_classes=7).eval()
    actual = build_on_meta("alexnet", classes=7).eval()
    tensors = zip(actual.state_dict(), expected.state_dict().values(), strict=True)
    actual.load_state_dict(dict(tensors), assign=True)
    x = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        torch.testing.assert_close(actual(x), expected(x))


def test_layers_have_the_papers_names() -> None:
    names = [name for name, _ in build_on_meta("vgg19").named_children()]
    assert names[:7] == ["conv1_1", "relu1_1", "conv1_2", "relu1_2", "pool1", "conv2_1", "relu2_1"]
    assert (
        names[-8:] == ["flatten", "fc6", "relu6", "drop6", "fc7", "relu7", "drop7", "fc8"]
        and "relu5_4" in names
    )
    assert [name for name in dict(build_on_meta("alexnet").named_children()) if "fc" in name] == [
        "fc6",
        "fc7",
        "fc8",
    ]


def test_image_size_changes_only_the_first_linear_layer() -> None:
    small, large = (dict(build_on_meta("vgg16", size).named_parameters()) for size in (32, 224))
    assert {n for n in small if small[n].shape != large[n].shape} == {"fc6.weight"}
    assert small["fc6.weight"].shape == (4096, 512)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["model=vgg16"], "nothing is left of 16x16 pixels before fc6"),
        (["model=alexnet"], "nothing is left of 16x16 pixels before fc6"),
        (["model=vgg16", "model.filters=[[8],[]]"], "blocks of at least one convolution"),
        (
            ["model=vgg16", "model.filters=[[8]]", "model.dropout=1.0"],
            "dropout must be at least 0 and below 1",
        ),
        (["model=vgg16", "model.filters=[[8]]", "model.hidden=[0]"], "hidden must be at least 1"),
    ],
)
def test_invalid_settings_are_refused(words: list[str], message: str) -> None:
    with torch.device("meta"), pytest.raises(Exception, match=message):
        build_model(compose("train", words)["model"], (3, 16, 16), 10)


def test_folded_batch_norm_gives_the_same_outputs() -> None:
    """Batch normalizations with random moments and weights, against the convolutions alone."""
    torch.manual_seed(0)
    model = vgg(
        (3, 16, 16),
        5,
        filters=[[4, 6], [8]],
        hidden=[],
        dropout=0.0,
        batch_norm={"decay": 0.5, "eps": 1e-3},
    )
    norms = [module for module in model if isinstance(module, nn.BatchNorm2d)]
    assert len(norms) == 3
    for norm in norms:
        for module in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
            nn.init.uniform_(module, 0.5, 1.5)  # type: ignore[arg-type]
    x, tensors = torch.randn(2, 3, 16, 16), fold_batch_norm(model)
    assert list(tensors) == [
        f"conv{n}.{part}" for n in ("1_1", "1_2", "2_1") for part in ("weight", "bias")
    ]
    without_norm = vgg(
        (3, 16, 16), 5, filters=[[4, 6], [8]], hidden=[], dropout=0.0, batch_norm=None
    )
    without_norm.load_state_dict(model.state_dict() | tensors, strict=False)
    with torch.no_grad():
        torch.testing.assert_close(without_norm.eval()(x), model.eval()(x))
    refolded = fold_batch_norm(without_norm)
    assert all(torch.equal(refolded[name], tensors[name]) for name in tensors)
