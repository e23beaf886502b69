"""Token files of strangers: every value is judged before anything is made of it, and never trusted to lead anywhere."""

from __future__ import annotations

import json
import os
import socket
import struct
import time
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from refusals import refused
from small import clip, small

from cosmotok import tokenfile
from cosmotok.errors import CosmotokError, TokenFileError
from cosmotok.tokenfile import TokenFile, TokenInfo, TokenWriter
from cosmotok.writing.files import OutputFile

FRAMES = 9


def info(tokenizer, **changes):
    values = {
        "model": "dv4x8x8-tiny",
        "fingerprint": tokenizer.fingerprint,
        "kind": "video",
        "size": (FRAMES, 16, 16),
        "frame_rate": Fraction(30000, 1001),
        "times": None,
        "attention_context": 32,
        "chunk": tokenizer.spec.chunk,
    }
    return TokenInfo(**(values | changes))


def write(path, kind="dv4x8x8"):
    tokenizer = small(kind)
    with TokenWriter(path, tokenizer.spec) as writer:
        writer.write(tokenizer.encode(clip(FRAMES)))
        writer.finish(info(tokenizer))
    return tokenizer


def change(path, tensor=None, **metadata):
    """Other metadata in the header (None: without that), and other facts of the tensor."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    header["__metadata__"] |= {key: value for key, value in metadata.items() if value is not None}
    for key in [key for key, value in metadata.items() if value is None]:
        del header["__metadata__"][key]
    header["indices"] |= tensor or {}
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])


def test_what_is_written_is_read(tmp_path):
    for kind in ("dv4x8x8", "cv4x8x8"):
        tokenizer = write(tmp_path / "t.safetensors", kind)
        file = TokenFile(tmp_path / "t.safetensors")
        file.check(tokenizer)
        assert file.info == info(tokenizer)


BAD = [
    ("kind", "hologram"),
    ("kind", "image"),
    ("kind", None),
    ("attention_context", "1.5"),
    ("attention_context", "true"),
    ("attention_context", str(10**24)),
    ("attention_context", "0"),
    ("attention_context", "[" * 100_000),
    ("attention_context", "[" * 900 + "]" * 900),
    ("chunk", "1" * 4_000),
    ("chunk", "-1"),
    ("chunk", '"2"'),
    ("size", "[9, 16, Infinity]"),
    ("size", "[9, 16, 1e400]"),
    ("size", "[9, 16, 1e9]"),
    ("size", "[9, 16]"),
    ("size", "9"),
    ("size", "[true, 16, 16]"),
    ("size", "{}" * 50_000),
    ("frame_rate", "1e99999999"),
    ("frame_rate", "null"),
    ("frame_rate", "-30"),
    ("frame_rate", "0"),
    ("frame_rate", "30/0"),
    ("frame_rate", "9" * 4_000),
    ("frame_rate", "inf"),
    ("times", "[1, 2]"),
    ("times", "5"),
    ("times", "[0, 1, 2, 3, 4, 5, 6, 7, 1e3]"),
    ("times", f"[0, 1, 2, 3, 4, 5, 6, 7, {10**17}]"),
    ("fingerprint", "0" * 16),
    ("fingerprint", ""),
    ("fingerprint", "f" * 100_000),
    ("model", "a\nb\x1b[31m"),
    ("model", "m" * 100_000),
    ("model", ""),
    ("format_version", "9" * 100_000),
    ("format", "x"),
]


@pytest.mark.parametrize(("key", "value"), BAD, ids=[f"{key}={str(value)[:20]!r}" for key, value in BAD])
def test_metadata_that_make_no_sense(key, value, tmp_path):
    path = tmp_path / "strange.safetensors"
    write(path)
    change(path, **{key: value})
    begin = time.process_time()
    message = refused(lambda: TokenFile(path), str(path), error=TokenFileError)
    assert time.process_time() - begin < 2
    assert len(message) < len(str(path)) + 250
    assert message.isprintable()


@pytest.mark.parametrize(
    "tensor",
    [
        {"dtype": "I16"},
        {"dtype": "F16"},
        {"dtype": "BF16"},
        {"shape": [12]},
        {"shape": [1, 3, 2, 2]},
        {"shape": [1] * 10_000 + [3, 2, 2]},
    ],
    ids=lambda tensor: str(tensor)[:30],
)
def test_tensors_that_do_not_belong(tensor, tmp_path):
    path = tmp_path / "strange.safetensors"
    write(path)
    change(path, tensor)
    message = refused(lambda: TokenFile(path), str(path), "indices", "U16 or I32", error=TokenFileError)
    assert len(message) < len(str(path)) + 200


def test_zeros_do_not_stand_for_any_weights(tmp_path):
    path = tmp_path / "t.safetensors"
    tokenizer = write(path)
    change(path, fingerprint=tokenizer.fingerprint[:8] + "00000000")  # only the encoder was there
    TokenFile(path).check(tokenizer)
    change(path, fingerprint="00000000" + tokenizer.fingerprint[8:])
    refused(lambda: TokenFile(path), "fingerprint", error=TokenFileError)
    change(path, fingerprint="12345678" + "00000000", model="x" * 300)
    message = refused(lambda: TokenFile(path).check(tokenizer), "--model", str(path), error=TokenFileError)
    assert len(message) < len(str(path)) + 300


def test_what_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe.safetensors")
    (tmp_path / "link.safetensors").symlink_to("/dev/zero")
    (tmp_path / "folder.safetensors").mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        here = Path.cwd()
        os.chdir(tmp_path)  # addresses of sockets are short
        try:
            server.bind("socket.safetensors")
        finally:
            os.chdir(here)
        for name in ("pipe", "link", "folder", "socket"):
            path = tmp_path / f"{name}.safetensors"
            refused(lambda path=path: TokenFile(path), str(path), "is a", error=TokenFileError)
    refused(lambda: TokenFile(tmp_path / "none"), "no such file", error=TokenFileError)


@pytest.mark.parametrize("value", [1e5, float("inf"), float("nan")])
def test_latents_that_float16_cannot_hold(value, tmp_path):
    tokenizer = small("cv4x8x8")
    latents = tokenizer.encode(clip(FRAMES))
    latents[0, 1, 2, 0, 0] = value

    def write(dtype):
        with TokenWriter(tmp_path / "t.safetensors", tokenizer.spec, dtype) as writer:
            writer.write(latents)
            writer.finish(info(tokenizer))

    refused(lambda: write("float16"), "t.safetensors", "float16", "--latent-dtype", "bfloat16")
    assert list(tmp_path.iterdir()) == []
    if value == 1e5:
        write("bfloat16")
        assert torch.cat(list(TokenFile(tmp_path / "t.safetensors")), dim=2).max() > 99_000


def test_a_disk_that_is_full_once_the_spool_is_flushed(tmp_path, monkeypatch):
    tokenizer = small("dv4x8x8")
    monkeypatch.setattr(tokenfile, "spool", lambda target: OutputFile(Path("/dev/full"), 0))

    def write():
        with TokenWriter(tmp_path / "t.safetensors", tokenizer.spec) as writer:
            writer.write(tokenizer.encode(clip(FRAMES)))  # few enough to wait in memory
            writer.finish(info(tokenizer))

    refused(write, "t.safetensors", "the disk is full", error=CosmotokError)
    assert list(tmp_path.iterdir()) == []
