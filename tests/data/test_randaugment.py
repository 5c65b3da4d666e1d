import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torchvision.transforms import RandAugment
from torchvision.transforms.autoaugment import _apply_op
from torchvision.transforms.functional import InterpolationMode

from cnnlab.data.randaugment import apply_choice, randaugment

OPERATIONS = RandAugment()._augmentation_space(31, (16, 16))


def make_images(count: int, channels: int, height: int, width: int) -> Tensor:
    """Noise, and images that are special to an operation: flat, of few levels, of two values."""
    rng = torch.Generator().manual_seed(0)
    shape = (count, channels, height, width)
    images = torch.randint(0, 256, shape, generator=rng, dtype=torch.uint8)
    images[1], images[2] = 77, images[2] // 64 * 64
    images[3], images[4, :, : height // 2] = (images[3] > 128) * 255, 5
    return images


def draw(count: int) -> Tensor:
    return torch.rand(count, 1, generator=torch.Generator().manual_seed(4))


class CountDeviceCalls(TorchDispatchMode):
    """Counts the calls of torch's operations on the meta device: on a GPU each is a kernel."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        result = func(*args, **(kwargs or {}))
        self.count += isinstance(result, Tensor) and result.device.type == "meta"
        return result


@pytest.mark.parametrize("size", [(32, 32), (20, 33), (1, 1), (2, 9)])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", OPERATIONS)
def test_each_operation_on_a_batch_is_torchvisions_on_each_image(
    name: str, channels: int, size: tuple[int, int]
) -> None:
    values, is_signed = RandAugment()._augmentation_space(31, size)[name]
    images = make_images(6, channels, *size)
    for magnitude in (0, 1, 9, 30) if values.ndim else (0,):
        value = float(values[magnitude]) if values.ndim else 0.0
        for signed in (value, -value) if is_signed else (value,):
            expected = [
                _apply_op(image, name, signed, InterpolationMode.NEAREST, None) for image in images
            ]
            assert torch.equal(apply_choice(images, (name, signed)), torch.stack(expected))


@pytest.mark.parametrize("num_ops", [1, 2, 3])
def test_randaugment_matches_torchvision_for_same_seed(num_ops: int) -> None:
    images, u = make_images(64, 3, 24, 32), draw(64)
    result = randaugment(num_ops=num_ops, magnitude=9).apply(images, u)
    transform = RandAugment(num_ops, 9)
    for n in range(len(images)):
        torch.manual_seed(int(u[n] * 2**24))
        assert torch.equal(result[n], transform(images[n]))


def test_randaugment_keeps_global_rng_state() -> None:
    before = torch.get_rng_state()
    randaugment(num_ops=2, magnitude=9).apply(make_images(9, 1, 8, 8), draw(9))
    assert torch.equal(torch.get_rng_state(), before)


def test_randaugment_does_not_call_the_device_for_each_image() -> None:
    operation, counts = randaugment(num_ops=2, magnitude=9), []
    for count in (500, 2000):  # every operation with both signs is drawn
        images = make_images(count, 3, 8, 8).to("meta")
        operation.apply(images, draw(count))  # the first call makes constants
        with CountDeviceCalls() as calls:
            operation.apply(images, draw(count))
        counts.append(calls.count)
    assert counts[0] == counts[1] < 500


def test_randaugment_reads_nothing_back_from_the_device() -> None:
    """The meta device has no values: reading one raises an error."""
    images = make_images(60, 3, 16, 16).to("meta")
    result = randaugment(num_ops=2, magnitude=9).apply(images, draw(60))
    assert result.device.type == "meta" and result.shape == images.shape
