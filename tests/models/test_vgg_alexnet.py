import pytest
import torch
import torchvision
from torch import Tensor, nn

from cnnlab.config import compose
from cnnlab.models import build_model
from cnnlab.models.vgg_alexnet import fold_batch_norm, vgg
from cnnlab.style.vgg import CONVS_PER_BLOCK, FILTERS_PER_BLOCK

PARAMETERS = {"vgg16": 138_357_544, "vgg19": 143_667_240, "alexnet": 61_100_840}


def ours(name: str, size: int = 224, classes: int = 1000) -> nn.Module:
    with torch.device("meta"):
        return build_model(compose("train", [f"model={name}"])["model"], (3, size, size), classes)


def outputs(model: nn.Module) -> list[tuple[str, tuple[int, ...]]]:
    """The layers that a image passes, in order, and what they put out."""
    seen: list[tuple[str, tuple[int, ...]]] = []

    def note(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        if not isinstance(module, (nn.AdaptiveAvgPool2d, nn.Flatten)):
            seen.append((str(module), tuple(output.shape)))

    for module in model.modules():
        if not list(module.children()):
            module.register_forward_hook(note)
    with torch.device("meta"):
        model.eval()(torch.zeros(1, 3, 224, 224))
    return seen


@pytest.mark.parametrize("name", PARAMETERS)
def test_layers_match_torchvision(name: str) -> None:
    mine = ours(name)
    with torch.device("meta"):
        theirs = getattr(torchvision.models, name)()
    assert outputs(mine) == outputs(theirs)
    assert [tuple(p.shape) for p in mine.parameters()] == [
        tuple(p.shape) for p in theirs.parameters()
    ]
    assert sum(p.numel() for p in mine.parameters()) == PARAMETERS[name]


@pytest.mark.parametrize("name", CONVS_PER_BLOCK)
def test_configured_filters_match_the_table_of_style(name: str) -> None:
    """The two stay apart: the models' layout is configuration, and style reads none."""
    filters = compose("train", [f"model={name}"])["model"]["filters"]
    blocks = zip(CONVS_PER_BLOCK[name], FILTERS_PER_BLOCK, strict=True)
    assert filters == [[width] * count for count, width in blocks]


def test_the_same_weights_give_the_same_logits() -> None:
    """AlexNet with torchvision's own weights, in its order."""
    torch.manual_seed(0)
    theirs = torchvision.models.alexnet(num_classes=7).eval()
    mine = ours("alexnet", classes=7).eval()
    tensors = zip(mine.state_dict(), theirs.state_dict().values(), strict=True)
    mine.load_state_dict(dict(tensors), assign=True)
    x = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        torch.testing.assert_close(mine(x), theirs(x))


def test_layers_have_the_papers_names() -> None:
    names = [name for name, _ in ours("vgg19").named_children()]
    assert names[:7] == ["conv1_1", "relu1_1", "conv1_2", "relu1_2", "pool1", "conv2_1", "relu2_1"]
    assert (
        names[-8:] == ["flatten", "fc6", "relu6", "drop6", "fc7", "relu7", "drop7", "fc8"]
        and "relu5_4" in names
    )
    assert [name for name in dict(ours("alexnet").named_children()) if "fc" in name] == [
        "fc6",
        "fc7",
        "fc8",
    ]


def test_image_size_changes_only_the_first_linear_layer() -> None:
    small, large = (dict(ours("vgg16", size).named_parameters()) for size in (32, 224))
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
    """Batch normalizations with moments and weights of their own, against the convolutions
    alone."""
    torch.manual_seed(0)
    model = vgg(
        (3, 16, 16),
        5,
        filters=[[4, 6], [8]],
        hidden=[],
        dropout=0.0,
        batch_norm={"decay": 0.5, "eps": 1e-3},
    )
    norms = [one for one in model if isinstance(one, nn.BatchNorm2d)]
    assert len(norms) == 3
    for norm in norms:
        for one in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
            nn.init.uniform_(one, 0.5, 1.5)  # type: ignore[arg-type]
    x, tensors = torch.randn(2, 3, 16, 16), fold_batch_norm(model)
    assert list(tensors) == [
        f"conv{n}.{part}" for n in ("1_1", "1_2", "2_1") for part in ("weight", "bias")
    ]
    alone = vgg((3, 16, 16), 5, filters=[[4, 6], [8]], hidden=[], dropout=0.0, batch_norm=None)
    alone.load_state_dict(model.state_dict() | tensors, strict=False)
    with torch.no_grad():
        torch.testing.assert_close(alone.eval()(x), model.eval()(x))
    plain = fold_batch_norm(alone)
    assert all(torch.equal(plain[name], tensors[name]) for name in tensors)
