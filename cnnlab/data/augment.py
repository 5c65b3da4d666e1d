"""What happens to a batch of images between the data set and the network: on their device, all at once.

A pipeline is a mapping of operations, in order, as `augment.train` and `augment.eval` have it in YAML:
`{crop: {size: 24, padding: 0, mode: zeros}, flip_left_right: {probability: 0.5}, whiten: {}}`. Each random operation is
given uniform numbers that depend on (seed, epoch, image, operation) alone, so that neither the batch's size nor its
order matters; mixup and cutmix, which make one image of two of a batch, are the exception.
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
    "randaugment": geometric.randaugment,
    "saturation": photometric.saturation,
    "shift": geometric.shift,
    "transpose": geometric.transpose,
    "views": geometric.views,
    "whiten": photometric.whiten,
}
NORMALIZING_OPERATIONS = (
    "whiten",
    "normalize",
)  # in this order, after all else, wherever they are named


@dataclass(frozen=True)
class PipelineStep:
    """An operation in a pipeline, under its name, done to each image with a probability; None: to all."""

    name: str
    op: Op | MixOp
    probability: float | None

    @property
    def is_random(self) -> bool:
        return self.op.num_draws > 0 or self.probability is not None

    def draw_uniforms(self, x: Tensor, draws: CounterRNG | None) -> Tensor:
        """(N, the operation's count) uniform numbers."""
        if draws is None or not self.op.num_draws:
            return torch.empty(len(x), 0, device=x.device)
        if isinstance(self.op, Op) and self.op.is_alternating:
            return draws.alternating_uniform(self.name)
        return draws.uniform(self.name, self.op.num_draws)

    def draw_mask(self, draws: CounterRNG) -> Tensor | None:
        """(N,) of which images it is done to; None for all."""
        if self.probability is None:
            return None
        return draws.uniform(f"{self.name}.probability", 1).flatten() < self.probability


class Pipeline:
    """(N, C, H, W) uint8 images -> float32, through named operations in order, `whiten` and `normalize` always last:
    what an operation brings in at the edges is black before them and gray after."""

    def __init__(self, spec: Mapping[str, Any], where: str) -> None:
        """Raises UsageError, naming `where`, for an operation or a setting that there is not."""
        rank = {name: place for place, name in enumerate(NORMALIZING_OPERATIONS, 1)}
        ordered = sorted(spec.items(), key=lambda item: rank.get(item[0], 0))
        steps = [build_step(name, keys, where) for name, keys in ordered]
        self.operation_steps = [one for one in steps if isinstance(one.op, Op)]
        self.mix_steps = [one for one in steps if isinstance(one.op, MixOp)]

    @property
    def random_step_names(self) -> list[str]:
        """The names of operations that need draws."""
        return [one.name for one in (*self.operation_steps, *self.mix_steps) if one.is_random]

    @property
    def num_views(self) -> int:
        """How many images each becomes."""
        return next(
            (
                one.op.num_views
                for one in self.operation_steps
                if isinstance(one.op, Op) and one.op.num_views > 1
            ),
            1,
        )

    def __call__(self, images: Tensor, draws: CounterRNG | None = None) -> Tensor:
        """Random operations need `draws`; without, as in `augment.eval`, they raise ValueError, as images do that are
        not uint8."""
        if images.dtype != torch.uint8:
            raise ValueError(f"images must be uint8, 0 to 255, not {images.dtype}")
        return as_float(apply_steps(self.operation_steps, images, draws))

    def apply_before_normalize(self, images: Tensor) -> Tensor:
        """(N, C, H, W) uint8 images -> (N, C, H', W') in 0..1 as they are before `whiten` and `normalize`; of several
        views the middle one. Nothing in the pipeline may be random."""
        x = as_float(
            apply_steps(
                [one for one in self.operation_steps if one.name not in NORMALIZING_OPERATIONS],
                images,
                None,
            )
        )
        middle = max(
            (one.op.center_view for one in self.operation_steps if isinstance(one.op, Op)),
            default=0,
        )
        return x.unflatten(0, (-1, self.num_views))[:, middle]

    def normalize(self, x: Tensor) -> Tensor:
        """What `shown` gives -> what the network is given; gradients flow through it."""
        return apply_steps(
            [one for one in self.operation_steps if one.name in NORMALIZING_OPERATIONS],
            x.clone(),
            None,
        )

    def mix(
        self, x: Tensor, labels: Tensor, classes: int, draws: CounterRNG
    ) -> tuple[Tensor, Tensor]:
        """Images that are through the pipeline, and their (N,) labels -> images made of two, and (N, classes)
        shares; untouched where nothing mixes. Each is mixed with the one before it in the batch, whose order is drawn.
        """
        if not self.mix_steps:
            return x, labels
        targets = F.one_hot(labels, classes).float()
        for one in self.mix_steps:
            assert isinstance(one.op, MixOp)
            mixed, share = one.op.apply(x, x.roll(1, 0), one.draw_uniforms(x, draws))
            if (chosen := one.draw_mask(draws)) is not None:
                mixed, share = select_per_image(chosen, mixed, x), torch.where(chosen, share, 1)
            x, targets = mixed, torch.lerp(targets.roll(1, 0), targets, share.unsqueeze(1))
        return x, targets


def build_step(name: str, keys: Mapping[str, Any] | None, where: str) -> PipelineStep:
    """An operation by its name and keys; `probability` is a key of each. Raises UsageError."""
    builder, path = get_registered(OPERATIONS, name, where), f"{where}.{name}"
    given = {} if keys is None else keys
    if not isinstance(given, Mapping):
        raise UsageError(f"{path} must be a mapping of its keys, not {given!r}")
    own = {key: value for key, value in given.items() if key != "probability"}
    op, probability = call_checked(builder, own, path), given.get("probability")
    if probability is None:
        return PipelineStep(name, op, None)
    if (
        isinstance(probability, bool)
        or not isinstance(probability, (int, float))
        or not 0 <= probability <= 1
    ):
        raise UsageError(f"{path}.probability must be between 0 and 1, not {probability!r}")
    if isinstance(op, Op) and not op.keeps_shape:
        raise UsageError(
            f"{path} changes the size of an image, so it is done to all: it takes no probability"
        )
    return PipelineStep(name, op, probability)


def apply_steps(steps: Sequence[PipelineStep], x: Tensor, draws: CounterRNG | None) -> Tensor:
    """A batch through operations in order. Raises ValueError for a random one without draws."""
    for one in steps:
        if one.is_random and draws is None:
            raise ValueError(f"{one.name} is random: it has no place in augment.eval")
        x = apply_step(one, x, draws)
    return x


def apply_step(one: PipelineStep, x: Tensor, draws: CounterRNG | None) -> Tensor:
    """A batch through one operation of a pipeline."""
    assert isinstance(one.op, Op)
    if not one.op.supports_uint8:
        x = as_float(x)
    chosen = one.draw_mask(draws) if draws is not None else None
    if chosen is None:
        return one.op.apply(x, one.draw_uniforms(x, draws))
    # An operation may overwrite what it is given.
    return select_per_image(
        chosen,
        one.op.apply(x if one.op.supports_uint8 else x.clone(), one.draw_uniforms(x, draws)),
        x,
    )
