"""From file to file: media to tokens, tokens to media, media to media; in memory that does not grow with length."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cosmotok.defaults import ATTENTION_CONTEXT, MAX_PIXELS
from cosmotok.errors import InputError, TokenFileError
from cosmotok.frames import Pixels, batches, fetch, in_a_row, to_video
from cosmotok.interface import BaseTokenizer
from cosmotok.media import Frame, MediaInfo, MediaReader, VideoWriter, media_files, open_media, write_image
from cosmotok.media.writer import CRF
from cosmotok.metrics.quality import RunningQuality
from cosmotok.overlap import Behind, ahead
from cosmotok.spec import TokenizerSpec
from cosmotok.streaming import StreamDecoder
from cosmotok.tokenfile import TICKS, StoredTokens, TokenInfo, TokenWriter
from cosmotok.writing import Together, spare

__all__ = ["ClipReport", "decode_file", "encode_file", "reconstruct_file"]

Advance = Callable[[int], None]


@dataclass(frozen=True)
class ClipReport:
    """What was done to one clip or image. `None` where a figure does not apply."""

    input: str
    output: str
    model: str
    kind: str
    frames: int
    width: int
    height: int
    frame_rate: float | None
    tokens: int
    """Positions of the latent grid; each is an index, or one vector of a continuous latent."""
    token_grid: tuple[int, int, int]
    token_kind: str
    compression: float
    """Size of the raw 8-bit video over that of the tokens."""
    bits_per_pixel: float
    seconds: float
    frames_per_second: float
    psnr: float | None = None
    ssim: float | None = None
    side_by_side: str | None = None
    audio: bool = False


def reconstruct_file(
    tokenizer: BaseTokenizer,
    source: Path,
    output: Path,
    *,
    side_by_side: Path | None = None,
    model: str | None = None,
    frames: slice = slice(None),
    size: tuple[int, int] | None = None,
    max_pixels: int = MAX_PIXELS,
    attention_context: int | None = ATTENTION_CONTEXT,
    advance: Advance = lambda count: None,
) -> ClipReport:
    """Encodes and decodes a clip or image, and measures what came back.

    Args:
        output, side_by_side: the reconstruction, and a picture of original, reconstruction and amplified difference
            in a row; written under temporary names until both are complete.
        model: what `Tokenizer.from_pretrained` was given; no output may replace its files.
        frames, size, max_pixels: as in `open_media`.
        advance: called with the number of frames that are finished.
    """
    begin = time.monotonic()
    for written in filter(None, (output, side_by_side)):
        spare(written, *media_files(source, written), model)
    quality = RunningQuality()
    originals: deque[Frame] = deque()
    with ExitStack() as stack:
        reader = stack.enter_context(open_media(source, frames=frames, size=size, max_pixels=max_pixels))
        info = reader.info
        encoder = tokenizer.stream_encoder(attention_context=attention_context)
        decoder = tokenizer.stream_decoder(attention_context=attention_context, size=(info.height, info.width))
        both = stack.enter_context(Together())
        sink = stack.enter_context(FrameSink(output, info, source if info.has_audio else None, reader, both))
        beside: FrameSink | None = None
        if side_by_side is not None:
            beside = stack.enter_context(FrameSink(side_by_side, info, None, reader, both, columns=3))

        def finish(reconstruction: Pixels) -> None:
            for pixels in reconstruction():
                if not originals:  # what is left is padding of the last group
                    return
                original = originals.popleft()
                quality.update(original.pixels, pixels)
                sink.write(pixels, original.time)
                if beside is not None:
                    beside.write(in_a_row(original.pixels, pixels), original.time)
                advance(1)

        behind = stack.enter_context(Behind())
        for batch in stack.enter_context(closing(ahead(batches(reader, tokenizer.spec.step_frames)))):
            originals.extend(batch)
            behind(finish, fetch(decoder.push(encoder.push(to_video(batch, tokenizer.device)))))
        behind(finish, fetch(decoder.push(encoder.flush())))
        behind(finish, fetch(decoder.flush()))
    return clip_report(
        tokenizer.spec,
        source,
        output,
        info,
        quality.frames,
        16,
        time.monotonic() - begin,
        psnr=quality.psnr,
        ssim=quality.ssim,
        side_by_side=None if side_by_side is None else str(side_by_side),
        audio=sink.has_audio,
    )


def encode_file(
    tokenizer: BaseTokenizer,
    model: str,
    source: Path,
    output: Path,
    *,
    frames: slice = slice(None),
    size: tuple[int, int] | None = None,
    max_pixels: int = MAX_PIXELS,
    attention_context: int | None = ATTENTION_CONTEXT,
    latent_dtype: str = "float16",
    advance: Advance = lambda count: None,
) -> ClipReport:
    """Encodes a clip or image to a token file.

    Args:
        model: what `Tokenizer.from_pretrained` was given, for whoever decodes.
        latent_dtype: of continuous latents in the file: 'float16', 'bfloat16' or 'float32'.
    """
    begin = time.monotonic()
    spare(output, *media_files(source, output), model)
    if output.suffix != ".safetensors":
        raise InputError(f"{output}: expected a name that ends in .safetensors for a token file")
    ticks: list[int] = []
    with (
        open_media(source, frames=frames, size=size, max_pixels=max_pixels) as reader,
        TokenWriter(output, tokenizer.spec, latent_dtype) as writer,
        closing(ahead(batches(reader, tokenizer.spec.step_frames))) as coming,
    ):
        info = reader.info
        encoder = tokenizer.stream_encoder(attention_context=attention_context)
        for batch in coming:
            ticks.extend(round(frame.time * TICKS) for frame in batch)
            writer.write(encoder.push(to_video(batch, tokenizer.device)))
            advance(len(batch))
        writer.write(encoder.flush())
        rate, times = timing(ticks, info.frame_rate)
        writer.finish(
            TokenInfo(
                model=model,
                fingerprint=tokenizer.fingerprint,
                kind=info.kind,
                size=(len(ticks), info.height, info.width),
                frame_rate=rate if info.kind == "video" else None,
                times=times if info.kind == "video" else None,
                attention_context=attention_context,
                chunk=tokenizer.spec.chunk,
            )
        )
    bits = torch.finfo(getattr(torch, latent_dtype)).bits
    return clip_report(tokenizer.spec, source, output, info, len(ticks), bits, time.monotonic() - begin)


def decode_file(
    tokenizer: BaseTokenizer,
    tokens: StoredTokens,
    output: Path,
    *,
    model: str | None = None,
    advance: Advance = lambda count: None,
) -> ClipReport:
    """Plays the tokens of a clip back to a video or image; needs nothing but them and their model.

    Raises:
        TokenFileError: where another model made the tokens, or they are damaged.
    """
    begin = time.monotonic()
    spare(output, tokens.path, model)
    tokens.check(tokenizer)
    stored = tokens.info
    count, height, width = stored.size
    info = MediaInfo(
        path=tokens.path,
        kind="image" if stored.kind == "image" else "video",
        width=width,
        height=height,
        frame_rate=stored.frame_rate,
        frame_count=count,
        duration=None,
        has_audio=False,
        codec="",
        pixel_format="",
    )
    written = 0

    def finish(frames: Pixels) -> None:
        nonlocal written
        for pixels in frames()[: count - written]:
            sink.write(pixels, None if stored.times is None else Fraction(stored.times[written], TICKS))
            written += 1
            advance(1)

    with FrameSink(output, info, None, None, None) as sink, Behind() as behind:
        decoder = tokenizer.stream_decoder(attention_context=stored.attention_context, size=(height, width))
        for video in decoded_pieces(decoder, tokens):
            behind(finish, fetch(video))
    return clip_report(tokenizer.spec, tokens.label, output, info, count, tokens.bits, time.monotonic() - begin)


class FrameSink:
    """Writes frames as a video or, of an image, as a picture; complete or not at all."""

    def __init__(
        self,
        path: Path,
        info: MediaInfo,
        audio_from: Path | None,
        reader: MediaReader | None,
        together: Together | None,
        columns: int = 1,
        crf: int = CRF,
    ) -> None:
        self.path, self.info, self.reader, self.columns, self.crf = path, info, reader, columns, crf
        self.audio_from, self.together = audio_from, together
        self.writer: VideoWriter | None = None

    def __enter__(self) -> FrameSink:
        return self

    @property
    def has_audio(self) -> bool:
        """Whether the written video has the source's sound."""
        return self.writer is not None and self.writer.has_audio

    def write(self, pixels: np.ndarray, when: Fraction | None) -> None:
        """Adds a frame (H, W, 3), uint8, shown at `when` seconds (None: as the frame rate has it)."""
        if self.info.kind == "image":
            write_image(self.path, pixels, together=self.together)
            return
        if self.writer is None:  # only now is it known where in the source the clip begins
            start = self.reader.start_time if self.reader is not None else None
            self.writer = VideoWriter(
                self.path,
                width=self.info.width * self.columns,
                height=self.info.height,
                frame_rate=self.info.frame_rate or Fraction(24),
                crf=self.crf,
                audio_from=self.audio_from,
                audio_start=start or Fraction(0),
                together=self.together,
            )
            self.writer.__enter__()
        self.writer.write(pixels, when)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.writer is not None:
            self.writer.__exit__(kind, error, trace)


def decoded_pieces(decoder: StreamDecoder, tokens: StoredTokens) -> Iterator[Tensor]:
    try:
        for piece in tokens:
            yield decoder.push(piece)
        yield decoder.flush()
    except InputError as error:  # values that no encoder makes
        raise TokenFileError(f"{tokens.label}: damaged ({error}); encode the clip again") from None


def timing(ticks: list[int], frame_rate: Fraction | None) -> tuple[Fraction, tuple[int, ...] | None]:
    """Frame rate, and every frame's time where the rate does not tell it."""
    rate = frame_rate or Fraction(24)
    regular = all(abs(tick - i * TICKS / rate) <= 1 for i, tick in enumerate(ticks))
    return rate, None if regular else tuple(ticks)


def clip_report(
    spec: TokenizerSpec,
    source: Path | str,
    output: Path,
    info: MediaInfo,
    frames: int,
    latent_bits: int,
    seconds: float,
    **more: Any,
) -> ClipReport:
    """The figures that follow from a clip's size and the tokenizer."""
    if frames == 0:
        raise InputError(f"{source}: expected at least one frame")
    grid = spec.grid(frames, info.height, info.width)
    tokens = math.prod(grid)
    bits_per_token = spec.bits_per_token(latent_bits)
    pixels = frames * info.height * info.width
    return ClipReport(
        input=str(source),
        output=str(output),
        model=spec.name,
        kind=info.kind,
        frames=frames,
        width=info.width,
        height=info.height,
        frame_rate=float(info.frame_rate) if info.frame_rate else None,
        tokens=tokens,
        token_grid=grid,
        token_kind=f"FSQ indices below {spec.vocab_size}"
        if spec.is_discrete
        else f"vectors of {spec.latent_channels} x {latent_bits} bits",
        compression=24 * pixels / (tokens * bits_per_token),
        bits_per_pixel=tokens * bits_per_token / pixels,
        seconds=seconds,
        frames_per_second=frames / seconds,
        **more,
    )
