import pytest

from cnnlab.style.scales import fit_size, fit_style_size, pyramid_sizes, supersampled_sizes


def test_fit_size_never_enlarges() -> None:
    assert fit_size((768, 1024), 512) == (384, 512) and fit_size((300, 200), 512) == (300, 200)
    assert fit_size((10, 5000), 500) == (1, 500)


def test_pyramid_sizes_grow_by_sqrt_2() -> None:
    assert pyramid_sizes((384, 512), 160) == [(136, 181), (192, 256), (272, 362), (384, 512)]
    assert pyramid_sizes((384, 512), 600) == [(384, 512)] == pyramid_sizes((384, 512), 512)
    for small, large in zip(
        pyramid_sizes((1000, 700), 100), pyramid_sizes((1000, 700), 100)[1:], strict=False
    ):
        assert large[0] * large[1] / (small[0] * small[1]) == pytest.approx(2, rel=0.02)


def test_fit_style_size_matches_the_area() -> None:
    height, width = fit_style_size((1528, 1200), (384, 512), 1.0)
    assert height * width == pytest.approx(384 * 512, rel=0.01) and height / width == pytest.approx(
        1528 / 1200, rel=0.01
    )
    assert fit_style_size((1528, 1200), (384, 512), 0.5) == pytest.approx(
        (height / 2, width / 2), abs=1
    )
    assert fit_style_size((100, 80), (384, 512), 1.0) == (100, 80)


def test_supersampled_sizes_grow_by_sqrt_2_up_to_the_largest() -> None:
    size = (384, 512)
    assert supersampled_sizes(size, 1) == []
    assert supersampled_sizes(size, 1.2) == [(461, 614)]
    assert supersampled_sizes(size, 1.414) == [(543, 724)]
    assert supersampled_sizes(size, 2) == [(543, 724), (768, 1024)]
    assert [width for _, width in supersampled_sizes(size, 3)] == [724, 1024, 1536]


def test_style_image_is_enlarged_no_more_than_allowed() -> None:
    assert fit_style_size((100, 80), (384, 512), 1.0, 1.5) == (150, 120)
    assert fit_style_size((100, 80), (50, 40), 1.0, 1.5) == (50, 40)
