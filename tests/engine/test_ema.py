import pytest
import torch
from torch import nn

from cnnlab.engine.ema import ModelEMA


def make_network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 4 * 4, 3)
    )


def test_average_follows_formula_bit_for_bit() -> None:
    """Weights and running statistics are averaged with warm-up, counts of batches are copied."""
    model = make_network()
    ema = ModelEMA(model, 0.9)
    expected = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for t in range(1, 101):
        with torch.no_grad():
            for param in model.parameters():
                param.add_(torch.randn_like(param))
        model(torch.randn(4, 2, 6, 6))
        ema.update()
        decay = min(0.9, (1 + t) / (10 + t))
        for name, tensor in model.state_dict().items():
            is_float = tensor.is_floating_point()
            expected[name] = torch.lerp(expected[name], tensor, 1 - decay) if is_float else tensor
    assert ema.model.state_dict().keys() == expected.keys() and ema.num_updates == 100
    for name, tensor in ema.model.state_dict().items():
        assert torch.equal(tensor, expected[name]), name
    assert ema.model[1].num_batches_tracked == 100


def test_lerp_is_the_weighted_mean() -> None:
    model = make_network()
    ema, expected = ModelEMA(model, 0.9), model[3].weight.detach().clone()
    for t in range(1, 31):
        with torch.no_grad():
            model[3].weight.add_(1.0)
        ema.update()
        decay = min(0.9, (1 + t) / (10 + t))
        expected = decay * expected + (1 - decay) * model[3].weight.detach()
    torch.testing.assert_close(ema.model[3].weight, expected)


def test_update_does_not_build_a_state_dict(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_network()
    ema = ModelEMA(model, 0.9)
    monkeypatch.setattr(nn.Module, "state_dict", None)
    ema.update()
    assert ema.num_updates == 1


def test_average_follows_weights_that_are_loaded_after_it_was_made() -> None:
    model = make_network()
    ema = ModelEMA(model, 0.9)
    model.load_state_dict({name: tensor + 1 for name, tensor in model.state_dict().items()})
    before = ema.model[3].weight.clone()
    ema.update()
    assert not torch.equal(ema.model[3].weight, before)


def test_average_of_a_network_without_batch_normalization() -> None:
    model = nn.Linear(2, 2)
    ema = ModelEMA(model, 0.9)
    ema.update()
    assert torch.equal(ema.model.weight, model.weight)


def test_average_is_in_eval_mode_without_gradients() -> None:
    ema = ModelEMA(make_network().train(), 0.9)
    assert not any(module.training for module in ema.model.modules())
    assert not any(param.requires_grad for param in ema.model.parameters())


@pytest.mark.parametrize("decay", [0.0, 1.0, 2.0])
def test_decay_out_of_range_is_refused(decay: float) -> None:
    with pytest.raises(ValueError, match=f"ema_decay must be between 0 and 1, not {decay}"):
        ModelEMA(make_network(), decay)
