from pathlib import Path

import pytest
import torch
from torch import nn

from cnnlab.core.errors import CnnlabError, UsageError
from cnnlab.data.sources import digits
from cnnlab.tasks.embed import features
from cnnlab.tasks.embed.features import (
    check_features,
    extract_features,
    layer_extractor,
    pixel_extractor,
)
from cnnlab.tasks.embed.images import ImageBatch, select_images
from cnnlab.tasks.trained_run import load_run

CPU = torch.device("cpu")


def make_batch(pixels: torch.Tensor, first: int = 0) -> ImageBatch:
    n = len(pixels)
    return ImageBatch(
        pixels,
        torch.zeros(n, dtype=torch.int64),
        [f"#{first + i}" for i in range(n)],
        torch.arange(n),
    )


def test_penultimate_features_give_the_logits_for_any_batch_size(
    run: Path,
) -> None:
    trained = load_run(str(run))
    extract, where = layer_extractor(
        trained.model, trained.prepare_input, None, has_class_logits=True
    )
    assert where == "penultimate features"
    feature_sets = [
        extract_features(
            select_images("test", None, 0, trained, size, CPU).iterate_batches(), extract, CPU
        )
        for size in (7, 360)
    ]
    one, whole = feature_sets
    torch.testing.assert_close(one.features, whole.features, rtol=1e-5, atol=1e-5)
    probabilities = trained(digits("test", root=None).images)
    assert (
        whole.predictions is not None
        and whole.probabilities is not None
        and whole.is_misclassified is not None
    )
    assert torch.equal(whole.predictions, probabilities.argmax(1))
    torch.testing.assert_close(whole.probabilities, probabilities.max(1).values)
    torch.testing.assert_close(trained.model.output(whole.features).softmax(1), probabilities)
    assert int(whole.is_misclassified.sum()) == int(
        (probabilities.argmax(1) != digits("test", root=None).labels).sum()
    )
    assert whole.thumbnails.shape == (360, 8, 8, 1) and not bool(whole.is_user_image.any())


def test_features_of_a_layer_or_pixels(run: Path) -> None:
    trained = load_run(str(run))
    images = digits("test", root=None).images
    extract, where = layer_extractor(
        trained.model, trained.prepare_input, "conv_1", has_class_logits=True
    )
    feature_set = extract_features([make_batch(images[:9])], extract, CPU)
    torch.testing.assert_close(
        feature_set.features, trained.model.conv_1(trained.prepare_input(images[:9])).flatten(1)
    )
    assert where == "conv_1 features"
    pixels = extract_features([make_batch(images[:9])], pixel_extractor(trained)[0], CPU)
    torch.testing.assert_close(pixels.features, images[:9].flatten(1) / 255)
    assert pixels.predictions is not None
    with pytest.raises(UsageError, match=r"did you mean conv_1"):
        layer_extractor(trained.model, trained.prepare_input, "conv1", has_class_logits=True)
    with pytest.raises(UsageError, match=r"choose one with layer=NAME"):
        layer_extractor(
            nn.Sequential(nn.Conv2d(1, 1, 1)), trained.prepare_input, None, has_class_logits=True
        )


def test_thumbnails_are_shrunk_and_too_large_features_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    images = torch.full((2, 3, 128, 256), 200, dtype=torch.uint8)
    feature_set = extract_features(
        [make_batch(images)], lambda pixels: (pixels[:, 0, :2].flatten(1).float(), None), CPU
    )
    assert feature_set.thumbnails.shape == (2, 32, 64, 3) and set(
        feature_set.thumbnails.flatten().tolist()
    ) == {200}
    assert feature_set.predictions is None and feature_set.is_misclassified is None
    monkeypatch.setattr(features, "MAX_FEATURE_BYTES", 100)
    with pytest.raises(CnnlabError, match=r"fewer images"):
        extract_features(
            [make_batch(images)], lambda pixels: (pixels.flatten(1).float(), None), CPU
        )


def test_check_features_refuses_invalid_features() -> None:
    def feature_set(x: torch.Tensor) -> features.FeatureSet:
        return extract_features(
            [make_batch(torch.zeros(len(x), 1, 2, 2, dtype=torch.uint8))],
            lambda pixels: (x, None),
            CPU,
        )

    x = torch.randn(6, 3)
    assert check_features(feature_set(x), "features").features.shape == (6, 3)
    x[4, 1] = torch.nan
    with pytest.raises(
        CnnlabError,
        match=r"the features are not finite for 1 of 6 images, first #4.*checkpoint=best",
    ):
        check_features(feature_set(x), "features")
    with pytest.raises(CnnlabError, match=r"the features are the same for all 6 images"):
        check_features(feature_set(torch.ones(6, 3)), "features")
