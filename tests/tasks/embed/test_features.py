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


def a_batch(pixels: torch.Tensor, first: int = 0) -> ImageBatch:
    n = len(pixels)
    return ImageBatch(
        pixels,
        torch.zeros(n, dtype=torch.int64),
        [f"#{first + i}" for i in range(n)],
        torch.arange(n),
    )


def test_what_goes_into_the_last_layer_makes_the_answers_and_batches_do_not_matter(
    run: Path,
) -> None:
    trained = load_run(str(run))
    extract, where = layer_extractor(
        trained.model, trained.prepare_input, None, has_class_logits=True
    )
    assert where == "what goes into output"
    found = [
        extract_features(
            select_images("test", None, 0, trained, size, CPU).iterate_batches(), extract, CPU
        )
        for size in (7, 360)
    ]
    one, whole = found
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


def test_any_layer_flattened_or_the_pixels(run: Path) -> None:
    trained = load_run(str(run))
    images = digits("test", root=None).images
    extract, where = layer_extractor(
        trained.model, trained.prepare_input, "conv_1", has_class_logits=True
    )
    seen = extract_features([a_batch(images[:9])], extract, CPU)
    torch.testing.assert_close(
        seen.features, trained.model.conv_1(trained.prepare_input(images[:9])).flatten(1)
    )
    assert where == "what conv_1 gives"
    pixels = extract_features([a_batch(images[:9])], pixel_extractor(trained)[0], CPU)
    torch.testing.assert_close(pixels.features, images[:9].flatten(1) / 255)
    assert pixels.predictions is not None
    with pytest.raises(UsageError, match=r"did you mean conv_1"):
        layer_extractor(trained.model, trained.prepare_input, "conv1", has_class_logits=True)
    with pytest.raises(UsageError, match=r"say which layer= is meant"):
        layer_extractor(
            nn.Sequential(nn.Conv2d(1, 1, 1)), trained.prepare_input, None, has_class_logits=True
        )


def test_large_pictures_are_kept_small_and_too_many_numbers_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    picture = torch.full((2, 3, 128, 256), 200, dtype=torch.uint8)
    seen = extract_features(
        [a_batch(picture)], lambda pixels: (pixels[:, 0, :2].flatten(1).float(), None), CPU
    )
    assert seen.thumbnails.shape == (2, 32, 64, 3) and set(seen.thumbnails.flatten().tolist()) == {
        200
    }
    assert seen.predictions is None and seen.is_misclassified is None
    monkeypatch.setattr(features, "MAX_FEATURE_BYTES", 100)
    with pytest.raises(CnnlabError, match=r"fewer pictures"):
        extract_features([a_batch(picture)], lambda pixels: (pixels.flatten(1).float(), None), CPU)


def test_features_that_no_map_can_be_made_of_are_told() -> None:
    def seen(x: torch.Tensor) -> features.FeatureSet:
        return extract_features(
            [a_batch(torch.zeros(len(x), 1, 2, 2, dtype=torch.uint8))],
            lambda pixels: (x, None),
            CPU,
        )

    x = torch.randn(6, 3)
    assert check_features(seen(x), "it").features.shape == (6, 3)
    with pytest.raises(UsageError, match=r"five pictures or more, and there are 4"):
        check_features(seen(x[:4]), "it")
    x[4, 1] = torch.nan
    with pytest.raises(
        CnnlabError, match=r"it is not finite for 1 of 6 pictures, first #4.*checkpoint=best"
    ):
        check_features(seen(x), "it")
    with pytest.raises(CnnlabError, match=r"it is the same for all 6 pictures"):
        check_features(seen(torch.ones(6, 3)), "it")
