"""Calls of the Python interface with arguments that do not belong: each raises a `CosmotokError`, or is right."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from small import small

from cosmotok import Tokenizer
from cosmotok.errors import CosmotokError
from cosmotok.media import VideoWriter, open_media, write_image
from cosmotok.tokenfile import TokenFile

KINDS = ("cv4x8x8", "dv4x8x8", "ci8x8", "di8x8")
SHAPES = (
    (1, 3, 5, 16, 16),
    (1, 3, 16, 16),
    (3, 16, 16),
    (1, 3, 0, 16, 16),
    (1, 4, 1, 8, 8),
    (0, 3, 1, 8, 8),
    (1, 6, 2, 2, 2),
    (1, 2, 2, 2),
)
DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.uint8, torch.int8, torch.int64, torch.bool,
          torch.complex64, torch.uint16, torch.float8_e4m3fn)  # fmt: skip


def strange_tensor(random: Random) -> Any:
    shape = random.choice(SHAPES)
    plain = torch.zeros(shape)
    match random.randrange(14):
        case 0:
            return plain.to("meta")
        case 1:
            return plain.to_sparse()
        case 2:
            return torch.nested.nested_tensor([torch.zeros(3, 5, 8, 8), torch.zeros(3, 5, 8, 8)])
        case 3:
            return torch.quantize_per_tensor(plain, 0.1, 0, torch.qint8)
        case 4:
            return torch.full(shape, random.choice((float("nan"), float("inf"), 255.0, -2.0)))
        case 5:
            return plain.numpy()
        case 6:
            return random.choice((None, 1, "x", [], [[0.0]], object()))
        case 7:
            return torch.zeros(1, 3, 5, 16, 16, requires_grad=True) * 1
        case 8:
            return torch.zeros(1).expand(shape)
        case 9:
            return plain.transpose(-1, -2)[..., ::2]
        case _:
            return plain.to(random.choice(DTYPES))


def strange_number(random: Random) -> Any:
    return random.choice((None, True, False, 0, -1, 1, 2, 1.5, 1.0, float("nan"), 10**24, "1", [], np.int64(2), (1,)))


def strange_path(random: Random) -> Any:
    return random.choice(
        ("", None, 1, b"x", "\0", "a\0b", [], "x" * 5000, "~nouser/x", Path(), ".", "/dev/null", 1.5, True)
    )


def misuse(seed: int) -> None:
    """One call with such arguments; raises what is no `CosmotokError`."""
    random = Random(seed)
    tokenizer = small(random.choice(KINDS))
    tensor, number, path = strange_tensor(random), strange_number(random), strange_path(random)
    calls: list[Any] = [
        lambda: tokenizer.encode(tensor),
        lambda: tokenizer.encode(torch.zeros(1, 3, 5, 16, 16), attention_context=number),
        lambda: tokenizer.decode(tensor),
        lambda: tokenizer.decode(tensor, size=random.choice(((5, 16, 16), (1,), "abc", 5, (1.5, 2, 3), (True, 8, 8)))),
        lambda: tokenizer.decode(tokenizer.encode(torch.zeros(1, 3, 1, 16, 16)), size=(number, number, number)),
        lambda: tokenizer.decode(tokenizer.encode(torch.zeros(1, 3, 1, 16, 16)), out=tensor),
        lambda: tokenizer.reconstruct(tensor),
        lambda: tokenizer.stream_encoder(attention_context=number).push(tensor),
        lambda: tokenizer.stream_decoder(attention_context=number).push(tensor),
        lambda: tokenizer.stream_decoder(size=random.choice(((1, 1), (0, 0), (number, 3), "ab", 7))).push(tensor),
        lambda: Tokenizer.from_pretrained(path),
        lambda: Tokenizer.from_pretrained(
            "cv4x8x8-tiny", dtype=random.choice((torch.int8, "float32", 1, torch.float64))
        ),
        lambda: Tokenizer.from_pretrained(
            "cv4x8x8-tiny", device=random.choice(("meta", "", 1.5, "gpu", [], "cuda:77"))
        ),
        lambda: Tokenizer.from_pretrained("cv4x8x8-tiny", precision=random.choice(("x", None, 8))),
        lambda: Tokenizer.from_pretrained("cv4x8x8-tiny", revision="x"),
        lambda: tokenizer.save_pretrained(random.choice(("", None, 3, "a\0b", "x" * 5000, "/dev/null/x"))),
        lambda: list(open_media(path)),
        lambda: open_media("photo.png", frames=random.choice((slice(0, 5, 2), slice(-1, None), 5, None, "0:5"))),
        lambda: open_media("photo.png", size=(number, 5), max_pixels=number),
        lambda: write_image(path, np.zeros((4, 4, 3), np.uint8)),
        lambda: VideoWriter(path, width=8, height=8, frame_rate=10),
        lambda: TokenFile(path),
    ]
    call = calls[random.randrange(len(calls))]
    try:
        call()
    except CosmotokError as error:
        if len(str(error).splitlines()) != 1:
            raise AssertionError(f"not one line: {error}") from error
