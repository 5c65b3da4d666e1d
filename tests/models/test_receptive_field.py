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


def compute_changes(model: nn.Module, image: Tensor) -> dict[str, Tensor]:
    """Return the change of each module's output when a pixel changes, {name: (2 * H * W, ...)}: in
    one batch, each pixel in turn is raised by more than any other value, so that it is the maximum
    of every window with it, then each in turn is lowered."""
    _, height, width = image.shape
    pixels = torch.arange(height * width)
    batch = image.repeat(2 * len(pixels) + 1, 1, 1, 1)
    batch[pixels + 1, :, pixels // width, pixels % width] += 1e4
    batch[pixels + 1 + len(pixels), :, pixels // width, pixels % width] -= 1e4
    outputs: dict[str, Tensor] = {}
    handles = [
        module.register_forward_hook(
            lambda module, inputs, output, name=name: outputs.update({name: output.clone()})
        )
        for name, module in model.named_modules()
    ]
    with torch.no_grad():
        model(batch)
    for handle in handles:
        handle.remove()
    return {name: output[1:] - output[:1] for name, output in outputs.items() if name}


def check_fields(
    model: nn.Module,
    shape: tuple[int, int, int],
    names: list[str] | None = None,
    is_tight: bool = True,
) -> None:
    """Assert, at corners and the middle of each layer, that no pixel outside its field changes a
    unit, and where `is_tight` that pixels at the field's four edges do."""
    image = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    changes = compute_changes(model.eval().double(), image)
    for name, field in compute_receptive_fields(model, shape).items():
        if names is None or name in names:
            for i, j in {
                (0, 0),
                (len(field.rows) // 2, len(field.columns) // 2),
                (len(field.rows) - 1, 0),
            }:
                unit = changes[name][:, :, i, j] if changes[name].ndim == 4 else changes[name]
                # Smaller changes are rounding.
                is_seen = (unit.abs() > 1e-6).any(1).view(2, *shape[1:]).any(0)
                check_unit(is_seen, field, i, j, is_tight, name)


def check_unit(
    is_seen: Tensor, field: ReceptiveField, i: int, j: int, is_tight: bool, name: str
) -> None:
    top, bottom, left, right = field.clip_window(i, j, *is_seen.shape)
    inside = is_seen[top:bottom, left:right]
    assert inside.any() or inside.numel() == 0, f"{name}: nothing inside changes it"
    assert inside.sum() == is_seen.sum(), f"{name}: a pixel outside changes it"
    if is_tight and inside.numel():
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
    fields = compute_receptive_fields(model, (2, 13, 11))
    assert fields["conv_1"] == fields["conv_1.pool" if pool == "average" else "conv_1.relu"]
    # After a ReLU that is zero no pixel has an effect: fields are tight only before it.
    check_fields(
        model,
        (2, 13, 11),
        ["conv_1.conv", "conv_1.pool", "conv_2.conv"],
        is_tight=pool != "average",
    )


# For images of 224 pixels, and one whose normalizations see the whole image.
UNTESTED = ("alexnet", "style_network", "vgg16", "vgg19")


@pytest.mark.parametrize("name", [name for name in list_groups()["model"] if name not in UNTESTED])
def test_no_pixel_outside_changes_a_unit_of_a_registered_model(name: str) -> None:
    config = compose("train", [f"model={name}"])
    shape = (3 if config["dataset"]["name"] == "cifar10" else 1, 12, 12)
    smaller = {"filters": [4, 4], "hidden": [8]}
    config["model"] |= {key: value for key, value in smaller.items() if key in config["model"]}
    model = build_model(config["model"], shape, 3)
    initialize_weights(model, torch.Generator().manual_seed(0))
    check_fields(model, shape, is_tight=False)


def make_random_spatial_layer(rng: torch.Generator, depth: int) -> nn.Module:
    """Return a convolution or pooling with random extent, stride, padding and dilation, different
    down and across."""

    def random_pair(low: int, high: int) -> tuple[int, int]:
        first, second = torch.randint(low, high + 1, (2,), generator=rng).tolist()
        return first, second

    extent = random_pair(1, 4)
    padding = (extent[0] // 2, extent[1] // 2)
    match int(torch.randint(5, (), generator=rng)):
        case 0:
            return nn.MaxPool2d(
                extent, random_pair(1, 3), padding, random_pair(1, 2), ceil_mode=bool(extent[0] % 2)
            )
        case 1:
            return nn.AvgPool2d(extent, random_pair(1, 3), padding, ceil_mode=bool(extent[0] % 2))
        case 2:
            return nn.AdaptiveAvgPool2d(random_pair(2, 4))
        case 3:
            return FractionalMaxPool()
        case _:
            return nn.Conv2d(
                depth, depth, extent, random_pair(1, 3), random_pair(0, 2), random_pair(1, 2)
            )


def test_random_stacks_of_two_layers() -> None:
    rng, tried = torch.Generator().manual_seed(0), 0
    while tried < 60:
        torch.manual_seed(tried)
        model = nn.Sequential(make_random_spatial_layer(rng, 2), make_random_spatial_layer(rng, 2))
        try:
            compute_receptive_fields(model, (2, 12, 11))
        except RuntimeError:
            continue  # pooled away
        check_fields(model, (2, 12, 11), is_tight=False)
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
    fields = compute_receptive_fields(model, (1, 28, 28))
    sizes = [
        fields[name].size
        for name in ("conv_1.conv", "conv_1", "conv_2.conv", "conv_2", "fc_1", "output")
    ]
    assert sizes == [(5, 5), (6, 6), (14, 14), (16, 16), (28, 28), (28, 28)]
    assert fields["conv_1.conv"].rows[:2] == ((-2, 3), (-1, 4)) and fields["conv_2.conv"].rows[
        0
    ] == (
        -6,
        8,
    )
    assert fields["conv_2.conv"].clip_window(0, 13, 28, 28) == (0, 8, 20, 28)
    assert fields["output"].clip_window(0, 0, 28, 28) == (0, 28, 0, 28)


def test_uncovered_pixels_are_in_no_field() -> None:
    """Six pixels under a 3x3 filter at stride 2: the last is in no window; padding of the next
    layer does not show it."""
    model = nn.Sequential(nn.Conv2d(1, 1, 3, 2), nn.Conv2d(1, 1, 3, padding=1))
    fields = compute_receptive_fields(model, (1, 6, 6))
    assert fields["1"].clip_window(1, 1, 6, 6) == (0, 5, 0, 5) and fields["1"].rows[1] == (0, 7)
    check_fields(model, (1, 6, 6))


def test_unknown_modules_have_the_whole_image_and_the_model_is_unchanged() -> None:
    model = nn.Sequential(
        nn.Conv2d(1, 2, 3, padding=1, padding_mode="circular"), nn.InstanceNorm2d(2), nn.Flatten()
    )
    model.train()[1].eval()
    fields = compute_receptive_fields(model, (1, 5, 4))
    assert [field.clip_window(0, 0, 5, 4) for field in fields.values()] == [(0, 5, 0, 4)] * 3
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
