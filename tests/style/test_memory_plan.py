from dataclasses import replace

import pytest
import torch

from cnnlab.style.losses import relative
from cnnlab.style.memory_plan import ARRAYS, BACK, FEW, LOOKED, PAST, PIXEL, WORKABLE, content, looked_at, room, to_look
from cnnlab.style.tiled_loss import Easel
from cnnlab.style.vgg import IMAGENET, Encoder, random_tensors, shapes
from tests.style.test_tiled_loss import easel

SIZE = (3000, 4000)
PIXELS = SIZE[0] * SIZE[1]


@pytest.fixture(scope="module")
def made() -> Easel:
    return easel()


def needed(made: Easel, past: int) -> float:
    """Bytes beside what is looked at."""
    return PIXELS * (ARRAYS * PIXEL + past * PAST + content(made))


def test_with_room_for_all_nothing_is_given_up(made: Easel) -> None:
    found = room(1 << 50, SIZE, 4000, made, 20, looked_at(made))
    assert found is not None and (found.size, found.past) == (SIZE, 20) and found.piece > PIXELS


def test_pieces_come_first_then_past_steps_then_pixels(made: Easel) -> None:
    each = looked_at(made)
    cut = room(int(needed(made, 20) + each * PIXELS / 2), SIZE, 4000, made, 20, looked_at(made))
    assert cut is not None and (cut.size, cut.past) == (SIZE, 20) and cut.piece == pytest.approx(PIXELS / 2, rel=1e-3)
    forgetful = room(int(needed(made, 10)), SIZE, 4000, made, 20, looked_at(made))
    assert forgetful is not None and forgetful.size == SIZE and FEW <= forgetful.past < 10
    small = room(int(needed(made, FEW) / 4), SIZE, 4000, made, 20, looked_at(made))
    assert small is not None and small.past == FEW
    assert 0.2 < small.size[0] * small.size[1] / PIXELS < 0.3 and small.size[0] / small.size[1] == pytest.approx(
        0.75, 0.01
    )


def test_more_memory_never_gives_less(made: Easel) -> None:
    found = [room(int(1.5**n * 1e3), SIZE, 4000, made, 20, looked_at(made)) for n in range(50)]
    sizes = [one.size[0] if one else 0 for one in found]
    assert sizes == sorted(sizes) and sizes[-1] == SIZE[0] and room(0, SIZE, 4000, made, 20, looked_at(made)) is None
    for one in found:
        assert one is None or one.piece >= min(WORKABLE, one.size[0] * one.size[1])


def test_a_method_that_keeps_no_past_steps_needs_none(made: Easel) -> None:
    found = room(int(needed(made, 0) + looked_at(made) * PIXELS * 1.01), SIZE, 4000, made, 0, looked_at(made))
    assert found is not None and (found.size, found.past) == (SIZE, 0) and found.piece >= PIXELS
    assert room(1 << 50, SIZE, 4000, made, 3, looked_at(made)).past == 3  # type: ignore[union-attr]  (what was asked for, below FEW)


def test_what_is_kept_for_the_gradient_is_counted(made: Easel) -> None:
    """By hand: what each convolution is given or gives, each pooling its indices (8 bytes), and the picture."""
    counted = looked_at(made) / (1 + BACK)
    floats = 3 + 6 + 6 + (6 + 8 + 8) / 4 + (8 + 10) / 16  # x, relu1_1, relu1_2, pool1, relu2_1, relu2_2, pool2, relu3_1
    least = 4 * floats + 8 * (6 / 4 + 8 / 16)
    assert least <= counted <= 2 * least


def test_halves_take_less() -> None:
    assert looked_at(easel(dtype=torch.bfloat16)) < looked_at(easel())


def test_a_look_needs_room_for_one_piece_and_no_past(made: Easel) -> None:
    beside, each = PIXELS * (LOOKED * PIXEL + content(made)), looked_at(made) / (1 + BACK)
    found = to_look(int(beside + each * WORKABLE * 1.01), SIZE, made, looked_at(made))
    assert found is not None and (found.size, found.past) == (SIZE, 0)
    assert found.piece == pytest.approx(WORKABLE * 1.01, rel=1e-3)
    assert to_look(int(beside + each * WORKABLE * 0.99), SIZE, made, looked_at(made)) is None
    large = replace(made, style_sizes=[(9000, 9000)], style_scale=9.0)
    assert to_look(int(beside + each * WORKABLE * 1.01), SIZE, large, looked_at(made)) is None


def test_weights_are_not_counted_as_the_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice the pixels to try on, and the same bytes for each; a network as wide as VGG-19 is mostly weights."""
    wide = Encoder(random_tensors(shapes((1, 1, 1), (8, 16, 512)), torch.Generator().manual_seed(0)), IMAGENET)
    aim = relative(strength=0.5, layers=["relu1_1", "relu2_1"], content_layer="relu3_1")
    floats = 3 + 8 + 8 / 4 + 16 / 4 + 16 / 16 + 512 / 16
    least = 4 * floats + 8 * (8 / 4 + 16 / 16)
    counted = looked_at(easel(encoder=wide, aim=aim)) / (1 + BACK)
    assert least <= counted <= 2 * least
    for dtype in (torch.float32, torch.bfloat16):
        monkeypatch.setattr("cnnlab.style.memory_plan.TRIED", 128)
        once = looked_at(easel(encoder=wide, aim=aim, dtype=dtype))
        monkeypatch.setattr("cnnlab.style.memory_plan.TRIED", 256)
        assert looked_at(easel(encoder=wide, aim=aim, dtype=dtype)) == pytest.approx(once, rel=0.01)
