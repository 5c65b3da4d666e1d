import pytest
import torch
import torch.nn.functional as F

from cnnlab.models.fixed_filters import (
    HANDMADE_FILTERS,
    FixedFilterBank,
    draw_toy_image,
    fixed_filters,
    haar_kernels,
    sobel_kernels,
)


def test_filters_respond_to_their_pattern_only() -> None:
    for bank in (sobel_kernels(), haar_kernels(4), haar_kernels(8)):
        assert bank.sum((1, 2)).abs().max() < 1e-6
    ramp = torch.arange(9.0).repeat(9, 1)  # brighter to the right by one a pixel
    down, across, _, _ = (
        F.conv2d(ramp.view(1, 1, 9, 9), kernel.view(1, 1, 3, 3)) for kernel in sobel_kernels()
    )
    assert not down.any() and torch.allclose(across, torch.ones_like(across))
    edge = torch.cat((torch.zeros(4, 2), torch.ones(4, 2)), 1)
    responses = (haar_kernels(4) * edge).sum((1, 2)).abs()
    assert responses.argmax() == 0 and responses[0] == 0.5, "two rectangles side by side"


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (3, 9, 11)])
def test_only_the_linear_classifier_learns(shape: tuple[int, int, int]) -> None:
    model = fixed_filters(shape, 10, cells=7)
    features = FixedFilterBank(7)(torch.rand(2, *shape))
    assert features.shape == (2, shape[0] * 29 * 49)
    assert [name for name, _ in model.named_parameters()] == ["output.weight", "output.bias"]
    assert model(torch.rand(4, *shape)).shape == (4, 10)


def test_features_are_averages_of_positive_and_negative_parts() -> None:
    x = torch.rand(2, 1, 12, 12)
    response = F.conv2d(x, sobel_kernels()[:1].unsqueeze(1), padding=1)
    features = FixedFilterBank(1)(x)
    torch.testing.assert_close(features[:, 0], x.mean((1, 2, 3)))
    torch.testing.assert_close(features[:, 1], response.clamp(min=0).mean((1, 2, 3)))


def test_more_cells_than_pixels_are_refused() -> None:
    with pytest.raises(ValueError, match="cells must be between 1 and the image's 8 pixels, not 9"):
        fixed_filters((1, 8, 8), 10, cells=9)


@pytest.mark.parametrize(
    ("name", "other"), [("vertical", "horizontal"), ("horizontal", "vertical")]
)
def test_a_line_is_detected_by_its_filter_only(name: str, other: str) -> None:
    image = torch.zeros(1, 1, 7, 7)
    image[..., 3] = 1
    image = image if name == "vertical" else image.mT
    (filters, matches_lines), (other_filters, _) = (HANDMADE_FILTERS[n]() for n in (name, other))
    assert matches_lines and float(filters.sum()) == 0
    response = F.conv2d(image, filters.unsqueeze(1))[0, 0]
    assert float(response.max()) == float(filters.clamp(min=0).sum()), "the largest possible"
    assert not F.conv2d(image, other_filters.unsqueeze(1)).any()


def test_the_toy_image_has_a_line_of_each_kind() -> None:
    image = draw_toy_image().view(1, 1, 24, 24)
    assert set(image.unique().tolist()) == {0, 1}
    for name in ("vertical", "horizontal", "diagonal"):
        bank, _ = HANDMADE_FILTERS[name]()
        assert float(F.conv2d(image, bank.unsqueeze(1)).max()) == float(bank.clamp(min=0).sum()), (
            name
        )
