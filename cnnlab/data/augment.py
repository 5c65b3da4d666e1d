"""Transform batches of images between the data set and the network, on their device.

A pipeline is a mapping of operations, in order, as in `augment.train` and `augment.eval`:
`{crop: {size: 24, padding: 0, mode: zeros}, flip_left_right: {probability: 0.5}, whiten: {}}`.
The random numbers of an operation depend only on (seed, epoch, image, operation): neither the batch
size nor the order changes them. The exceptions are mixup and cutmix, which combine two images of a
batch.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from cnnlab.core.errors import UsageError
from cnnlab.core.schema import call_checked, get_registered
from cnnlab.data import geometric, mixup, photometric
from cnnlab.data.counter_rng import CounterRNG
from cnnlab.data.operation import MixOp, Op, as_float, select_per_image
from cnnlab.data.randaugment import randaugment

OPERATIONS: dict[str, Callable[..., Op | MixOp]] = {
    "affine": geometric.affine,
    "alternating_flip": geometric.alternating_flip,
    "brightness": photometric.brightness,
    "center_crop": geometric.center_crop,
    "contrast": photometric.contrast,
    "crop": geometric.crop,
    "cutmix": mixup.cutmix,
    "cutout": geometric.cutout,
    "flip_left_right": geometric.flip_left_right,
    "flip_up_down": geometric.flip_up_down,
    "hue": photometric.hue,
    "mixup": mixup.mixup,
    "normalize": photometric.normalize,
    "randaugment": randaugment,
    "saturation": photometric.saturation,
    "shift": geometric.shift,
    "transpose": geometric.transpose,
    "views": geometric.views,
    "whiten": photometric.whiten,
}
# They run last and in this order, wherever they are listed.
NORMALIZING_OPERATIONS = ("whiten", "normalize")


@dataclass(frozen=True)
class PipelineStep:
    """A named operation of a pipeline, applied to each image with `probability`; None: to all."""

    name: str
    op: Op | MixOp
    probability: float | None

    @property
    def is_random(self) -> bool:
        return self.op.num_draws > 0 or self.probability is not None

    def draw_uniforms(self, x: Tensor, rng: CounterRNG | None) -> Tensor:
        """Return the operation's (N, num_draws) uniform numbers."""
        if rng is None or not self.op.num_draws:
            return torch.empty(len(x), 0, device=x.device)
        if isinstance(self.op, Op) and self.op.is_alternating:
            return rng.alternating_uniform(self.name)
        on_cpu = isinstance(self.op, Op) and self.op.draws_on_cpu
        return rng.uniform(self.name, self.op.num_draws, on_cpu=on_cpu)

    def draw_mask(self, rng: CounterRNG) -> Tensor | None:
        """Return (N,) booleans: the images that it is applied to; None for all."""
        if self.probability is None:
            return None
        return rng.uniform(f"{self.name}.probability", 1).flatten() < self.probability


class Pipeline:
    """Convert (N, C, H, W) uint8 images to float32 through named operations in order.

    `whiten` and `normalize` are always last: pixels that other operations fill in are black before
    them and gray after them.
    """

    def __init__(self, spec: Mapping[str, Any], where: str) -> None:
        """Build the operations of `spec`, {name: keys}.

        Raises UsageError, naming `where`, for an unknown operation or an invalid setting.
        """
        rank = {name: place for place, name in enumerate(NORMALIZING_OPERATIONS, 1)}
        ordered = sorted(spec.items(), key=lambda item: rank.get(item[0], 0))
        steps = [build_step(name, keys, where) for name, keys in ordered]
        self.operation_steps = [step for step in steps if isinstance(step.op, Op)]
        self.mix_steps = [step for step in steps if isinstance(step.op, MixOp)]

    @property
    def random_step_names(self) -> list[str]:
        """The names of the operations that need random numbers."""
        return [step.name for step in (*self.operation_steps, *self.mix_steps) if step.is_random]

    @property
    def operations(self) -> list[Op]:
        """The operations on single images, without those that mix two."""
        return [step.op for step in self.operation_steps if isinstance(step.op, Op)]

    @property
    def num_views(self) -> int:
        """The number of images that each image becomes."""
        return next((op.num_views for op in self.operations if op.num_views > 1), 1)

    def __call__(self, images: Tensor, rng: CounterRNG | None = None) -> Tensor:
        """Return the (N * num_views, C, H', W') float32 images.

        Raises ValueError for images that are not uint8, and for random operations without `rng`.
        """
        if images.dtype != torch.uint8:
            raise ValueError(f"images must be uint8, 0 to 255, not {images.dtype}")
        return as_float(apply_steps(self.operation_steps, images, rng))

    def apply_before_normalize(self, images: Tensor) -> Tensor:
        """Return (N, C, H, W) uint8 images as (N, C, H', W') in 0..1, before `whiten` and
        `normalize`; the middle one of several views. No operation may be random."""
        steps = [step for step in self.operation_steps if step.name not in NORMALIZING_OPERATIONS]
        x = as_float(apply_steps(steps, images, None))
        middle = max((op.center_view for op in self.operations), default=0)
        return x.unflatten(0, (-1, self.num_views))[:, middle]

    def normalize(self, x: Tensor) -> Tensor:
        """Return the network's input for the output of `apply_before_normalize`; gradients flow
        through it."""
        steps = [step for step in self.operation_steps if step.name in NORMALIZING_OPERATIONS]
        return apply_steps(steps, x.clone(), None)

    def mix(
        self, x: Tensor, labels: Tensor, num_classes: int, rng: CounterRNG
    ) -> tuple[Tensor, Tensor]:
        """Return mixed images and their (N, num_classes) label shares, for the pipeline's output
        and its (N,) labels; both unchanged where no operation mixes.

        Each image is mixed with the previous one of the batch, whose order is random.
        """
        if not self.mix_steps:
            return x, labels
        targets = F.one_hot(labels, num_classes).float()
        for step in self.mix_steps:
            assert isinstance(step.op, MixOp)
            mixed, share = step.op.apply(x, x.roll(1, 0), step.draw_uniforms(x, rng))
            if (mask := step.draw_mask(rng)) is not None:
                mixed, share = select_per_image(mask, mixed, x), torch.where(mask, share, 1)
            x, targets = mixed, torch.lerp(targets.roll(1, 0), targets, share.unsqueeze(1))
        return x, targets


def build_step(name: str, keys: Mapping[str, Any] | None, where: str) -> PipelineStep:
    """Return an operation by its name and keys, of which `probability` is always one.

    Raises UsageError.
    """
    builder, path = get_registered(OPERATIONS, name, where), f"{where}.{name}"
    settings = {} if keys is None else keys
    if not isinstance(settings, Mapping):
        raise UsageError(f"{path} must be a mapping of its keys, not {settings!r}")
    own_settings = {key: value for key, value in settings.items() if key != "probability"}
    op, probability = call_checked(builder, own_settings, path), settings.get("probability")
    if probability is not None:
        check_probability(probability, op, path)
    return PipelineStep(name, op, probability)


def check_probability(probability: Any, op: Op | MixOp, path: str) -> None:
    """Raise UsageError if it is not a number from 0 to 1, or `op` cannot skip images."""
    is_number = isinstance(probability, (int, float)) and not isinstance(probability, bool)
    if not is_number or not 0 <= probability <= 1:
        raise UsageError(f"{path}.probability must be between 0 and 1, not {probability!r}")
    if isinstance(op, Op) and not op.keeps_shape:
        raise UsageError(
            f"{path} changes the size of an image, so it applies to all: it takes no probability"
        )


def apply_steps(steps: Sequence[PipelineStep], x: Tensor, rng: CounterRNG | None) -> Tensor:
    """Apply operations to a batch in order. Raises ValueError for a random one without `rng`."""
    for step in steps:
        if step.is_random and rng is None:
            raise ValueError(f"{step.name} is random: it is not allowed in augment.eval")
        x = apply_step(step, x, rng)
    return x


def apply_step(step: PipelineStep, x: Tensor, rng: CounterRNG | None) -> Tensor:
    """Apply one operation to a batch."""
    assert isinstance(step.op, Op)
    if not step.op.supports_uint8:
        x = as_float(x)
    mask = step.draw_mask(rng) if rng is not None else None
    uniforms = step.draw_uniforms(x, rng)
    if mask is None:
        return step.op.apply(x, uniforms)
    # An operation may overwrite its input where that is float.
    original = x if step.op.supports_uint8 else x.clone()
    return select_per_image(mask, step.op.apply(original, uniforms), x)
