"""What is recorded with every figure."""

import torch

from cnnlab.core.provenance import collect_environment


def test_environment_keys() -> None:
    environment = collect_environment(torch.device("cpu"))
    assert (
        environment["packages"]["torch"] == torch.__version__.split("+")[0]
        or environment["packages"]["torch"] == torch.__version__
    )
    assert environment["threads"] == torch.get_num_threads()
    assert {
        "command",
        "commit",
        "python",
        "platform",
        "processor",
        "cores",
        "device",
    } <= environment.keys()
