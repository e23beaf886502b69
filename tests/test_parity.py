"""Equal to the published code, on every fixture: those that it computed, and those of its layout in plain PyTorch."""

import pytest
import torch
from fixtures import OWN_PARITY, PARITY, VARIANTS, Fixture

from cosmotok import Tokenizer

pytestmark = pytest.mark.usefixtures("every_kernel")
TOLERANCE = 2e-4  # of the tensor's largest value, as the fixtures' page has it


@pytest.fixture(
    scope="module",
    params=[(folder, variant) for folder in (OWN_PARITY, PARITY) for variant in VARIANTS],
    ids=lambda param: f"{'own' if param[0] == OWN_PARITY else 'published'}-{param[1]}",
)
def case(request):
    folder, variant = request.param
    fixture = Fixture(variant, folder)
    return fixture, Tokenizer.from_reference_state_dict(fixture.tensors(), variant=variant)


def assert_close(actual, expected):
    assert actual.shape == expected.shape
    assert (actual - expected).abs().max() < TOLERANCE * expected.abs().max()


def check(tokenizer, x, expected, prefix=""):
    tokens = tokenizer.encode(x)
    if not tokenizer.config.is_discrete:
        assert_close(tokens, expected[prefix + "latents"])
        assert_close(tokenizer.decode(tokens), expected[prefix + "reconstruction"])
        return
    indices = expected[prefix + "indices"]
    assert tokens.shape == indices.shape
    assert tokens.dtype == torch.int32
    differing = tokens != indices
    if differing.any():  # allowed only where a value lies next to a rounding boundary
        quantizer = tokenizer.network.quantizer
        latents = tokenizer.network.encode(x if x.ndim == 5 else x.unsqueeze(2)).movedim(1, -1)
        bounded = quantizer.bound(latents).reshape(*indices.shape, -1)
        to_boundary = (bounded - bounded.floor() - 0.5).abs().amin(dim=-1)
        assert (to_boundary[differing] < 1e-3).all()
    if prefix + "codes" in expected:
        codes = tokenizer.network.quantizer.indices_to_codes(indices)
        assert_close(codes.movedim(-1, 1), expected[prefix + "codes"])
    assert_close(tokenizer.decode(indices), expected[prefix + "reconstruction"])


def test_clip(case):
    fixture, tokenizer = case
    check(tokenizer, fixture.input, fixture.expected)


def test_first_frame_as_image(case):
    fixture, tokenizer = case
    if tokenizer.config.kind == "image":  # its fixture is an image already; T = 1 is the same picture
        tokens = tokenizer.encode(fixture.input.unsqueeze(2))
        assert torch.equal(tokens.squeeze(1 if tokenizer.config.is_discrete else 2), tokenizer.encode(fixture.input))
        return
    check(tokenizer, fixture.input[:, :, :1], fixture.expected, "image_")
