"""How large, how long: a transfer's sizes, and when one has had enough."""

Size = tuple[int, int]  # height, width


def scale_size(size: Size, factor: float) -> Size:
    """A size times a factor a side, at least one pixel."""
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def fit_size(own: Size, longest: int) -> Size:
    """A picture's size with its longer side at most `longest` pixels; none is enlarged."""
    return scale_size(own, min(1.0, longest / max(own)))


def fit_style_size(own: Size, size: Size, scale: float) -> Size:
    """A painting made as large in area as a picture, times `scale` a side, and no larger than it is."""
    return scale_size(own, min(1.0, scale * (size[0] * size[1] / (own[0] * own[1])) ** 0.5))


def pyramid_sizes(size: Size, coarsest: int) -> list[Size]:
    """A picture's size and those before it, each smaller by the square root of 2, down to the last whose longer side
    has `coarsest` pixels or more; smallest first."""
    found, factor = [size], 2**-0.5
    while max(size) * factor >= coarsest:
        found.append(scale_size(size, factor))
        factor *= 2**-0.5
    return found[::-1]
