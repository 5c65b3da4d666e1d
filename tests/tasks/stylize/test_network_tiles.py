import pytest
import torch

from cnnlab.tasks.stylize.network_tiles import apply_style_network
from tests.models.test_style_network import make_image, make_network


@pytest.mark.parametrize("size", [(130, 97), (64, 200)])
def test_tiles_equal_the_whole_image(size: tuple[int, int]) -> None:
    """Normalizations too, although one side of the image is much darker."""
    network, image = make_network(), make_image(*size)
    image[..., size[1] // 2 :] *= 0.2
    passes = list[tuple[int, int]]()
    tiled = apply_style_network(network, image, 96 * 96, lambda *count: passes.append(count))
    assert len(passes) == len(network.norms) + 1
    torch.testing.assert_close(
        tiled, apply_style_network(network, image, 1 << 60), atol=1e-5, rtol=0
    )
    assert all(norm.statistics is None for norm in network.norms)


def test_no_pass_is_larger_than_a_tile(monkeypatch: pytest.MonkeyPatch) -> None:
    network, image, pixels = make_network(), make_image(200, 160), list[int]()
    network.register_forward_pre_hook(lambda _, inputs: pixels.append(inputs[0][0, 0].numel()))
    apply_style_network(network, image, 100 * 100)
    assert max(pixels) <= 100 * 100
