"""`precision=auto` and `channels_last=auto`: what a short trial finds fastest; and when to suggest
them."""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from itertools import product
from math import inf, prod
from time import perf_counter, thread_time

import torch
from torch import nn

from cnnlab.core.device import synchronize
from cnnlab.core.precision import list_fast_precisions, read_cpu_flags, use_precision
from cnnlab.core.schema import Config
from cnnlab.models import build_model, is_classifier, move_to_device
from cnnlab.tasks.train.settings import TrainSettings

AUTO = "auto"
TRIAL_SECONDS = 0.6  # for all candidates together
MAX_STEP_SECONDS = 0.03  # of float32: the trial's batch is as large as this permits
# Numbers in a batch of images from which bfloat16 is suggested to convolutional networks. On a CPU
# with avx512_bf16 and channels_last, training steps were 1.1 times as fast as in float32 with 3,200
# (digits_cnn), and 1.8 to 2.2 times from 78,400 on (mnist_cnn, cifar_cnn, cifar_bn); mnist_mlp's
# 1.4 times. GPUs were not measured: with smaller batches they are bound by kernel launches.
MIN_BATCH_NUMBERS = {"cpu": 50_000, "cuda": 5_000_000}
MIN_GAIN = 1.1  # a faster candidate must be so many times as fast as a plainer one

Candidate = tuple[str, bool]  # precision, channels_last
ImageShape = tuple[int, int, int]


def resolve_auto(
    settings: TrainSettings,
    input_shape: ImageShape,
    num_classes: int,
    batch_size: int,
    device: torch.device,
) -> TrainSettings:
    """Return the settings with `auto` replaced by what trains fastest, and print it.

    A trial runs the network forward and backward on random images; it changes neither the run's
    weights nor its random numbers.
    """
    has_auto = {key for key in ("precision", "channels_last") if getattr(settings, key) == AUTO}
    if not has_auto:
        return settings
    precisions = list_fast_precisions(device) if "precision" in has_auto else [settings.precision]
    layouts = [False, True] if "channels_last" in has_auto else [bool(settings.channels_last)]
    seconds = time_candidates(
        json.dumps(settings.model),
        input_shape,
        num_classes,
        batch_size,
        device,
        torch.get_num_threads(),
        tuple(product(precisions, layouts)),
    )
    chosen = choose_candidate(seconds)
    print(format_choice(seconds, chosen, has_auto), flush=True)
    values: Config = {"precision": chosen[0], "channels_last": chosen[1]}
    return replace(settings, **values)


def choose_candidate(seconds: dict[Candidate, float]) -> Candidate:
    """Return the first candidate that no other is MIN_GAIN times as fast as."""
    fastest = min(seconds.values())
    return next(candidate for candidate, time in seconds.items() if time <= MIN_GAIN * fastest)


def format_choice(seconds: dict[Candidate, float], chosen: Candidate, has_auto: set[str]) -> str:
    """Return what was chosen, and its speed compared with the best of another precision, or where
    there is none, with the other memory format."""
    precision, channels_last = chosen
    keys = {"precision": precision, "channels_last": str(channels_last).lower()}
    words = " ".join(f"{key}={value}" for key, value in keys.items() if key in has_auto)
    others = {c: s for c, s in seconds.items() if c[0] != precision} or {
        c: s for c, s in seconds.items() if c != chosen
    }
    if not others:
        return f"auto: {words}, the only fast one on this device"
    other = min(others, key=lambda candidate: others[candidate])
    ratio = others[other] / seconds[chosen]
    name = other[0] if other[0] != precision else f"channels_last={str(other[1]).lower()}"
    return f"auto: {words}, {ratio:.2g} times as fast as {name}"


@cache  # runs of one sweep choose the same
def time_candidates(
    model_json: str,
    input_shape: ImageShape,
    num_classes: int,
    batch_size: int,
    device: torch.device,
    threads: int,
    candidates: tuple[Candidate, ...],
) -> dict[Candidate, float]:
    """Return the seconds of a forward and backward pass by candidate, the least of some.

    The batches have at most `batch_size` images. `threads`: the number of CPU threads in use, for
    the cache.
    """
    if len(candidates) == 1:
        return dict.fromkeys(candidates, 0.0)
    # The thread's own time of a CPU, so that other processes do not decide.
    clock = thread_time if device.type == "cpu" else perf_counter
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        model = build_model(json.loads(model_json), input_shape, num_classes).train()

        def time_step(candidate: Candidate, num_images: int) -> float:
            precision, channels_last = candidate
            move_to_device(model, device, channels_last=channels_last)
            images = torch.randn(num_images, *input_shape, device=device)
            synchronize(device)
            began = clock()
            with use_precision(precision, device):
                outputs = model(images)
            outputs.float().square().mean().backward()
            synchronize(device)
            elapsed = clock() - began
            model.zero_grad()
            return elapsed

        num_images = choose_batch_size(lambda size: time_step(candidates[0], size), batch_size)
        best, rounds, end = dict.fromkeys(candidates, inf), 0, perf_counter() + TRIAL_SECONDS
        while rounds < 2 or perf_counter() < end:
            best = {c: min(best[c], time_step(c, num_images)) for c in candidates}
            rounds += 1
        return best


def choose_batch_size(time_step: Callable[[int], float], batch_size: int) -> int:
    """Return the largest of 2, 4, 8, ... and `batch_size` whose step takes MAX_STEP_SECONDS or
    little more."""
    size = min(2, batch_size)
    while size < batch_size and min(time_step(size) for _ in range(2)) < MAX_STEP_SECONDS / 2:
        size = min(2 * size, batch_size)
    return size


def suggest_precision(
    settings: TrainSettings,
    model: nn.Module,
    input_shape: ImageShape,
    batch_size: int,
    device: torch.device,
) -> str | None:
    """Return a line that names a precision with which the training is faster; None without one."""
    batch_numbers = batch_size * prod(input_shape)
    if (
        settings.precision != "float32"
        or not is_classifier(settings.model)  # a style network's loss is float32
        or not any(isinstance(module, nn.Conv2d) for module in model.modules())
        or "bfloat16" not in list_fast_precisions(device)
        or batch_numbers < MIN_BATCH_NUMBERS[device.type]
    ):
        return None
    if device.type != "cpu" or "avx512_bf16" not in read_cpu_flags():
        return "precision=auto tries bfloat16, which may be faster here"
    layout = "" if settings.channels_last else " channels_last=true"
    return f"precision=bfloat16{layout} is about 2 times as fast on this CPU"
