"""Checks of `cnnlab stylize`'s settings that a key's range cannot express."""

import re


def check_style_weights(weights: list[float], num_styles: int) -> None:
    """Raise ValueError for another number of weights, one out of range, or none above 0."""
    if len(weights) != num_styles:
        raise ValueError(
            f"style_weights has {plural(len(weights), 'number')} for "
            f"{plural(num_styles, 'style image')}: {weights}\n"
            "give one number for each style image"
        )
    if invalid := [weight for weight in weights if not 0 <= weight < float("inf")]:
        raise ValueError(
            f"style_weights must be at least 0 and finite, not {invalid[0]:g}: {weights}\n"
            "a weight of 0 leaves a style image out"
        )
    if not sum(weights) > 0:
        raise ValueError(
            f"style_weights are all 0: {weights}\ngive at least one style image a weight above 0"
        )


def check_style_scale(scale: float | list[float], num_styles: int) -> None:
    """Raise ValueError for a list with another number of scales than style images."""
    if isinstance(scale, list) and len(scale) != num_styles:
        raise ValueError(
            f"style_scale has {plural(len(scale), 'number')} for "
            f"{plural(num_styles, 'style image')}: {scale}\n"
            "give one number for all style images, or one for each"
        )


def check_masks(
    paths: list[str], num_styles: int, style_weights: list[float] | None, *, wrap: bool
) -> None:
    """Raise ValueError for a wrong number of masks, and keys that masks exclude."""
    num_masks = len(paths)
    if num_masks > 1 and num_masks != num_styles:
        raise ValueError(
            f"mask names {num_masks} files for {plural(num_styles, 'style image')}\n"
            "give one mask for all style images, or one for each"
        )
    if num_masks > 1 and style_weights is not None:
        raise ValueError(
            f"style_weights={style_weights} blends style images that have a mask each\n"
            "leave out style_weights, or give one mask for all; gray in a mask weakens its style"
        )
    if wrap:
        raise ValueError(
            "wrap=true cannot be used with mask: what is black keeps its seam\n"
            "leave out one of them"
        )


def plural(count: int, noun: str) -> str:
    """Return `1 number`, `2 numbers`."""
    return f"{count} {noun}{'s' * (count != 1)}"


def parse_duration(text: str) -> float:
    """`90`, `90s`, `1m30s`, `1:30`, `1h` -> seconds. Raises ValueError."""
    if match := re.fullmatch(r"(?:(\d+):)?(\d+):(\d\d)", text):
        parts = [int(part or 0) for part in match.groups()]
    elif match := re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s?)?", text):
        parts = [float(part or 0) for part in match.groups()]  # type: ignore[misc]
    else:
        parts = [0]
    seconds = sum(part * 60**i for i, part in enumerate(reversed(parts)))
    if not seconds > 0:
        raise ValueError(f"time must be like 30s, 2m, 1m30s or 1:30, not {text!r}")
    return seconds
