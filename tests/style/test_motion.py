import torch
from torch import Tensor
from torch.nn.functional import interpolate

from cnnlab.style.motion import estimate_motion, shift_image


def make_texture(height: int, width: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, height // 4 + 2, width // 4 + 2, generator=generator)
    return interpolate(coarse, scale_factor=4, mode="bilinear")[..., :height, :width]


def test_shift_moves_down_and_right_and_repeats_the_edge() -> None:
    image = torch.arange(12.0).view(1, 1, 3, 4)
    moved = shift_image(image, (1, 2))
    assert torch.equal(moved[..., 1:, 2:], image[..., :-1, :-2])
    assert moved[0, 0, 0, 3] == image[0, 0, 0, 1] and moved[0, 0, 2, 0] == image[0, 0, 1, 0]
    assert torch.equal(shift_image(image, (1, 0), fill=9.0)[..., 0, :], torch.full((1, 1, 4), 9.0))


def test_a_pan_is_one_shift() -> None:
    scene = make_texture(48, 80, 0)
    earlier, later = scene[..., :64], scene[..., 5:69]
    motion = estimate_motion(earlier, later)
    assert motion.shifts[1:] == [(0, -5)] and (motion.choice == 1).float().mean() > 0.9
    assert torch.equal(motion.apply(earlier)[..., :59], later[..., :59])
    assert motion.is_matched[..., :50].all()
    assert not motion.is_matched[..., 60:].any()  # what entered


def test_an_object_moves_before_a_still_background() -> None:
    background, thing = make_texture(64, 64, 1), make_texture(24, 24, 2)
    earlier, later = background.clone(), background.clone()
    earlier[..., 20:44, 10:34] = thing
    later[..., 23:47, 17:41] = thing
    motion = estimate_motion(earlier, later)
    assert motion.shifts == [(0, 0), (3, 7)]
    assert torch.equal(motion.apply(earlier)[..., 25:45, 20:38], later[..., 25:45, 20:38])
    assert motion.is_still[..., :15, :].all() and motion.is_still[..., 52:, :].all()
    assert not motion.is_matched[..., 25:40, 10:16].any()  # what was covered


def test_a_clear_area_follows_what_is_around_it() -> None:
    scene = make_texture(48, 80, 0)
    scene[..., :20, :] = 0.5
    motion = estimate_motion(scene[..., :64], scene[..., 5:69])
    assert not motion.is_still[..., :48].any()


def test_equal_frames_are_still() -> None:
    frame = make_texture(32, 32, 0)
    motion = estimate_motion(frame, frame)
    assert motion.shifts == [(0, 0)] and motion.is_still.all() and motion.is_matched.all()
