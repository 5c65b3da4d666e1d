from types import SimpleNamespace

import pytest
import torch
from scipy import stats
from torch import Tensor
from torchvision.transforms import v2

from cnnlab.data.augment import Pipeline
from cnnlab.data.counter_rng import CounterRNG
from cnnlab.data.mixup import BetaSampler, cutmix, mixup
from cnnlab.data.operation import MixOp

NOISE = torch.rand(12, 3, 20, 24, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("op", "transform_class"), [(mixup(alpha=0.7), v2.MixUp), (cutmix(alpha=0.7), v2.CutMix)]
)
def test_mixing_matches_torchvision_for_each_image(
    op: MixOp, transform_class: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torchvision draws one share and center for a batch: it is given those of each image."""
    u = torch.rand(12, op.num_draws, generator=torch.Generator().manual_seed(1))
    mixed, share = op.apply(NOISE.clone(), NOISE.roll(1, 0), u)
    for n, expected_share in enumerate(BetaSampler(0.7)(u[:, 0]).tolist()):
        # torchvision rng the column first.
        centers = iter([u[n, 2] * 24, u[n, 1] * 20] if op.num_draws == 3 else [])
        monkeypatch.setattr(
            torch, "randint", lambda high, size, centers=centers: next(centers).long().view(1)
        )
        transform = transform_class(num_classes=12)
        transform._dist = SimpleNamespace(sample=lambda shape, value=expected_share: value)
        expected, labels = transform(NOISE, torch.arange(12))
        torch.testing.assert_close(mixed[n], expected[n], rtol=0, atol=1e-5)
        torch.testing.assert_close(share[n], labels[n, n], rtol=0, atol=1e-5)


def test_cutmix_share_is_pixel_share() -> None:
    ones, zeros = torch.ones(500, 1, 20, 24), torch.zeros(500, 1, 20, 24)
    u = torch.rand(500, 3, generator=torch.Generator().manual_seed(2))
    mixed, share = cutmix(alpha=1.0).apply(ones, zeros, u)
    assert set(mixed.unique().tolist()) == {0, 1}
    torch.testing.assert_close(share, mixed.mean((1, 2, 3)), rtol=0, atol=1e-6)


@pytest.mark.parametrize("alpha", [0.4, 1.0, 5.0])
def test_mixup_shares_are_beta_distributed(alpha: float) -> None:
    _, share = mixup(alpha=alpha).apply(
        torch.ones(20_000, 1, 1, 1),
        torch.zeros(20_000, 1, 1, 1),
        CounterRNG(1, 0, torch.arange(20_000)).uniform("mixup", 1),
    )
    assert share.min() >= 0 and share.max() <= 1
    assert stats.kstest(share.double().numpy(), stats.beta(alpha, alpha).cdf).pvalue > 1e-3


def make_flat_images() -> tuple[Tensor, Tensor]:
    """Return 40 images of constant brightness, and their indices as labels."""
    return torch.rand(40, 1, 1, 1, generator=torch.Generator().manual_seed(3)).repeat(
        1, 1, 16, 16
    ), torch.arange(40)


@pytest.mark.parametrize(
    "spec",
    [
        {"mixup": {"alpha": 0.4}},
        {"cutmix": {"alpha": 1.0}},
        {"mixup": {"alpha": 0.4}, "cutmix": {"alpha": 1.0}},
        {"cutmix": {"alpha": 1.0, "probability": 0.5}, "mixup": {"alpha": 0.4, "probability": 0.5}},
    ],
)
def test_label_shares_match_image_shares(spec: dict[str, dict[str, float]]) -> None:
    """A mixed image's mean brightness is that of its images, weighted by the label shares."""
    x, labels = make_flat_images()
    levels = x[:, 0, 0, 0].clone()
    pipeline = Pipeline(spec, "augment.train")
    mixed, shares = pipeline.mix(x, labels, 40, CounterRNG(1, 0, torch.arange(40)))
    assert shares.shape == (40, 40)
    torch.testing.assert_close(mixed.mean((1, 2, 3)), shares @ levels, rtol=0, atol=1e-5)
    torch.testing.assert_close(shares.sum(1), torch.ones(40), rtol=0, atol=1e-6)
    assert (shares.amax(1) < 1).sum() > 10


def test_mix_probability_and_pipeline_without_mixing() -> None:
    x, labels = make_flat_images()
    rng = CounterRNG(1, 0, torch.arange(40))
    always, half = (
        Pipeline({"mixup": {"alpha": 1.0} | keys}, "augment.train").mix(x, labels, 40, rng)
        for keys in ({}, {"probability": 0.5})
    )
    unmixed = half[1].diagonal() == 1
    assert 8 < unmixed.sum() < 32
    assert torch.equal(half[0][unmixed], x[unmixed]) and torch.equal(
        half[1][unmixed], torch.eye(40)[unmixed]
    )
    assert torch.equal(half[0][~unmixed], always[0][~unmixed]) and torch.equal(
        half[1][~unmixed], always[1][~unmixed]
    )
    same = Pipeline({}, "augment.train").mix(x, labels, 40, rng)
    assert same[0] is x and same[1] is labels
