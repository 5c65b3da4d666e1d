from typing import Any

import pytest
import torch
from torch import Tensor

from cnnlab.core.errors import UsageError
from cnnlab.data.augment import OPERATIONS, Pipeline, build_step
from cnnlab.data.counter_rng import CounterRNG
from cnnlab.data.operation import Op
from cnnlab.data.sources import digits

Spec = dict[str, dict[str, Any]]
IMAGES = digits("train", root=None).images[:40]
NORMALIZE: Spec = {"normalize": {"mean": [0.3], "std": [0.4]}}
SPECS: Spec = {
    "affine": {"degrees": 10, "scale": 0.1, "shear": 0.1, "px": 2},
    "alternating_flip": {},
    "brightness": {"levels": 63},
    "center_crop": {"size": 13},
    "contrast": {"lower": 0.2, "upper": 1.8},
    "crop": {"size": 16, "padding": 4, "mode": "reflect"},
    "cutmix": {"alpha": 1.0},
    "cutout": {"size": 7, "fill": 0.5},
    "flip_left_right": {},
    "flip_up_down": {},
    "hue": {"turns": 0.1},
    "mixup": {"alpha": 0.4},
    "normalize": {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4]},
    "randaugment": {"num_ops": 2, "magnitude": 9},
    "saturation": {"lower": 0.2, "upper": 1.8},
    "shift": {"px": 2},
    "transpose": {},
    "views": {"size": 12, "padding": 1, "mode": "reflect", "grid": 2, "mirror": True},
    "whiten": {},
}
IMAGE_OPERATIONS = {
    name: step.op
    for name in SPECS
    if isinstance((step := build_step(name, SPECS[name], "augment.train")).op, Op)
}
TRAIN_SPECS = {
    name: keys for name, keys in SPECS.items() if name in IMAGE_OPERATIONS and name != "views"
}


def noise(count: int = 24) -> Tensor:
    """Return (count, 3, 16, 16) uint8 images."""
    return torch.randint(
        0,
        256,
        (count, 3, 16, 16),
        dtype=torch.uint8,
        generator=torch.Generator().manual_seed(count),
    )


def test_specs_cover_all_operations() -> None:
    assert list(SPECS) == list(OPERATIONS)


@pytest.mark.parametrize("name", IMAGE_OPERATIONS)
def test_batch_result_equals_single_image_results(name: str) -> None:
    op, x = IMAGE_OPERATIONS[name], noise()
    u = torch.rand(24, op.num_draws, generator=torch.Generator().manual_seed(1))
    whole = op.apply(x.float() / 255, u)
    alone = torch.cat([op.apply(x[n : n + 1].float() / 255, u[n : n + 1]) for n in range(24)])
    torch.testing.assert_close(whole, alone, rtol=0, atol=0 if op.supports_uint8 else 1e-5)
    assert len(whole) == 24 * op.num_views
    if op.supports_uint8:  # on uint8 as well, bit for bit
        assert torch.equal(op.apply(x, u).float() / 255, whole)


@pytest.mark.parametrize("name", [name for name, op in IMAGE_OPERATIONS.items() if op.keeps_shape])
def test_probability_selects_images(
    name: str,
) -> None:
    x, rng = noise(60), CounterRNG(1, 0, torch.arange(60))
    whole, some, none, every = (
        Pipeline({name: SPECS[name] | keys}, "augment.train")(x, rng)
        for keys in ({}, {"probability": 0.5}, {"probability": 0}, {"probability": 1})
    )
    same = (some == x.float() / 255).flatten(1).all(1)
    assert torch.equal(none, x.float() / 255) and torch.equal(every, whole)
    assert 15 < same.sum() < 52  # a changed image may equal the original
    assert torch.equal(some[~same], whole[~same])


@pytest.mark.parametrize("name", SPECS)
def test_input_is_not_overwritten_or_shared(name: str) -> None:
    x, rng = noise(), CounterRNG(1, 0, torch.arange(24))
    before, pipeline = x.clone(), Pipeline({name: SPECS[name]}, "augment.train")
    pipeline(x, rng).add_(1)
    assert torch.equal(x, before)


@pytest.mark.parametrize("name", [name for name in SPECS if name != "randaugment"])
def test_operations_do_not_synchronize_with_the_device(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The meta device has no values to read back. After the first batch no constants are copied to
    the device: `torch.tensor` would wait for the copy."""
    keys = SPECS[name] | (
        {"probability": 0.5}
        if name not in IMAGE_OPERATIONS or IMAGE_OPERATIONS[name].keeps_shape
        else {}
    )
    pipeline, x = Pipeline({name: keys}, "augment.train"), noise().to("meta")
    rng = CounterRNG(1, 0, torch.arange(24, device="meta"))
    for is_first in (True, False):
        if not is_first:
            monkeypatch.setattr(torch, "tensor", None)
        mixed, _ = pipeline.mix(pipeline(x, rng), rng.indices, 10, rng)
        assert mixed.device.type == "meta" and mixed.dtype == torch.float32


def test_same_seed_gives_same_images_in_any_batch() -> None:
    pipeline, index, x = Pipeline(TRAIN_SPECS, "augment.train"), torch.arange(24), noise()
    whole = pipeline(x, CounterRNG(1, 0, index))
    parts = [pipeline(x[i : i + 7], CounterRNG(1, 0, index[i : i + 7])) for i in range(0, 24, 7)]
    torch.testing.assert_close(torch.cat(parts), whole, rtol=0, atol=1e-5)
    order = index.flip(0)
    torch.testing.assert_close(
        pipeline(x[order], CounterRNG(1, 0, order)), whole[order], rtol=0, atol=1e-5
    )
    for other in (CounterRNG(1, 1, index), CounterRNG(2, 0, index)):
        assert not torch.equal(pipeline(x, other), whole)


@pytest.mark.parametrize("last", [NORMALIZE, {"whiten": {}}])
def test_whiten_and_normalize_always_run_last(last: Spec) -> None:
    rng, shifted = CounterRNG(1, 0, torch.arange(40)), {"shift": {"px": 2}}
    first, second = (
        Pipeline(spec, "augment.train")(IMAGES, rng) for spec in (last | shifted, shifted | last)
    )
    assert torch.equal(first, second)
    both = Pipeline(
        {"normalize": SPECS["normalize"], "whiten": {}, "hue": {"turns": 0}}, "augment.train"
    )
    assert [step.name for step in both.operation_steps] == ["hue", "whiten", "normalize"]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"shft": {"px": 1}}, "augment.train 'shft' is not one of affine, "),
        (
            {"shift": {"pixels": 1}},
            "unknown key augment.train.shift.pixels; augment.train.shift takes px",
        ),
        ({"shift": {"px": -1}}, "augment.train.shift: px must be at least 0, not -1"),
        ({"shift": 2}, "augment.train.shift must be a mapping of its keys, not 2"),
        (
            {"flip_left_right": False},
            "augment.train.flip_left_right must be a mapping of its keys, not False",
        ),
        (
            {"normalize": {"mean": [0.1], "std": [0.0]}},
            "augment.train.normalize: mean and std must be of one length",
        ),
        (
            {"brightness": {"levels": float("nan")}},
            "augment.train.brightness: levels must be at least 0, not nan",
        ),
        (
            {"contrast": {"lower": 2.0, "upper": 1.0}},
            "augment.train.contrast: lower and upper must be at least 0, lower",
        ),
        ({"hue": {"turns": 0.6}}, "augment.train.hue: turns must be between 0 and 0.5, not 0.6"),
        ({"mixup": {"alpha": 0}}, "augment.train.mixup: alpha must be above 0, not 0"),
        (
            {"crop": SPECS["crop"] | {"mode": "edge"}},
            "augment.train.crop.mode must be one of zeros, reflect, not 'edge'",
        ),
        (
            {"crop": SPECS["crop"] | {"probability": 0.5}},
            "augment.train.crop changes the size of an image, so it applies",
        ),
        (
            {"randaugment": {"num_ops": 1, "magnitude": 31}},
            "augment.train.randaugment: magnitude must be at least 0",
        ),
    ],
)
def test_invalid_pipeline_raises_one_line_error(spec: Spec, message: str) -> None:
    with pytest.raises(UsageError) as error:
        Pipeline(spec, "augment.train")
    assert str(error.value).startswith(message) and "\n" not in str(error.value)


def test_misspelled_operation_suggests_nearest() -> None:
    with pytest.raises(UsageError, match=r"; did you mean flip_left_right\?$"):
        Pipeline({"flip_leftright": {}}, "augment.train")


@pytest.mark.parametrize("probability", [-0.1, 1.01, float("nan"), "half", True, [0.5]])
def test_invalid_probability_raises(probability: object) -> None:
    with pytest.raises(
        UsageError, match=r"^augment.train.shift.probability must be between 0 and 1, not "
    ):
        Pipeline({"shift": {"px": 1, "probability": probability}}, "augment.train")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            {"crop": {"size": 9, "padding": 0, "mode": "zeros"}},
            "a crop of 9 pixels does not fit into images of 8x8",
        ),
        ({"center_crop": {"size": 9}}, "a crop of 9 pixels does not fit into images of 8x8"),
        (
            {"views": {"size": 9, "padding": 0, "mode": "zeros", "grid": 1, "mirror": False}},
            "a crop of 9 pixels does not fit into images of 8x8",
        ),
        (
            {"crop": {"size": 8, "padding": 8, "mode": "reflect"}},
            "padding must be below the images' 8 pixels",
        ),
        ({"hue": SPECS["hue"]}, "hue takes color images, of 3 channels, and these have 1"),
        (
            {"saturation": SPECS["saturation"]},
            "saturation takes color images, of 3 channels, and these have 1",
        ),
        ({"normalize": SPECS["normalize"]}, "normalize has 3 channels, the images 1"),
    ],
)
def test_unsupported_image_shape_raises(spec: Spec, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        Pipeline(spec, "augment.train")(IMAGES, CounterRNG(1, 0, torch.arange(40)))


def test_random_operation_without_rng_and_wrong_input_raise() -> None:
    for spec in (
        {"shift": {"px": 1}},
        {"flip_left_right": {"probability": 0.5}},
        {"alternating_flip": {}},
    ):
        with pytest.raises(
            ValueError, match=f"{next(iter(spec))} is random: it is not allowed in augment.eval"
        ):
            Pipeline(spec, "augment.eval")(IMAGES)
    with pytest.raises(ValueError, match="images must be uint8"):
        Pipeline(NORMALIZE, "augment.eval")(IMAGES.float())
    with pytest.raises(ValueError, match="transpose takes square images, not 8x7"):
        Pipeline({"transpose": {}}, "augment.eval")(IMAGES[..., :7])


@pytest.mark.parametrize("name", ["normalize", "whiten"])
@pytest.mark.parametrize(
    "spec", [{}, {"center_crop": {"size": 6}}, {"views": SPECS["views"] | {"size": 6, "grid": 3}}]
)
def test_apply_before_normalize_then_normalize_equals_pipeline(name: str, spec: Spec) -> None:
    pipeline = Pipeline(
        {**spec, **({"whiten": {}} if name == "whiten" else NORMALIZE)}, "augment.eval"
    )
    x = pipeline.apply_before_normalize(IMAGES)
    assert x.min() >= 0 and x.max() <= 1
    whole = pipeline(IMAGES).unflatten(0, (len(IMAGES), -1))
    middle = 4 if "views" in spec else 0
    torch.testing.assert_close(pipeline.normalize(x), whole[:, middle])
    if "views" in spec:
        torch.testing.assert_close(x, IMAGES[..., 1:7, 1:7] / 255)


@pytest.mark.parametrize("name", ["normalize", "whiten"])
def test_normalize_gradients_after_inference_mode(name: str) -> None:
    pipeline = Pipeline({"whiten": {}} if name == "whiten" else NORMALIZE, "augment.eval")
    with torch.inference_mode():
        pipeline(IMAGES)
    x = pipeline.apply_before_normalize(IMAGES[:2]).double().requires_grad_()
    weights = torch.randn(2, 1, 8, 8, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: (pipeline.normalize(x) * weights).sum(), x)
