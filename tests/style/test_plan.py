import pytest

from cnnlab.style import plan
from cnnlab.style.plan import Budget, fitted, painting_size, sizes_to


def test_nothing_is_enlarged() -> None:
    assert fitted((768, 1024), 512) == (384, 512) and fitted((300, 200), 512) == (300, 200)
    assert fitted((10, 5000), 500) == (1, 500)


def test_sizes_grow_by_the_square_root_of_two() -> None:
    assert sizes_to((384, 512), 160) == [(136, 181), (192, 256), (272, 362), (384, 512)]
    assert sizes_to((384, 512), 600) == [(384, 512)] == sizes_to((384, 512), 512)
    for small, large in zip(sizes_to((1000, 700), 100), sizes_to((1000, 700), 100)[1:], strict=False):
        assert large[0] * large[1] / (small[0] * small[1]) == pytest.approx(2, rel=0.02)


def test_a_painting_has_the_pictures_area_but_is_not_enlarged() -> None:
    height, width = painting_size((1528, 1200), (384, 512), 1.0)
    assert height * width == pytest.approx(384 * 512, rel=0.01) and height / width == pytest.approx(
        1528 / 1200, rel=0.01
    )
    assert painting_size((1528, 1200), (384, 512), 0.5) == pytest.approx((height / 2, width / 2), abs=1)
    assert painting_size((100, 80), (384, 512), 1.0) == (100, 80)


def test_without_a_time_steps_decide() -> None:
    budget = Budget([(10, 10), (20, 20)], [3, 2])
    assert [budget.enough(1, n) for n in (1, 2, 3)] == [False, False, True]
    assert [budget.enough(2, n) for n in (1, 2)] == [False, True]
    assert budget.taken == [3, 2]


def test_a_time_is_kept_and_shared_out(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(plan, "monotonic", lambda: now)
    sizes = [(10, 10), (20, 20), (40, 40)]
    budget = Budget(sizes, [1000, 1000, 1000], 40.0, 100.0, reserve=0.0, asked=100.0)
    ends = []
    for scale, took in ((1, 0.1), (2, 0.2), (3, 0.5)):
        step = 0
        while True:
            step += 1
            now += took
            if budget.enough(scale, step):
                break
        ends.append(now - 100)
    assert ends[0] == pytest.approx(10, abs=0.2) and ends[1] == pytest.approx(20, abs=0.4)
    assert 38.5 < ends[2] <= 40
    assert budget.taken == [pytest.approx(99, abs=2), pytest.approx(49, abs=2), pytest.approx(38, abs=2)]


def test_with_much_time_coarse_scales_are_content_with_their_steps_and_the_last_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 0.0
    monkeypatch.setattr(plan, "monotonic", lambda: now)
    budget = Budget([(10, 10), (20, 20)], [5, 5], 100.0, 0.0, asked=0.0)
    assert [budget.enough(1, n) for n in range(1, 6)] == [False] * 4 + [True]
    assert not any(budget.enough(2, n) for n in range(1, 50))
    now = 99.9
    assert budget.enough(2, 50)


def test_what_is_left_goes_by_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(plan, "monotonic", lambda: now)
    budget = Budget([(10, 10), (20, 20)], [4, 3], asked=0.0)
    for step in (1, 2):
        now += 1.0
        budget.enough(1, step)
    assert budget.left(1, 2) == pytest.approx(2 * 1 + 3 * 4)
    assert Budget([(10, 10)], [4], 30.0, 0.0, asked=10.0).left(1, 1) == 20
