"""The colors that a transfer works in: the key `color` of `cnnlab stylize`."""

from functools import partial

from cnnlab.style.color_transfer import luminance_as_rgb, match_colors, match_luminance
from cnnlab.style.scales import Size, fit_style_size
from cnnlab.style.source_image import SourceImage, image_to_tensor
from cnnlab.tasks.stylize.settings import StylizeSettings


def convert_colors(
    settings: StylizeSettings, content: SourceImage, styles: list[SourceImage], size: Size
) -> list[SourceImage]:
    """Return the content image and the style images in the colors that `color` requests.

    `style`: unchanged; `content`: luminance of all images alone; `matched`: style images in the
    content's colors.
    """
    if settings.color == "style":
        return [content, *styles]
    target = image_to_tensor(content.resize(size))
    match = match_colors if settings.color == "matched" else match_luminance
    if settings.color == "content":
        content = content.transform(luminance_as_rgb, size)
    matched = [
        style.transform(partial(match, content=target), fit_style_size(style.size, size, scale))
        for style, scale in zip(styles, settings.style_scales, strict=True)
    ]
    return [content, *matched]
