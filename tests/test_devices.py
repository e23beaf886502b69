"""Devices by name: those of this machine, and one line for any other."""

import pytest
import torch
from small import fresh

from cosmotok import Tokenizer
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
