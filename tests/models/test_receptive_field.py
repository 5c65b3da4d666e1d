import pytest
import torch
from torch import Tensor, nn

from cnnlab.config import compose, list_groups
from cnnlab.models import build_model
from cnnlab.models.layers import (
    POOLINGS,
    FractionalMaxPool,
    conv_block,
    initialize_weights,
    named_sequential,
)
from cnnlab.models.receptive_field import ReceptiveField, compute_receptive_fields


def changes(model: nn.Module, image: Tensor) -> dict[str, Tensor]:
    """Each module's output where a pixel was changed, less that where none was: {name: (2 * H * W,
    ...)}, in one batch each pixel in turn raised by so much that it wins any maximum it takes part
    in, then lowered."""
    _, height, width = image.shape
    every = torch.arange(height * width)
    batch = image.repeat(2 * len(every) + 1, 1, 1, 1)
    batch[every + 1, :, every // width, every % width] += 1e4
    batch[every + 1 + len(every), :, every // width, every % width] -= 1e4
    kept: dict[str, Tensor] = {}
    handles = [
        module.register_forward_hook(
            lambda module, inputs, output, name=name: kept.update({name: output.clone()})
        )
        for name, module in model.named_modules()
    ]
    with torch.no_grad():
        model(batch)
    for handle in handles:
        handle.remove()
    return {name: output[1:] - output[:1] for name, output in kept.items() if name}


def check(
    model: nn.Module,
    shape: tuple[int, int, int],
    names: list[str] | None = None,
    tight: bool = True,
) -> None:
    """Corners and the middle of each layer: no pixel outside changes the unit; where `tight`, those
    at the window's four edges do."""
    image = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found = changes(model.eval().double(), image)
    for name, field in compute_receptive_fields(model, shape).items():
        if names is None or name in names:
            for i, j in {
                (0, 0),
                (len(field.rows) // 2, len(field.columns) // 2),
                (len(field.rows) - 1, 0),
            }:
                unit = found[name][:, :, i, j] if found[name].ndim == 4 else found[name]
                seen = (
                    (unit.abs() > 1e-6).any(1).view(2, *shape[1:]).any(0)
                )  # rounding is not a change
                held_against(seen, field, i, j, tight, name)


def held_against(
    seen: Tensor, field: ReceptiveField, i: int, j: int, tight: bool, name: str
) -> None:
    top, bottom, left, right = field.clip_window(i, j, *seen.shape)
    inside = seen[top:bottom, left:right]
    assert inside.any() or inside.numel() == 0, f"{name}: nothing inside changes it"
    assert inside.sum() == seen.sum(), f"{name}: a pixel outside changes it"
    if tight and inside.numel():
        edges = inside[0], inside[-1], inside[:, 0], inside[:, -1]
        assert all(edge.any() for edge in edges), (
            f"{name}: the field is smaller than {top, bottom, left, right}"
        )


@pytest.mark.parametrize("pool", POOLINGS)
@pytest.mark.parametrize("extent", [1, 3, 5])
def test_two_convolutions_with_every_kind_of_pooling(pool: str, extent: int) -> None:
    norm = {"decay": 0.9, "eps": 1e-3}
    model = named_sequential(
        conv_1=conv_block(2, 3, extent, pool, norm), conv_2=conv_block(3, 3, extent, pool, None)
    )
    initialize_weights(model, torch.Generator().manual_seed(0))
    found = compute_receptive_fields(model, (2, 13, 11))
    assert found["conv_1"] == found["conv_1.pool" if pool == "average" else "conv_1.relu"]
    # A ReLU can hide what a filter sees, so that fields are tight before it alone.
    check(
        model, (2, 13, 11), ["conv_1.conv", "conv_1.pool", "conv_2.conv"], tight=pool != "average"
    )


@pytest.mark.parametrize(
    "name", [name for name in list_groups()["model"] if name not in ("alexnet", "vgg16", "vgg19")]
)
def test_no_pixel_outside_changes_a_unit_of_a_registered_model(name: str) -> None:
    config = compose("train", [f"model={name}"])
    shape = (3 if config["dataset"]["name"] == "cifar10" else 1, 12, 12)
    smaller = {"filters": [4, 4], "hidden": [8]}
    config["model"] |= {key: value for key, value in smaller.items() if key in config["model"]}
    model = build_model(config["model"], shape, 3)
    initialize_weights(model, torch.Generator().manual_seed(0))
    check(model, shape, tight=False)


def random_layer(rng: torch.Generator, depth: int) -> nn.Module:
    """A convolution or pooling, its extent, stride, padding and dilation drawn, different down and
    across."""

    def drawn(low: int, high: int) -> tuple[int, int]:
        first, second = torch.randint(low, high + 1, (2,), generator=rng).tolist()
        return first, second

    extent = drawn(1, 4)
    half = (extent[0] // 2, extent[1] // 2)
    match int(torch.randint(5, (), generator=rng)):
        case 0:
            return nn.MaxPool2d(
                extent, drawn(1, 3), half, drawn(1, 2), ceil_mode=bool(extent[0] % 2)
            )
        case 1:
            return nn.AvgPool2d(extent, drawn(1, 3), half, ceil_mode=bool(extent[0] % 2))
        case 2:
            return nn.AdaptiveAvgPool2d(drawn(2, 4))
        case 3:
            return FractionalMaxPool()
        case _:
            return nn.Conv2d(depth, depth, extent, drawn(1, 3), drawn(0, 2), drawn(1, 2))


def test_random_stacks_of_two_layers() -> None:
    rng, tried = torch.Generator().manual_seed(0), 0
    while tried < 60:
        torch.manual_seed(tried)
        model = nn.Sequential(random_layer(rng, 2), random_layer(rng, 2))
        try:
            compute_receptive_fields(model, (2, 12, 11))
        except RuntimeError:
            continue  # pooled away
        check(model, (2, 12, 11), tight=False)
        tried += 1


@pytest.mark.parametrize("n", range(2, 80))
def test_fractional_pooling_starts_match_torch(n: int) -> None:
    pool = FractionalMaxPool().eval()
    ramp = torch.arange(float(n)).view(1, 1, n, 1).expand(1, 1, n, n)
    if outputs := int(n * pool.ratio):
        ends = pool(ramp)[0, 0, :, 0].int().tolist()
        assert [
            high - 1
            for _, high in compute_receptive_fields(named_sequential(pool=pool), (1, n, n))[
                "pool"
            ].rows
        ] == ends
        assert len(ends) == outputs


def test_published_receptive_fields() -> None:
    """mnist_cnn: 5; pooling 5 + 1 = 6; 6 + 4 * 2 = 14; 14 + 2 = 16. Padding counts: the first row
    begins at -2."""
    model = build_model(compose("train", ["model=mnist_cnn"])["model"], (1, 28, 28), 10)
    found = compute_receptive_fields(model, (1, 28, 28))
    sizes = [
        found[name].size
        for name in ("conv_1.conv", "conv_1", "conv_2.conv", "conv_2", "fc_1", "output")
    ]
    assert sizes == [(5, 5), (6, 6), (14, 14), (16, 16), (28, 28), (28, 28)]
    assert found["conv_1.conv"].rows[:2] == ((-2, 3), (-1, 4)) and found["conv_2.conv"].rows[0] == (
        -6,
        8,
    )
    assert found["conv_2.conv"].clip_window(0, 13, 28, 28) == (0, 8, 20, 28)
    assert found["output"].clip_window(0, 0, 28, 28) == (0, 28, 0, 28)


def test_uncovered_pixels_are_in_no_field() -> None:
    """Six pixels under a 3x3 filter at stride 2: the last is in no window; padding of the next
    layer does not show it."""
    model = nn.Sequential(nn.Conv2d(1, 1, 3, 2), nn.Conv2d(1, 1, 3, padding=1))
    found = compute_receptive_fields(model, (1, 6, 6))
    assert found["1"].clip_window(1, 1, 6, 6) == (0, 5, 0, 5) and found["1"].rows[1] == (0, 7)
    check(model, (1, 6, 6))


def test_unknown_modules_see_everything_and_the_model_is_unchanged() -> None:
    model = nn.Sequential(
        nn.Conv2d(1, 2, 3, padding=1, padding_mode="circular"), nn.InstanceNorm2d(2), nn.Flatten()
    )
    model.train()[1].eval()
    found = compute_receptive_fields(model, (1, 5, 4))
    assert [field.clip_window(0, 0, 5, 4) for field in found.values()] == [(0, 5, 0, 4)] * 3
    assert model.training and not model[1].training
    assert not any(module._forward_hooks for module in model.modules())


def test_nothing_is_allocated() -> None:
    with torch.device("meta"):
        model = named_sequential(
            a=nn.Conv2d(3, 10**6, 1001, padding=500), b=nn.Flatten(), c=nn.Linear(10**12, 10**6)
        )
    assert compute_receptive_fields(model, (3, 1000, 1000))["a"].size == (1001, 1001)


def test_fields_do_not_depend_on_the_default_device() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), FractionalMaxPool(), nn.Conv2d(2, 2, 3))
    expected = compute_receptive_fields(model, (1, 20, 17))
    with torch.device("meta"):
        assert compute_receptive_fields(model, (1, 20, 17)) == expected
