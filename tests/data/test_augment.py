import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor
from torchvision import transforms

from cnnlab.core.errors import UsageError
from cnnlab.data.augment import Draws, Pipeline, affine, mix, mix_tensor, shift, signed
from cnnlab.data.sources import digits

PICTURES = digits("train", root=None).images[:40]
NORMALIZE = {"normalize": {"mean": [0.3], "std": [0.4]}}


def test_the_hash_is_splitmix64() -> None:
    # The first outputs of SplitMix64 from the state 0, as published with its reference code.
    state, expected = 0, [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    for value in expected:
        state = state + 0x9E3779B97F4A7C15 & (1 << 64) - 1
        assert mix(state) == value
        assert mix_tensor(torch.tensor(signed(state))).item() == signed(value)


def test_draws_depend_on_the_picture_alone_and_not_on_its_batch() -> None:
    index = torch.tensor([5, 17, 3, 99])
    whole = Draws(1, 2, index).uniform("shift", 3)
    for i in range(4):
        assert torch.equal(Draws(1, 2, index[i : i + 1]).uniform("shift", 3)[0], whole[i])
    assert torch.equal(Draws(1, 2, index.flip(0)).uniform("shift", 3), whole.flip(0))


@pytest.mark.parametrize("other", [(2, 2, "shift"), (1, 3, "shift"), (1, 2, "affine")])
def test_draws_change_with_seed_epoch_and_operation(other: tuple[int, int, str]) -> None:
    index = torch.arange(5000)
    ours, theirs = Draws(1, 2, index).uniform("shift", 2), Draws(other[0], other[1], index).uniform(other[2], 2)
    assert abs(np.corrcoef(ours[:, 0], theirs[:, 0])[0, 1]) < 0.05


def test_draws_are_uniform_and_independent() -> None:
    u = Draws(7, 0, torch.arange(50_000)).uniform("x", 3).double()
    assert u.min() >= 0 and u.max() < 1
    for column in u.T:
        assert stats.kstest(column.numpy(), "uniform").pvalue > 1e-3
    off_diagonal = torch.corrcoef(u.T) - torch.eye(3)
    assert off_diagonal.abs().max() < 0.02
    assert abs(np.corrcoef(u[:-1, 0], u[1:, 0])[0, 1]) < 0.02


def test_normalize_is_torchvisions() -> None:
    ours = Pipeline(NORMALIZE, "augment.eval")(PICTURES)
    theirs = transforms.Normalize([0.3], [0.4])(PICTURES.float() / 255)
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)


def test_shift_moves_by_whole_pixels_and_fills_with_zero() -> None:
    x = PICTURES[:9].float() / 255
    u = torch.cartesian_prod(*[torch.tensor([0.0, 0.5, 0.999])] * 2)
    moved = shift(px=1).apply(x, u)
    for n, (down, across) in enumerate(u.mul(3).long().sub(1).tolist()):
        expected = torch.zeros(8, 8)
        for i in range(8):
            for j in range(8):
                if 0 <= i + down < 8 and 0 <= j + across < 8:
                    expected[i, j] = x[n, 0, i + down, j + across]
        assert torch.equal(moved[n, 0], expected)


def numbers(turn: float = 0, grow: float = 0, lean: float = 0, down: float = 0, across: float = 0) -> Tensor:
    """Uniform numbers that make `affine` take these shares of its limits."""
    return (torch.tensor([[turn, grow, lean, down, across]]) + 1) / 2


def test_affine_at_rest_turned_by_a_quarter_and_moved() -> None:
    x = PICTURES[:1].float() / 255
    op = affine(degrees=90.0, scale=1.0, shear=0.5, px=2.0)
    torch.testing.assert_close(op.apply(x, numbers()), x, rtol=0, atol=1e-5)
    torch.testing.assert_close(op.apply(x, numbers(turn=1)), x.rot90(1, (2, 3)), rtol=0, atol=1e-4)
    moved = op.apply(x, numbers(down=1, across=-0.5))
    torch.testing.assert_close(moved[..., :6, 1:], x[..., 2:, :-1], rtol=0, atol=1e-5)


def test_affine_scales_like_torchvision() -> None:
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms.functional import affine as theirs

    x = PICTURES[:1].float() / 255
    ours = affine(degrees=0.0, scale=1.0, shear=0.0, px=0.0).apply(x, numbers(grow=-1))
    expected = theirs(x, 0, [0, 0], 2.0, [0.0], InterpolationMode.BILINEAR)
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("op", [{"shift": {"px": 2}}, {"affine": {"degrees": 9, "scale": 0.1, "shear": 0.1, "px": 1}}])
def test_the_same_seed_gives_the_same_pictures_whatever_the_batch(op: dict[str, dict[str, float]]) -> None:
    pipeline, index = Pipeline(op | NORMALIZE, "augment.train"), torch.arange(40)
    whole = pipeline(PICTURES, Draws(1, 0, index))
    parts = [pipeline(PICTURES[i : i + 7], Draws(1, 0, index[i : i + 7])) for i in range(0, 40, 7)]
    torch.testing.assert_close(torch.cat(parts), whole, rtol=0, atol=1e-6)
    assert not torch.equal(pipeline(PICTURES, Draws(1, 1, index)), whole)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"shft": {"px": 1}}, "augment.train 'shft' is not one of affine, normalize, shift; did you mean shift?"),
        ({"shift": {"pixels": 1}}, "unknown key augment.train.shift.pixels; augment.train.shift takes px"),
        ({"shift": {"px": -1}}, "augment.train.shift: px must be at least 0, not -1"),
        ({"normalize": {"mean": [0.1], "std": [0.0]}}, "augment.train.normalize: mean and std must be of one length"),
    ],
)
def test_a_pipeline_that_cannot_be_is_one_line(spec: dict[str, dict[str, float]], message: str) -> None:
    with pytest.raises(UsageError) as error:
        Pipeline(spec, "augment.train")
    assert str(error.value).startswith(message)


def test_normalize_comes_last_wherever_it_stands() -> None:
    draws, shifted = Draws(1, 0, torch.arange(40)), {"shift": {"px": 2}}
    ours, theirs = (
        Pipeline(spec, "augment.train")(PICTURES, draws) for spec in (NORMALIZE | shifted, shifted | NORMALIZE)
    )
    assert torch.equal(ours, theirs)


def test_random_operations_need_draws_and_channels_must_match() -> None:
    with pytest.raises(ValueError, match="shift is random"):
        Pipeline({"shift": {"px": 1}}, "augment.eval")(PICTURES)
    with pytest.raises(ValueError, match="pictures must be uint8"):
        Pipeline(NORMALIZE, "augment.eval")(PICTURES.float())
    with pytest.raises(ValueError, match="normalize has 3 channels, the pictures 1"):
        Pipeline({"normalize": {"mean": [0.1] * 3, "std": [1.0] * 3}}, "augment.eval")(PICTURES)
