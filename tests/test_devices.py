"""Devices by name: those of this machine, and one line for any other."""

import pytest
import torch
from small import fresh

from cosmotok import Tokenizer, interface
from cosmotok.devices import devices_here, find_device, synchronize
from cosmotok.errors import InputError

ELSEWHERE = ["gpu", "", "meta", "hpu", "lazy", "cuda:", "cuda:99", "mps:7", "cpu:1", "x" * 500, "a\nb"]


@pytest.mark.parametrize("name", ELSEWHERE)
def test_a_device_that_is_not_here(name):
    with pytest.raises(InputError) as caught:
        find_device(name, "--device ")
    message = str(caught.value)
    assert message.startswith("--device ")
    assert "expected --device cpu" in message
    assert "\n" not in message
    assert len(message) < 200
    with pytest.raises(InputError, match="expected device=cpu"):
        Tokenizer.from_pretrained("ci8x8-tiny", device=name)
    with pytest.raises(InputError, match="expected device=cpu"):
        fresh("ci8x8").to(name)


@pytest.mark.skipif(torch.cuda.is_available(), reason="has CUDA")
def test_cuda_without_one():
    with pytest.raises(InputError, match="--device cuda: not on this machine; expected --device cpu"):
        find_device("cuda", "--device ")


def test_the_devices_of_this_machine():
    for name in devices_here():
        assert str(find_device(name)) == name
        synchronize(find_device(name))
    assert find_device("cpu:0").type == find_device(torch.device("cpu")).type == "cpu"


@pytest.fixture
def with_mps(monkeypatch):
    """As if this machine had Apple's device; returns what is waited for."""
    waited = []
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda *_: torch.device("mps"))
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 1)
    monkeypatch.setattr(torch.accelerator, "synchronize", waited.append)
    return waited


def test_every_accelerator_is_waited_for_and_the_cpu_is_not(with_mps):
    assert devices_here() == ["cpu", "mps:0"]
    synchronize(torch.device("cpu"))
    assert not with_mps
    synchronize(torch.device("mps"))
    assert with_mps == [torch.device("mps")]


@pytest.mark.parametrize("given", [True, False])
def test_decoded_frames_are_there_when_decode_returns(with_mps, monkeypatch, given):
    """Copies to the host are only asked for; on a device other than CUDA they were not waited for."""
    tokenizer = fresh("cv4x8x8")
    tokens = torch.zeros(1, 4, 3, 2, 2)
    expected, seen = tokenizer.decode(tokens), []
    out = torch.full_like(expected, torch.nan)
    monkeypatch.setattr(
        torch.accelerator, "synchronize", lambda device: seen.append((device, bool(out.isfinite().all())))
    )
    monkeypatch.setattr(interface, "synchronize", lambda device: synchronize(torch.device("mps", device.index)))
    tokenizer.decode(tokens, out=out if given else None)
    assert seen == [(torch.device("mps"), given)], "once, after the last frame was copied"
