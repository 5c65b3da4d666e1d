import pytest
import torch

from cnnlab.core.device import (
    describe_device,
    pick_device,
    set_deterministic_algorithms,
    use_threads,
)
from cnnlab.core.errors import UsageError


def test_auto_prefers_cuda() -> None:
    assert pick_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("name", ["gpu", "", "cuda:99", "meta", "xpu"])
def test_a_missing_device_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="device"):
        pick_device(name)


def test_device_description() -> None:
    assert describe_device(torch.device("cpu")).startswith(f"cpu ({torch.get_num_threads()} thread")


def test_deterministic_algorithms_do_not_fill_new_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch would fill each with NaN: 142 more kernels in a step of cifar10_bn_best."""
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", True)
    set_deterministic_algorithms(True)
    assert torch.are_deterministic_algorithms_enabled()
    assert not torch.utils.deterministic.fill_uninitialized_memory
    set_deterministic_algorithms(False)
    assert not torch.are_deterministic_algorithms_enabled()


def test_threads_are_restored() -> None:
    before = torch.get_num_threads()
    with use_threads(3):
        assert torch.get_num_threads() == 3
    with use_threads(None):
        assert torch.get_num_threads() == before
    assert torch.get_num_threads() == before
