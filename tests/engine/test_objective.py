import pytest
import torch
from sklearn.metrics import log_loss
from torch import nn

from cnnlab.engine.objective import CrossEntropy

RNG = torch.Generator().manual_seed(0)
LABELS = torch.randint(4, (30,), generator=RNG)
LOGITS = torch.randn(30, 4, generator=RNG)
IMAGES = torch.zeros(30, 1, 1, 1)


def compute_loss(objective: CrossEntropy, logits: torch.Tensor, labels: torch.Tensor) -> list:
    loss, sums = objective.compute_loss(logits, IMAGES, labels)
    assert sums.shape == (len(objective.metrics),) and not sums.requires_grad
    return [loss.item(), sums.item()]


def test_the_loss_and_the_hits_are_scikit_learns_and_numpys() -> None:
    loss, hits = compute_loss(CrossEntropy(0.0), LOGITS, LABELS)
    probabilities = LOGITS.double().softmax(1).numpy()
    assert loss == pytest.approx(log_loss(LABELS, probabilities, labels=range(4)))
    assert hits == (LOGITS.numpy().argmax(1) == LABELS.numpy()).sum()


def test_smoothing_is_a_mean_with_uniform_labels() -> None:
    """Szegedy et al. 2016, section 7: (1 - e) H(labels) + e H(uniform)."""
    plain, hits = compute_loss(CrossEntropy(0.0), LOGITS, LABELS)
    smoothed, same_hits = compute_loss(CrossEntropy(0.1), LOGITS, LABELS)
    uniform = -LOGITS.double().log_softmax(1).mean().item()
    assert smoothed == pytest.approx(0.9 * plain + 0.1 * uniform)
    assert same_hits == hits


def test_shares_of_one_class_equal_its_label() -> None:
    shares = nn.functional.one_hot(LABELS, 4).float()
    objective = CrossEntropy(0.1)
    expected = compute_loss(objective, LOGITS, LABELS)
    assert compute_loss(objective, LOGITS, shares) == pytest.approx(expected)
    mixed = 0.7 * shares + 0.3 * shares.roll(1, 0)
    assert compute_loss(objective, LOGITS, mixed)[1] == expected[1]


def test_the_loss_of_bfloat16_logits_is_float32() -> None:
    loss, _ = CrossEntropy(0.0).compute_loss(LOGITS.bfloat16(), IMAGES, LABELS)
    assert loss.dtype == torch.float32
    rounded, _ = CrossEntropy(0.0).compute_loss(LOGITS.bfloat16().float(), IMAGES, LABELS)
    assert loss == rounded


def test_scores_do_not_depend_on_the_batch_size() -> None:
    objective, model = CrossEntropy(0.1), nn.Flatten()
    images = LOGITS.view(30, 4, 1, 1)
    whole = objective.evaluate(model, [(images, LABELS)])
    parts = objective.evaluate(model, zip(images.split(7), LABELS.split(7), strict=True))
    assert parts == pytest.approx(whole)
    loss, hits = compute_loss(CrossEntropy(0.0), LOGITS, LABELS)  # scores are not smoothed
    assert whole == pytest.approx({"accuracy": hits / 30, "error": 1 - hits / 30, "loss": loss})
    assert objective.format_scores(whole) == f"val {hits / 30:.2%}"
    assert objective.format_metrics(whole) == f"acc {hits / 30:.2%}"
