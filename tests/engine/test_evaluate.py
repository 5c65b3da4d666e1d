import pytest
import torch

from cnnlab.data.augment import Pipeline
from cnnlab.data.batches import iterate_in_order
from cnnlab.data.sources import digits
from cnnlab.engine.evaluate import average_views, predict_logits
from cnnlab.engine.metrics import classification_report
from cnnlab.models.cnn import cnn


def test_scores_do_not_depend_on_the_batch_size() -> None:
    torch.manual_seed(0)
    data, model = (
        digits("test", root=None),
        cnn(
            (1, 8, 8),
            10,
            pool="max",
            batch_norm=None,
            output="linear",
            filters=[8, 8],
            extent=3,
            hidden=[16],
            dropout=0.5,
        ),
    )
    pipeline = Pipeline({"normalize": {"mean": [0.3], "std": [0.4]}}, "augment.eval")
    found = [
        classification_report(
            *predict_logits(model, iterate_in_order(data, pipeline, batch_size=n)), data.classes
        )
        for n in (7, 50, 360)
    ]
    for other in found[1:]:
        assert other["loss"] == pytest.approx(found[0]["loss"], rel=1e-6)
        assert other["confusion"] == found[0]["confusion"]


def test_dropout_is_off_and_the_mode_comes_back() -> None:
    model = cnn(
        (1, 8, 8),
        10,
        pool="max",
        batch_norm=None,
        output="linear",
        filters=[4],
        extent=3,
        hidden=[64],
        dropout=0.9,
    ).train()
    batch = [(torch.randn(5, 1, 8, 8), torch.arange(5))]
    first, labels = predict_logits(model, batch)
    assert torch.equal(first, predict_logits(model, batch)[0]) and labels.tolist() == list(range(5))
    assert model.training


def test_views_of_an_image_are_evaluated_by_their_mean_probability() -> None:
    logits = torch.randn(6, 4, dtype=torch.float64)
    found = average_views(logits, 2).softmax(1)
    torch.testing.assert_close(found, logits.softmax(1).view(2, 3, 4).mean(1))
    assert average_views(logits, 6) is logits
    images = torch.randn(6, 1, 8, 8)
    model = cnn(
        (1, 8, 8),
        10,
        pool="max",
        batch_norm=None,
        output="linear",
        filters=[4],
        extent=3,
        hidden=[8],
        dropout=0.0,
    )
    logits, labels = predict_logits(model, [(images, torch.arange(3))])
    assert logits.shape == (3, 10) and labels.tolist() == [0, 1, 2]
