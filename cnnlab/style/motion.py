"""Motion between two frames as a few whole-pixel shifts, one of which each pixel follows.

Candidates come from phase correlation (Kuglin & Hines 1975) of what earlier ones do not explain, as
in motion-compensated television (Thomas 1987); each pixel takes the one that matches best around
it. Whole pixels, so that what is shifted frame by frame is never interpolated, and does not blur.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

MAX_SHIFTS = 4  # beside none
MATCH_TOLERANCE = 0.05  # mean absolute difference around a pixel, in 0..1, of one that matches
OUTSIDE_ERROR = 2 * MATCH_TOLERANCE  # of pixels whose content was not in the frame before
WINDOW = 7  # pixels a side of what is compared around a pixel
FRAME_WEIGHT = 0.5  # of the whole frame's error beside that around a pixel
MIN_SHARE = 0.05  # of the pixels that a further shift has to explain
MIN_UNEXPLAINED = 0.002  # share of all pixels that is worth a further shift

Shift = tuple[int, int]  # down and right, in pixels


@dataclass(frozen=True)
class Motion:
    """Which shift each pixel follows: `choice` (1, 1, H, W) indexes `shifts`, the first is none.

    `is_matched` (1, 1, H, W): where the moved frame is like the new one, and was not covered.
    """

    shifts: list[Shift]
    choice: Tensor
    is_matched: Tensor

    @property
    def is_still(self) -> Tensor:
        """Return where a pixel is not shifted, (1, 1, H, W)."""
        return self.choice == 0

    def apply(self, image: Tensor) -> Tensor:
        """Return an image of the earlier frame (1, K, H, W), moved as the pixels are."""
        moved = image
        for number, shift in enumerate(self.shifts[1:], 1):
            moved = torch.where(self.choice == number, shift_image(image, shift), moved)
        return moved


def estimate_motion(earlier: Tensor, later: Tensor) -> Motion:
    """Return the motion from a frame to another, both (1, 3, H, W) in 0..1.

    A pixel that takes its content from one that itself moves elsewhere, or stays, was covered.
    """
    shifts = find_shifts(earlier, later)
    errors = [compare_locally(earlier, later, shift) for shift in shifts]
    choice = choose_shifts(errors)
    reverse_errors = [compare_locally(later, earlier, (-y, -x)) for y, x in shifts]
    reverse_choice = choose_shifts(reverse_errors)
    is_matched = torch.zeros_like(choice, dtype=torch.bool)
    for number, (shift, error) in enumerate(zip(shifts, errors, strict=True)):
        follows = shift_image((reverse_choice == number).float(), shift, fill=0.0) > 0
        is_matched |= (choice == number) & (error <= MATCH_TOLERANCE) & follows
    return Motion(shifts, choice, is_matched)


def find_shifts(earlier: Tensor, later: Tensor) -> list[Shift]:
    """Return no shift, and those that explain what the ones before them do not."""
    error, shifts = compare_locally(earlier, later, (0, 0)), [(0, 0)]
    for _ in range(MAX_SHIFTS):
        unexplained = error > MATCH_TOLERANCE
        if unexplained.float().mean() < MIN_UNEXPLAINED:
            break
        shift = correlate_phases(earlier, later, unexplained)
        shifted_error = compare_locally(earlier, later, shift)
        is_better = unexplained & (shifted_error < 0.7 * error)
        if shift in shifts or is_better.sum() < MIN_SHARE * unexplained.sum():
            break
        error = torch.where(is_better, shifted_error, error)
        shifts.append(shift)
    return shifts


def choose_shifts(errors: list[Tensor]) -> Tensor:
    """Return the number of the shift that each pixel follows, (1, 1, H, W).

    Where the error around a pixel does not decide, as in a clear sky, that of the whole frame does.
    """
    costs = [error + FRAME_WEIGHT * error.mean() for error in errors]
    return torch.cat(costs, 1).argmin(1, keepdim=True)


def compare_locally(earlier: Tensor, later: Tensor, shift: Shift) -> Tensor:
    """Return the mean absolute difference around each pixel, (1, 1, H, W), of a shifted frame.

    It is OUTSIDE_ERROR where nothing was shifted to.
    """
    difference = (shift_image(earlier, shift) - later).abs().mean(1, keepdim=True)
    outside = shift_image(torch.zeros_like(difference), shift, fill=1.0) > 0
    return average_around(difference, WINDOW).masked_fill(outside, OUTSIDE_ERROR)


def average_around(values: Tensor, side: int) -> Tensor:
    """Return the mean of (1, 1, H, W) in a square around each pixel, within the image."""
    return avg_pool2d(values, side, stride=1, padding=side // 2, count_include_pad=False)


def correlate_phases(earlier: Tensor, later: Tensor, mask: Tensor) -> Shift:
    """Return the shift of the largest peak of the cross-power spectrum, where `mask` is true."""
    weight = average_around(mask.float(), WINDOW)
    spectra = []
    for frame in (earlier, later):
        gray = frame.mean(1, keepdim=True)
        mean = (gray * weight).sum() / weight.sum()
        spectra.append(torch.fft.rfft2((gray - mean) * weight))
    cross = spectra[1] * spectra[0].conj()
    height, width = earlier.shape[2:]
    peaks = torch.fft.irfft2(cross / cross.abs().clamp_min(1e-9), s=(height, width))
    peaks[..., 0, 0] = -1  # no shift, which does not explain these pixels
    down, right = divmod(int(peaks.argmax()), width)
    return signed_shift(down, height), signed_shift(right, width)


def signed_shift(position: int, length: int) -> int:
    """Return a circular shift as the nearest one, negative beyond half of the length."""
    return position if position <= length // 2 else position - length


def shift_image(image: Tensor, shift: Shift, fill: float | None = None) -> Tensor:
    """Return (1, K, H, W) shifted; what enters is `fill`, or repeats the edge."""
    down, right = shift
    height, width = image.shape[2:]
    rows, columns = (
        torch.arange(length, device=image.device) - offset
        for length, offset in ((height, down), (width, right))
    )
    moved = image[:, :, rows.clamp(0, height - 1)][:, :, :, columns.clamp(0, width - 1)]
    if fill is None:
        return moved
    is_inside = ((rows >= 0) & (rows < height))[:, None] & ((columns >= 0) & (columns < width))
    return moved.masked_fill(~is_inside, fill)
