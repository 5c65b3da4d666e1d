import numpy as np
import pytest

from cnnlab.tasks.lr_find.range_test import smooth_losses, suggest_lr
from cnnlab.tasks.lr_find.settings import LRFindSettings


def test_learning_rates_rise_geometrically() -> None:
    settings = LRFindSettings(min_lr=1e-4, max_lr=1.0, steps=41, smoothing=0.9)
    learning_rates = [1e-4 * settings.lr_multiplier(step) for step in range(41)]
    assert learning_rates[0] == 1e-4 and learning_rates[-1] == pytest.approx(1.0)
    assert np.allclose(np.diff(np.log(learning_rates)), np.log(1e4) / 40)


def test_smoothing_is_a_weighted_mean_of_the_past() -> None:
    losses = [3.0, 1.0, 2.0, 5.0]
    for n in range(1, 5):
        weights = 0.8 ** np.arange(n)[::-1]
        expected = np.average(losses[:n], weights=weights)
        assert smooth_losses(losses, 0.8)[n - 1] == pytest.approx(expected)
    assert smooth_losses(losses, 0.0) == losses
    assert smooth_losses([2.0] * 9, 0.9) == pytest.approx([2.0] * 9)


@pytest.mark.parametrize("noise", [0, 0.05])
def test_suggestion_is_where_the_loss_falls(noise: float) -> None:
    """A loss that is flat, falls around 0.01, and diverges above 0.1."""
    learning_rates = np.geomspace(1e-6, 1.0, 200)
    losses = 2.3 - 2 / (1 + (0.01 / learning_rates) ** 2) + (learning_rates / 0.1) ** 2
    losses += noise * np.random.default_rng(0).normal(size=200)
    assert 2e-3 < suggest_lr(list(learning_rates), smooth_losses(losses, 0.9)) < 1e-2
