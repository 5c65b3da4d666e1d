import numpy as np
import pytest

from cnnlab.viz.embedding.layout import (
    CLASS_PALETTE,
    find_class_density_peaks,
    get_class_color,
    get_class_text_color,
    height_width_ratio,
    map_to_pixels,
    wrap_to_width,
)

RNG = np.random.default_rng(0)


def test_density_peak_is_in_the_denser_cluster() -> None:
    small, large = RNG.normal((-50, 3), 2, (40, 2)), RNG.normal((60, -20), 2, (160, 2))
    y = np.concatenate([small, large, RNG.normal((0, 40), 2, (100, 2)), [[0, 0]]])
    labels = np.repeat([4, 4, 0, -1], [40, 160, 100, 1])
    peaks = find_class_density_peaks(y, labels)
    assert peaks.keys() == {0, 4}, "no place for what is not known"
    assert peaks[4] == pytest.approx((60, -20), abs=2) and peaks[0] == pytest.approx((0, 40), abs=2)


def test_density_peak_is_scale_and_permutation_invariant() -> None:
    y, labels = RNG.normal(size=(300, 2)), RNG.integers(0, 3, 300)
    order = RNG.permutation(300)
    for scale in (1e-6, 1e6):
        for peak, scaled_peak in zip(
            find_class_density_peaks(y, labels).values(),
            find_class_density_peaks(y[order] * scale, labels[order]).values(),
            strict=True,
        ):
            assert np.multiply(peak, scale) == pytest.approx(scaled_peak, rel=1e-6)


@pytest.mark.parametrize(
    "y", [np.zeros((5, 2)), np.full((5, 2), 3e4), np.array([[7.0, 1e-9 * i] for i in range(5)])]
)
def test_coincident_points_have_a_position(y: np.ndarray) -> None:
    (peaks,) = find_class_density_peaks(y, np.zeros(5, int)).values()
    assert peaks == pytest.approx(y.mean(0), abs=1e-6)
    assert np.isfinite(map_to_pixels(y, 100, 50, 5)).all() and height_width_ratio(y) >= 0


def test_map_to_pixels_keeps_aspect_ratio_and_orientation() -> None:
    y = np.array([[0.0, 0.0], [4.0, 0.0], [0.0, 2.0]])
    assert map_to_pixels(y, 100, 100, 10).tolist() == [[10, 70], [90, 70], [10, 30]]
    assert map_to_pixels(y, 100, 60, 20).tolist() == [[30, 40], [70, 40], [30, 20]]
    assert height_width_ratio(y) == 0.5


def test_ten_classes_have_distinct_legible_colors() -> None:
    assert len({get_class_color(k) for k in range(10)}) == len(
        CLASS_PALETTE
    ) == 10 and get_class_color(13) == get_class_color(3)
    assert get_class_color(-1) not in CLASS_PALETTE
    assert all(get_class_text_color(k) @ (0.3, 0.59, 0.11) < 0.34 for k in range(10))


def test_text_is_wrapped_to_its_width() -> None:
    assert (
        wrap_to_width("one two\nthree", 400, 16) == ["one two\\nthree"]
        and len(wrap_to_width("word " * 40, 400, 16)) > 3
    )
