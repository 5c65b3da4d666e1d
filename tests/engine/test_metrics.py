import numpy as np
import pytest
import torch
from scipy.stats import binomtest, hypergeom, ttest_1samp
from sklearn import metrics as sk

from cnnlab.engine.metrics import (
    NUM_CALIBRATION_BINS,
    classification_report,
    compare_paired_accuracy,
    compute_summary_metrics,
    confusion_matrix,
    measure_calibration,
    precision_recall_f1,
    sample_batch_accuracies,
    wilson_interval,
)

RNG = torch.Generator().manual_seed(0)
LABELS = torch.randint(5, (400,), generator=RNG)
LOGITS = torch.randn(400, 6, generator=RNG) + 1.5 * torch.nn.functional.one_hot(
    LABELS, 6
)  # class 5 never occurs
PREDICTED = LOGITS.argmax(1)
CLASSES = tuple("abcdef")


def test_accuracy_and_loss_are_scikit_learns() -> None:
    found = compute_summary_metrics(LOGITS, LABELS)
    assert found["accuracy"] == pytest.approx(sk.accuracy_score(LABELS, PREDICTED))
    probabilities = LOGITS.double().softmax(1).numpy()
    assert found["loss"] == pytest.approx(sk.log_loss(LABELS, probabilities, labels=range(6)))
    assert found["error"] == 1 - found["accuracy"]


def test_confusion_and_the_scores_of_each_class_are_scikit_learns() -> None:
    counts = confusion_matrix(PREDICTED, LABELS, 6)
    assert np.array_equal(counts.numpy(), sk.confusion_matrix(LABELS, PREDICTED, labels=range(6)))
    expected = sk.precision_recall_fscore_support(
        LABELS, PREDICTED, labels=range(6), zero_division=0
    )
    found = precision_recall_f1(counts)
    for name, column in zip(("precision", "recall", "f1"), expected, strict=False):
        assert found[name].tolist() == pytest.approx(column.tolist())


@pytest.mark.parametrize(("hits", "total"), [(0, 10), (10, 10), (343, 360), (9947, 10000), (1, 2)])
def test_the_interval_is_wilsons(hits: int, total: int) -> None:
    expected = binomtest(hits, total).proportion_ci(method="wilson")
    assert wilson_interval(hits, total) == pytest.approx((expected.low, expected.high))


def test_nothing_to_score_is_an_error() -> None:
    with pytest.raises(ValueError, match="no images"):
        wilson_interval(0, 0)


def test_the_calibration_error_is_the_papers_sum_over_bins() -> None:
    probabilities = LOGITS.softmax(1).double().numpy()
    confidence, hits = probabilities.max(1), probabilities.argmax(1) == LABELS.numpy()
    expected = 0.0
    for m in range(NUM_CALIBRATION_BINS):
        inside = (confidence > m / NUM_CALIBRATION_BINS) & (
            confidence <= (m + 1) / NUM_CALIBRATION_BINS
        )
        if inside.any():
            expected += inside.mean() * abs(hits[inside].mean() - confidence[inside].mean())
    found = measure_calibration(LOGITS.softmax(1), LABELS)
    assert found["error"] == pytest.approx(expected)
    assert sum(found["bins"]["count"]) == 400


def test_perfect_confidence_is_in_the_last_bin() -> None:
    found = measure_calibration(torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([0, 1]))
    assert found["bins"]["count"][-1] == 2 and found["error"] == pytest.approx(0.5)


def test_report_is_consistent() -> None:
    found = classification_report(LOGITS, LABELS, CLASSES)
    assert found["correct"] == sum(row[k] for k, row in enumerate(found["confusion"]))
    assert found["accuracy"] == found["correct"] / found["images"]
    assert found["interval_95"][0] < found["accuracy"] < found["interval_95"][1]
    assert [row["images"] for row in found["classes"].values()] == [
        sum(row) for row in found["confusion"]
    ]
    assert found["classes"]["f"] == {"images": 0, "precision": 0.0, "recall": 0.0, "f1": 0.0}


def test_single_batches_match_hypergeometric_distribution() -> None:
    hits = torch.zeros(10_000, dtype=torch.bool)
    hits[:8700] = True
    found = sample_batch_accuracies(
        hits, batch_size=128, num_batches=2000, rng=torch.Generator().manual_seed(0)
    )
    exact = hypergeom(10_000, 8_700, 128)
    assert found["mean"] == pytest.approx(0.87, abs=4 * exact.std() / 128 / 2000**0.5)
    assert found["std"] == pytest.approx(exact.std() / 128, rel=0.06)
    assert exact.ppf(0.99) / 128 < found["best"] <= 1
    whole = sample_batch_accuracies(
        hits[:100], batch_size=100, num_batches=3, rng=torch.Generator().manual_seed(0)
    )
    assert whole == {"mean": 1.0, "std": 0.0, "best": 1.0}
    with pytest.raises(ValueError, match="between 1 and 100 images, not 128"):
        sample_batch_accuracies(hits[:100], batch_size=128, num_batches=1, rng=torch.Generator())


def test_mcnemar_exact_test() -> None:
    first = torch.rand(1, 500, generator=RNG) < 0.8
    second = first ^ (torch.rand(1, 500, generator=RNG) < 0.1)
    better, worse = int((second & ~first).sum()), int((first & ~second).sum())
    found = compare_paired_accuracy(first, second)
    assert found["difference"] == pytest.approx((better - worse) / 500)
    assert found["p_value"] == pytest.approx(binomtest(better, better + worse).pvalue)
    low, high = found["interval_95"]
    assert low < found["difference"] < high
    assert compare_paired_accuracy(first, first) == {
        "difference": 0.0,
        "interval_95": (0.0, 0.0),
        "p_value": 1.0,
    }
    with pytest.raises(ValueError, match="500 images cannot be paired with 400"):
        compare_paired_accuracy(first, second[:, :400])


def test_groups_of_seeds_are_paired_by_image() -> None:
    first, second = (
        torch.rand(3, 4000, generator=RNG) < 0.8,
        torch.rand(2, 4000, generator=RNG) < 0.82,
    )
    gain = second.double().mean(0) - first.double().mean(0)
    found, oracle = compare_paired_accuracy(first, second), ttest_1samp(gain.numpy(), 0)
    assert found["difference"] == pytest.approx(float(gain.mean()))
    assert found["p_value"] == pytest.approx(
        oracle.pvalue, rel=0.02
    )  # the normal distribution for Student's
    assert found["interval_95"] == pytest.approx(oracle.confidence_interval(0.95), abs=1e-4)
