"""The sizes that a transfer works at, from coarse to fine."""

Size = tuple[int, int]  # height, width


def scale_size(size: Size, factor: float) -> Size:
    """Return a size with both sides times a factor, at least one pixel each."""
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def fit_size(image_size: Size, longest: int) -> Size:
    """Return an image's size with the longer side at most `longest` pixels, never enlarged."""
    return scale_size(image_size, min(1.0, longest / max(image_size)))


def fit_style_size(
    style_size: Size, size: Size, scale: float, max_enlargement: float = 1.0
) -> Size:
    """Return a style image's size with the area of `size`, sides times `scale`.

    It is enlarged `max_enlargement` times at most.
    """
    area_ratio = size[0] * size[1] / (style_size[0] * style_size[1])
    return scale_size(style_size, min(max_enlargement, scale * area_ratio**0.5))


def pyramid_sizes(size: Size, coarsest: int) -> list[Size]:
    """Return the sizes of the scales, smallest first, each smaller by the square root of 2.

    The smallest is the last whose longer side has at least `coarsest` pixels.
    """
    sizes, factor = [size], 2**-0.5
    while max(size) * factor >= coarsest:
        sizes.append(scale_size(size, factor))
        factor *= 2**-0.5
    return sizes[::-1]


def supersampled_sizes(size: Size, supersampling: float) -> list[Size]:
    """Return the sizes of the scales above `size`, up to `supersampling` times it.

    Each is larger than the last by the square root of 2, the largest by 1.2 to 1.7.
    """
    factors, factor = list[float](), 2**0.5
    while 1.2 * factor < supersampling:
        factors.append(factor)
        factor *= 2**0.5
    if supersampling > 1:
        factors.append(supersampling)
    return [scale_size(size, factor) for factor in factors]
