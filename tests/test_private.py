"""PyTorch's and Accelerate's private names: the uses of them, and doing without."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

import cosmotok
from cosmotok import private

PACKAGE = Path(cosmotok.__file__).parent


@pytest.fixture
def products_forgotten():
    private.has_products.cache_clear()
    yield
    private.has_products.cache_clear()


@pytest.mark.parametrize("there", [True, False])
def test_products(there, monkeypatch, products_forgotten):
    if not there:
        monkeypatch.setattr(private, "PRODUCTS", ("_linear_pointwise", "_no_such_operator"))
    elif not private.has_products():
        pytest.skip("this PyTorch or processor has none")
    x, weight, bias = torch.randn(300, 128), torch.randn(64, 128), torch.randn(64)
    assert private.has_products() == there
    for laid_out in (weight, private.lay_out(weight)):
        assert torch.allclose(private.linear(x, laid_out, bias), F.linear(x, weight, bias), atol=1e-4)


@pytest.mark.parametrize("counted", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_contents_change_with_writes_of_all_kinds(counted, dtype):
    weight = torch.nn.Parameter(torch.randn(300, 40, dtype=dtype))
    if not counted:
        with torch.inference_mode():
            weight = torch.randn(300, 40, dtype=dtype)  # has no count of its operations
    seen = [private.contents(weight)]
    assert private.contents(weight) == seen[0]
    with torch.inference_mode(not counted), torch.no_grad():
        for write in (lambda: weight.mul_(2), lambda: weight.data.add_(1), lambda: weight.data[7].zero_()):
            write()
            assert private.contents(weight) not in seen
            seen.append(private.contents(weight))
    if counted:
        weight.data = weight.data.clone()
        assert private.contents(weight) != seen[-1]
    assert private.contents(torch.zeros(0)) == private.contents(torch.zeros(0))


def test_memory_that_was_looked_at_can_still_be_resized():
    """As that of split weights (FSDP), which is given back between two uses."""
    weight = torch.randn(192)
    private.contents(weight)
    weight.untyped_storage().resize_(0)
    assert weight.untyped_storage().nbytes() == 0


def test_vnni_is_unknown_where_pytorch_does_not_say(monkeypatch):
    assert isinstance(private.has_vnni(), bool)
    monkeypatch.delattr(torch.cpu, "_is_vnni_supported", raising=False)
    assert not private.has_vnni()


def test_code_of_its_own():
    factor = 3
    seen = []

    def times(x):
        seen.append(x)
        return x * factor

    own = private.with_code_of_its_own(times)
    assert own(2) == 6 and seen == [2]
    assert own.__code__ is not times.__code__


@pytest.mark.parametrize("there", [True, False])
def test_free_axes_are_one_graph(there, monkeypatch):
    if not there:
        monkeypatch.delattr(torch._dynamo, "mark_dynamic")
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    double = torch.compile(lambda x: x * 2, backend="eager")
    for length in (3, 5, 7):
        x = torch.arange(length)
        private.mark_free(x, 0)
        assert torch.equal(double(x), x * 2)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == (1 if there else 2)
    torch._dynamo.reset()


def test_what_compilers_raise(monkeypatch):
    assert issubclass(private.compiler_error(), RuntimeError)
    monkeypatch.delattr("torch._dynamo.exc.BackendCompilerFailed")
    assert private.compiler_error() is RuntimeError


def test_exported_programs_take_sizes_of_one():
    class Double(torch.nn.Module):
        def forward(self, x):
            return x.transpose(0, 1).contiguous() * 2

    program = torch.export.export(Double(), (torch.ones(3, 4),), dynamic_shapes=({0: torch.export.Dim("n")},))
    private.free_sizes(program)
    assert program.module()(torch.ones(1, 4)).shape == (4, 1)
    without_notes = SimpleNamespace()
    private.free_sizes(without_notes)
    assert not vars(without_notes)


@pytest.mark.parametrize("there", [True, False])
def test_accelerators_of_different_precision(there, monkeypatch):
    state = pytest.importorskip("accelerate.state").AcceleratorState
    from accelerate import Accelerator

    private.forget_accelerator()
    assert Accelerator(cpu=True, mixed_precision="bf16").mixed_precision == "bf16"
    if not there:
        with monkeypatch.context() as patch:
            patch.delattr(state, "_reset_state")
            private.forget_accelerator()  # leaves what is, and breaks nothing
    private.forget_accelerator()
    assert Accelerator(cpu=True, mixed_precision="no").mixed_precision == "no"
    private.forget_accelerator()


def test_private_names_are_used_here_alone():
    name = re.compile(
        r"\b(torch|accelerate)(\.\w+)*\._[a-z]|import _[a-z]|from torch\._|\._(guards_code|reset_state)\b"
    )
    kept = {"private.py", "unpickle.py"}  # the latter holds names that files may ask for, and imports none
    found = {
        f"{path.name}: {line.strip()}"
        for path in PACKAGE.rglob("*.py")
        if path.name not in kept
        for line in path.read_text(encoding="utf-8").splitlines()
        if name.search(line)
    }
    assert found == set()
