import pytest
import torch
import torch.nn.functional as F
from torch import nn

from cnnlab.engine.muon import Muon, orthogonalize
from cnnlab.engine.optim import muon

KEYS = {
    "lr": 0.1,
    "momentum": 0.9,
    "newton_schulz_steps": 5,
    "normalize": False,
    "weight_decay": 0.01,
    "linear_lr": 0.05,
    "bias_lr": 0.2,
    "sgd_momentum": 0.8,
    "sgd_weight_decay": 0.001,
}


@pytest.mark.parametrize("shape", [(6, 20), (20, 6), (8, 8)])
def test_orthogonalized_matrix_has_the_singular_vectors_of_the_matrix(
    shape: tuple[int, int],
) -> None:
    rng = torch.Generator().manual_seed(0)
    u, _, vh = torch.linalg.svd(torch.randn(shape, generator=rng), full_matrices=False)
    values = torch.linspace(0.1, 1, min(shape))
    result = u.T @ orthogonalize(u @ values.diag() @ vh, 5) @ vh.T
    assert result.diagonal().min() > 0.65 and result.diagonal().max() < 1.25
    assert (result - result.diagonal().diag()).abs().max() < 1e-4


def test_zero_gradient_gives_a_zero_update() -> None:
    assert torch.equal(orthogonalize(torch.zeros(3, 5), 5), torch.zeros(3, 5))


@pytest.mark.parametrize("shape", [(6, 20), (20, 6)])
def test_steps_are_torchs_muon(shape: tuple[int, int]) -> None:
    """torch computes in bfloat16, with three significant digits, and takes matrices only."""
    rng = torch.Generator().manual_seed(0)
    start = torch.randn(shape, generator=rng)
    mine, theirs = nn.Parameter(start[..., None, None].clone()), nn.Parameter(start.clone())
    ours = muon([mine], **KEYS)
    torchs = torch.optim.Muon([theirs], lr=0.1, momentum=0.9, weight_decay=0.01)
    for _ in range(4):
        grad = torch.randn(shape, generator=rng)
        mine.grad, theirs.grad = grad[..., None, None].clone(), grad.clone()
        ours.step()
        torchs.step()
    moved = (theirs - start).norm()
    assert (mine.detach().flatten(1) - theirs).norm() < 0.03 * moved


def test_other_parameters_take_sgds_steps_with_their_own_rates() -> None:
    torch.manual_seed(0)
    ours, theirs = nn.Linear(5, 3), nn.Linear(5, 3)
    theirs.load_state_dict(ours.state_dict())
    mine = muon(ours.parameters(), **KEYS)
    keys = {"momentum": 0.8, "nesterov": True, "weight_decay": 0.001}
    torchs = torch.optim.SGD(
        [
            {"params": [theirs.weight], "lr": 0.05},
            {"params": [theirs.bias], "lr": 0.2},
        ],
        lr=1.0,
        **keys,
    )
    for _ in range(4):
        x = torch.randn(4, 5)
        for model, optimizer in ((ours, mine), (theirs, torchs)):
            F.cross_entropy(model(x), torch.tensor([0, 1, 2, 0])).backward()
            optimizer.step()
            optimizer.zero_grad()
    for param, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(param, other)


def test_normalized_filters_keep_their_norm() -> None:
    param = nn.Parameter(torch.randn(4, 3, 3, 3))
    optimizer = muon([param], **KEYS | {"normalize": True, "weight_decay": 0.0, "lr": 1e-6})
    assert isinstance(optimizer, Muon)
    for _ in range(2):
        param.grad = torch.randn_like(param)
        optimizer.step()
    assert float(param.detach().norm()) == pytest.approx(2.0, abs=1e-4)


@pytest.mark.parametrize("key", ["lr", "linear_lr", "bias_lr", "newton_schulz_steps"])
def test_values_out_of_range_are_refused(key: str) -> None:
    with pytest.raises(ValueError, match="not 0"):
        muon([nn.Parameter(torch.zeros(2, 2))], **KEYS | {key: 0})
