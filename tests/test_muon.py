"""Muon's update."""

import pytest
import torch

from cosmotok.training.muon import Muon, orthogonalise


@pytest.mark.parametrize("shape", [(8, 8), (32, 8), (8, 96)])
def test_orthogonalised_updates_keep_their_directions(shape):
    torch.manual_seed(1)
    matrix = torch.randn(shape)
    u, _, vh = torch.linalg.svd(matrix, full_matrices=False)
    update = orthogonalise(matrix)
    in_their_basis = u.T @ update @ vh.T
    values = in_their_basis.diagonal()
    assert (in_their_basis - values.diag()).abs().max() < 1e-4
    assert values.min() > 0.3  # the quintic is steep at zero, so even small singular values come up
    assert values.max() < 1.3


def test_muon_moves_against_the_gradient_by_its_rate():
    weight = torch.nn.Parameter(torch.zeros(4, 4, 3))
    optimizer = Muon([weight], lr=0.1, weight_decay=0)
    target = torch.randn(4, 4, 3)
    losses = []
    for _ in range(30):
        loss = (weight - target).square().sum()
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if len(losses) == 1:
            assert torch.linalg.matrix_norm(weight.detach().flatten(1), ord=2).item() == pytest.approx(0.1, rel=0.3)
    assert losses[-1] < 0.5 * losses[0]
