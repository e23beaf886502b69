"""Real TorchScript files with given tensors in them, as the published ones are."""

import warnings

import torch
from torch import nn


class Tree(nn.Module):
    """Modules nested as the names of the tensors say, as in the published network, with a trivial forward."""

    def __init__(self, tensors):
        super().__init__()
        below = {}
        for name, tensor in tensors.items():
            head, _, rest = name.partition(".")
            if rest:
                below.setdefault(head, {})[rest] = tensor
            elif tensor.is_floating_point():
                self.register_parameter(head, nn.Parameter(tensor))
            else:
                self.register_buffer(head, tensor)
        for head, inner in below.items():
            self.add_module(head, Tree(inner))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + 1


def save_jit(tensors, path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is on its way out; the published files stay
        torch.jit.script(Tree(tensors)).save(path)
