import torch
from torch import nn

from cnnlab.engine import roofline
from cnnlab.models.cnn import cnn

CPU = torch.device("cpu")


def test_flops_match_layer_formulas() -> None:
    """Two FLOPs a weight and position; backward adds weights and, after layer 1, inputs."""
    model = cnn(
        (1, 28, 28),
        10,
        pool="max",
        batch_norm=None,
        output="linear",
        filters=[32, 64],
        extent=5,
        hidden=[1024],
        dropout=0.5,
    )
    layers = [25 * 32 * 28 * 28, 25 * 32 * 64 * 14 * 14, 7 * 7 * 64 * 1024, 1024 * 10]
    forward, both = roofline.count_flops(
        model, torch.zeros(3, 1, 28, 28), torch.zeros(3, dtype=torch.int64)
    )
    assert forward == 2 * sum(layers)
    assert both == 2 * (3 * sum(layers) - layers[0])
    assert all(p.grad is None for p in model.parameters())


def test_peaks_are_measured_once() -> None:
    roofline.measure_peak_flops.cache_clear()
    before, roofline.MEASURE_SECONDS = roofline.MEASURE_SECONDS, 0.1
    try:
        rate = roofline.measure_peak_flops(CPU, torch.float32, 1)
        assert rate == roofline.measure_peak_flops(CPU, torch.float32, 1) > 1e9
        assert roofline.measure_peak_bandwidth(CPU, 1) > 1e8
    finally:
        roofline.MEASURE_SECONDS = before


def test_shortest_time() -> None:
    model = nn.Linear(10, 10)
    calls: list[int] = []
    found = roofline.measure_shortest_time(
        lambda: calls.append(len(model(torch.zeros(2, 10)))), CPU, 0.02
    )
    assert 0 < found < 0.02 and len(calls) >= 2
