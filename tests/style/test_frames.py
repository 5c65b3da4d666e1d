import pytest
import torch
from torch import Tensor

from cnnlab.style.frames import Flicker, Scene, find_still_pixels, hold_pixels, plan_frame
from cnnlab.style.motion import estimate_motion
from cnnlab.style.optimizers import LBFGS
from tests.style.test_motion import make_texture


def put(background: Tensor, thing: Tensor, left: int) -> Tensor:
    image = background.clone()
    image[..., 16 : 16 + thing.shape[2], left : left + thing.shape[3]] = thing
    return image


def test_still_pixels_are_fixed_but_for_single_ones() -> None:
    frame = make_texture(32, 32, 0)
    noise = 0.005 * torch.randn(frame.shape, generator=torch.Generator().manual_seed(0))
    assert find_still_pixels(frame, frame).all()
    assert find_still_pixels(frame, frame + noise).float().mean() > 0.98
    other = make_texture(32, 32, 5)
    other[..., 8, 8] = frame[..., 8, 8]
    assert not find_still_pixels(frame, other).any()


def test_a_frame_starts_from_the_last_output_moved_as_the_content_is() -> None:
    background, thing, output = (
        make_texture(*size) for size in ((64, 64, 1), (24, 24, 2), (64, 64, 3))
    )
    scene = Scene.begin(put(background, thing, 8), output)
    plan = plan_frame(scene, put(background, thing, 15))
    assert not plan.is_cut
    assert torch.equal(plan.start[..., :10, :], output[..., :10, :])
    assert plan.is_fixed[..., :10, :].all() and not plan.is_fixed[..., 18:38, 17:37].any()
    moved = plan.start[..., 20:36, 20:34]
    torch.testing.assert_close(moved, output[..., 20:36, 13:27])


def test_what_was_covered_reappears_as_it_was() -> None:
    background, thing = make_texture(64, 64, 1), make_texture(16, 16, 2)
    output = make_texture(64, 64, 3)
    scene = Scene.begin(put(background, thing, 0), output)
    for left in (8, 16, 24, 32, 40):
        plan = plan_frame(scene, put(background, thing, left))
        scene = scene.extend(plan, plan.start)
    is_back = plan.is_fixed[..., 16:32, 18:38]
    assert is_back.float().mean() > 0.9
    assert torch.equal(scene.output[..., 20:28, 18:30], output[..., 20:28, 18:30])


def test_another_scene_is_a_cut() -> None:
    scene = Scene.begin(make_texture(48, 48, 0), make_texture(48, 48, 1))
    assert plan_frame(scene, make_texture(48, 48, 2)).is_cut
    assert not plan_frame(scene, scene.content).is_cut


def test_content_that_drifts_is_compared_with_where_it_was_fixed() -> None:
    content = make_texture(32, 32, 0) * 0.5
    scene = Scene.begin(content, make_texture(32, 32, 1))
    fixed = []
    for step in range(1, 8):
        plan = plan_frame(scene, content + 0.008 * step)
        fixed.append(bool(plan.is_fixed.all()))
        scene = scene.extend(plan, plan.start)
    assert fixed[0] and not all(fixed)


def test_fixed_pixels_do_not_move_and_others_are_held() -> None:
    content = make_texture(24, 24, 0)
    changed = content.clone()
    changed[..., 8:16, 8:16] += 0.3
    plan = plan_frame(Scene.begin(content, content.clone()), changed)
    target = torch.zeros_like(content)

    def loss(x: Tensor) -> tuple[Tensor, Tensor]:
        return torch.stack([(x - target).square().mean()]), 2 * (x - target) / x.numel()

    outputs = []
    for weight in (0.0, 10.0):
        optimizer = LBFGS(hold_pixels(loss, plan, weight, 0), plan.start, history_size=5)
        for _ in range(20):
            optimizer.step()
        outputs.append(optimizer.image)
        is_fixed = plan.is_fixed.expand_as(content)
        assert is_fixed.any() and not is_fixed.all()
        assert torch.equal(optimizer.image[is_fixed], plan.start[is_fixed])
    held = (plan.is_matched & ~plan.is_fixed).expand_as(content)
    free, pulled = ((image - plan.start).abs()[held].sum() for image in outputs)
    assert pulled <= free


def test_penalty_has_the_gradient_of_its_value() -> None:
    content = make_texture(12, 12, 0).double()
    plan = plan_frame(Scene.begin(content, content.clone()), content)
    plan = type(plan)(
        content, content, ~plan.is_fixed, ~plan.is_fixed, plan.is_matched, plan.motion, False
    )
    loss = hold_pixels(lambda x: (torch.zeros(1, dtype=x.dtype), torch.zeros_like(x)), plan, 2.0, 3)
    x = torch.rand(1, 3, 18, 18, generator=torch.Generator().manual_seed(0)).double()
    terms, gradient = loss(x)
    direction = gradient.sign() + x  # along which the penalty changes
    after, _ = loss(x + 1e-3 * direction)
    before, _ = loss(x - 1e-3 * direction)
    slope = (after[0] - before[0]).item() / 2e-3
    assert slope == pytest.approx((gradient * direction).sum().item(), rel=1e-3)
    assert terms[0] > 0


def test_flicker_is_the_change_where_the_content_is_steady() -> None:
    flicker = Flicker()
    assert flicker.mean is None
    content, output = make_texture(32, 32, 0), torch.zeros(1, 3, 32, 32)
    other, changed = content.clone(), output.clone()
    other[..., :16, :] = make_texture(16, 32, 1)
    changed[..., :16, :] = 1.0
    changed[..., 16:, :16] = 0.1
    still = estimate_motion(content, content)
    flicker.add(still, (content, other), (output, changed))
    assert flicker.mean == pytest.approx(0.05)
    flicker.add(still, (other, other), (changed, changed))
    assert flicker.mean == pytest.approx(0.05 / 3)


def test_what_moves_with_the_content_does_not_flicker() -> None:
    scene, stylized = make_texture(48, 80, 0), make_texture(48, 80, 3)
    contents, outputs = ((image[..., :64], image[..., 5:69]) for image in (scene, stylized))
    moving, still = Flicker(), Flicker()
    moving.add(estimate_motion(*contents), contents, outputs)
    still.add(estimate_motion(*contents), contents, (outputs[0], outputs[0]))
    assert moving.mean == pytest.approx(0, abs=1e-6) and still.mean > 0.05
