"""Muon's update."""

import pytest
import torch

from cosmotok.training.muon import COEFFICIENTS, Muon, orthogonalise


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


@pytest.mark.parametrize("shape", [(16, 16), (24, 8), (8, 96)])
def test_orthogonalising_equals_newton_schulz_on_the_matrix_itself(shape):
    torch.manual_seed(2)
    matrices = torch.randn(3, *shape, dtype=torch.float64) * torch.tensor([1e-3, 1.0, 1e3])[:, None, None]
    a, b, c = COEFFICIENTS
    for matrix, update in zip(matrices, orthogonalise(matrices.float()), strict=True):
        x = matrix / torch.linalg.matrix_norm(matrix)
        for _ in range(5):
            x = a * x + b * x @ x.T @ x + c * x @ x.T @ x @ x.T @ x
        torch.testing.assert_close(update.double(), x, atol=1e-4, rtol=0)


def test_matrices_of_one_shape_do_not_disturb_each_other():
    torch.manual_seed(3)
    gradients = [torch.randn(6, 4, 3), torch.randn(6, 12), torch.randn(12, 6)]

    def step(*numbers):
        weights = [torch.nn.Parameter(torch.ones_like(gradients[number])) for number in numbers]
        for weight, number in zip(weights, numbers, strict=True):
            weight.grad = gradients[number].clone()
        Muon(weights, lr=0.1).step()
        return weights

    for number, weight in enumerate(step(0, 1, 2)):
        torch.testing.assert_close(weight, step(number)[0], atol=1e-5, rtol=0)


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
