"""Makes a shard: inputs to clips, clips to tokens, tokens to rows. Whatever engine runs it, the bytes are the same."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from cosmotok.addresses import public
from cosmotok.dataset.job import USUAL, Advance, Care, Job, Step
from cosmotok.dataset.manifest import Counts, Shard
from cosmotok.dataset.plan import Task, entries_of, read_entries
from cosmotok.dataset.records import DATA, Quarantined, Record, Sums
from cosmotok.dataset.rows import RowFile, Timing, row_of
from cosmotok.dataset.schema import row_schema
from cosmotok.dataset.segments import cut
from cosmotok.dataset.shaping import Segment, ShapedFrame
from cosmotok.dataset.storage import hash_of, storage_at
from cosmotok.errors import CosmotokError, SourceLostError, out_of_memory
from cosmotok.foreign import one_line
from cosmotok.frames import batches, to_video
from cosmotok.interface import BaseTokenizer
from cosmotok.overlap import ahead
from cosmotok.streaming import StreamEncoder

__all__ = ["Worker"]

CLIP_BYTES = 256_000_000
"""Of its frames, from which on a clip is encoded as a stream rather than at once."""

FEW = 4
"""Events without frames that are read ahead: an input's end and the next one's begin, and some that cannot be read."""


class Clip(NamedTuple):
    """A whole segment, read."""

    input: int
    segment: Segment
    timing: Timing
    frames: list[ShapedFrame]


class Piece(NamedTuple):
    """Some frames of a segment that is too long to be held; none at its end."""

    input: int
    segment: Segment
    frames: list[ShapedFrame]


class Begin(NamedTuple):
    """An input was opened."""

    input: int
    metadata: Mapping[str, Any]
    signals: Mapping[str, np.ndarray]


class End(NamedTuple):
    """All of an input was read, or it cannot be read."""

    input: int
    reason: str | None


@dataclass
class Input:
    """What is known of an input while its shard is made."""

    key: str
    stamp: str
    metadata: Mapping[str, Any] = field(default_factory=dict)
    signals: Mapping[str, np.ndarray] = field(default_factory=dict)
    rows: list[tuple[int, dict[str, Any], Sums]] = field(default_factory=list)
    waiting: int = 0
    """Clips that are read and not encoded yet."""
    ended: bool = False
    reason: str | None = None


class Worker:
    """Holds the model, and makes one shard after the other.

    Args:
        tokenizer: the job's model, where it is loaded already.
    """

    def __init__(self, job: Job, tokenizer: BaseTokenizer | None = None, advance: Advance = lambda step: None) -> None:
        self.job, self.advance = job, advance
        self.storage = storage_at(job.place)
        self.tokenizer = job.load() if tokenizer is None else tokenizer

    def make(self, task: Task, care: Care = USUAL) -> Record:
        """Makes a shard and writes it, then the record of it.

        Raises:
            SourceLostError: where the sources or the data set cannot be reached.
            MediaError: where the shard cannot be written.
        """
        job, shard = self.job, None
        schema = row_schema(job.spec, job.options.latent_dtype, job.signals)
        with (
            suppress(_NoRowsError),
            self.storage.create(f"{DATA}/{task.name}.parquet") as file,
            closing(RowFile(file, schema)) as rows,
        ):
            making = Making(self, rows, list(entries_of(read_entries(self.storage, task))), care)
            events = making.events(task.part)
            with closing(events if care.careful else read_ahead(events)) as coming:
                making.take(coming)
            if not rows.rows:
                raise _NoRowsError
            rows.close()
            sha256, size = hash_of(file)
            shard = Shard(f"{DATA}/{task.name}.parquet", rows.rows, size, sha256)
        record = making.record(task, shard)
        record.write(self.storage)
        return record


class _NoRowsError(Exception):
    """There is nothing to write."""


Event = Begin | Clip | Piece | End


def read_ahead(events: Iterator[Event]) -> Generator[Event, None, None]:
    """The same events; while frames are encoded, a thread reads the next ones, those of the next input too."""

    def up_to_frames() -> Iterator[list[Event]]:
        some = []
        for event in events:
            some.append(event)
            if isinstance(event, (Clip, Piece)) or len(some) == FEW:  # which cannot be read must be told of, too
                yield some
                some = []
        yield some

    with closing(ahead(up_to_frames())) as coming:
        for some in coming:
            yield from some


class Making:
    """The making of one shard: `events` come from the sources, `take` makes rows of them."""

    def __init__(
        self, worker: Worker, rows: RowFile, entries: list[tuple[str, str, str, str, int]], care: Care = USUAL
    ) -> None:
        self.job, self.tokenizer, self.advance = worker.job, worker.tokenizer, worker.advance
        self.rows, self.entries, self.care = rows, entries, care
        self.inputs = [Input(key, stamp) for key, stamp, *_ in entries]
        self.counts, self.sums = Counts(planned=len(entries)), Sums()
        self.quarantined: list[Quarantined] = []
        self._batches: dict[tuple[int, int, int], list[Clip]] = {}
        self._written = 0
        self._stream: tuple[StreamEncoder, list[Tensor], Timing] | None = None

    # Reading -----------------------------------------------------------------------------------------------------

    def events(self, part: int) -> Generator[Event, None, None]:
        """What comes from the inputs, in order."""
        options = self.job.options
        for number, (key, _, address, metadata, source) in enumerate(self.entries):
            if key in self.care.doomed:
                yield End(number, self.care.doomed[key])
                continue
            self.advance(Step(keys=(key,)))
            place = ""
            try:
                with self.job.sources[part][source].open(key, self.job.address(address)) as opened:
                    place = str(opened.path)
                    yield Begin(number, {**json.loads(metadata), **opened.metadata}, opened.signals)
                    with cut(opened, options.shaping, max_pixels=options.max_pixels) as segments:
                        for segment in segments:
                            yield from self._read(number, segment)
                reason = None
            except SourceLostError:
                raise
            except CosmotokError as error:
                reason = one_line(public(str(error)), 300)
            except Exception as error:  # one file must not end a run of millions
                memory = out_of_memory(error)
                text = one_line(public(str(error)), 200)
                reason = f"{type(error).__name__}: {text}" if memory is None else f"out of memory{memory}"
            # not by a path of this machine: the same data set is the same everywhere
            yield End(number, reason.replace(place, key) if reason and place else reason)

    def _read(self, number: int, segment: Segment) -> Iterator[Clip | Piece]:
        room = max(1, CLIP_BYTES // (3 * segment.height * segment.width))
        if segment.length is not None and segment.length <= room:
            frames = list(segment.frames)
            yield Clip(number, segment, timing_of(frames), frames)
            return
        for some in batches(segment.frames, self.job.spec.step_frames):
            yield Piece(number, segment, some)
        yield Piece(number, segment, [])

    # Encoding ----------------------------------------------------------------------------------------------------

    def take(self, events: Iterator[Event]) -> None:
        """Encodes what comes, and writes the rows of one input after the other."""
        for event in events:
            target = self.inputs[event.input]
            if isinstance(event, Begin):
                target.metadata, target.signals = event.metadata, event.signals
            elif isinstance(event, End):
                target.ended, target.reason = True, target.reason or event.reason
                self._stream = None
                self._write()
            elif target.reason is None:
                self._encode(event)
        for clips in list(self._batches.values()):
            self._encode_batch(clips)
        self._batches.clear()
        self._write()

    def _encode(self, event: Clip | Piece) -> None:
        if isinstance(event, Piece):
            self._encode_piece(event)
            return
        key = self.inputs[event.input].key
        self.inputs[event.input].waiting += 1
        if key in self.care.alone:
            self._encode_batch([event])
            return
        shape = len(event.frames), event.segment.height, event.segment.width
        clips = self._batches.setdefault(shape, [])
        clips.append(event)
        if len(clips) == self.job.options.batch:
            del self._batches[shape]
            self._encode_batch(clips)
            if self.care.careful:
                self.advance(Step(keys=(key,)))  # which is read on

    def _encode_batch(self, clips: list[Clip]) -> None:
        """All at once; where that fails, each by itself, so that the others of a bad one are right."""
        if self.care.careful:
            self.advance(Step(keys=tuple(dict.fromkeys(self.inputs[clip.input].key for clip in clips))))
        tokens: Tensor | None = None
        try:
            tokens = self._tokens_of(clips)
        except Exception as error:
            if len(clips) == 1 or not is_of_inputs(error):
                self._refuse(clips, error)
                return
        if tokens is None:  # tried here, where the error, and with it what fills the memory, is gone
            for clip in clips:
                self._encode_batch([clip])
            return
        for clip, own in zip(clips, tokens.split(1), strict=True):
            self.inputs[clip.input].waiting -= 1
            self._add(clip.input, clip.segment, clip.timing, own)

    def _tokens_of(self, clips: list[Clip]) -> Tensor:
        video = torch.cat([to_video(clip.frames, self.tokenizer.device) for clip in clips])
        return self.tokenizer.encode(video, attention_context=self.job.options.attention_context)

    def _encode_piece(self, piece: Piece) -> None:
        try:
            whole = self._push(piece)
        except Exception as error:
            self._stream = None
            self._refuse([piece], error)
            return
        if whole is None:
            self.advance(Step(frames=len(piece.frames)))
            return
        tokens, timing = whole
        self._add(piece.input, piece.segment, timing, tokens, told=len(timing.times))

    def _push(self, piece: Piece) -> tuple[Tensor, Timing] | None:
        """Takes frames into the stream; the tokens of all of it and their timing, where it ends."""
        if self._stream is None:
            encoder = self.tokenizer.stream_encoder(attention_context=self.job.options.attention_context)
            self._stream = encoder, [], Timing([], [])
        encoder, parts, timing = self._stream
        if piece.frames:
            parts.append(encoder.push(to_video(piece.frames, self.tokenizer.device)))
            timing.extend(timing_of(piece.frames))
            return None
        parts.append(encoder.flush())
        self._stream = None
        return torch.cat([part for part in parts if part.numel()], dim=self.job.spec.time_axis), timing

    def _add(self, number: int, segment: Segment, timing: Timing, tokens: Tensor, told: int = 0) -> None:
        target, job = self.inputs[number], self.job
        sums = Sums()
        try:
            row = row_of(
                *(target.key, target.stamp, target.metadata, segment, timing, tokens, job.spec),
                job.options.latent_dtype,
                target.signals,
            )
        except CosmotokError as error:
            target.reason = target.reason or one_line(error, 300)
            return
        if not job.spec.is_discrete:
            sums.add(tokens[0])
        target.rows.append((segment.number, row, sums))
        positions = int(np.prod(tokens.shape[-3:]))
        self.advance(Step(frames=len(timing.times) - told, tokens=positions))

    def _refuse(self, clips: list[Clip] | list[Piece], error: Exception) -> None:
        """The inputs of clips that could not be encoded are left out."""
        if not is_of_inputs(error):
            raise error
        memory = out_of_memory(error)
        reason = one_line(error, 300)
        if memory is not None:
            reason = f"out of memory{memory}; ask for smaller frames or shorter segments"
        for clip in clips:
            self.inputs[clip.input].waiting -= isinstance(clip, Clip)
            self.inputs[clip.input].reason = reason

    # Writing -----------------------------------------------------------------------------------------------------

    def _write(self) -> None:
        """The rows of all inputs that are through, up to the first that is not."""
        while self._written < len(self.inputs):
            target = self.inputs[self._written]
            if not target.ended or target.waiting:
                return
            self._written += 1
            self.advance(Step(inputs=1))
            if target.reason is not None:
                self.quarantined.append(Quarantined(target.key, target.stamp, target.reason))
                self.counts += Counts(quarantined=1)
            else:
                self.counts += Counts(done=1, filtered=int(not target.rows))
                for _, row, sums in sorted(target.rows, key=lambda each: each[0]):
                    self.rows.write(row)
                    self.sums.merge(sums)
                    positions = row["latent_frames"] * row["latent_height"] * row["latent_width"]
                    self.counts += Counts(rows=1, frames=row["frames"], tokens=positions)
            target.rows, target.signals = [], {}

    def record(self, task: Task, shard: Shard | None) -> Record:
        """What became of the shard."""
        size = Counts(bytes=0 if shard is None else shard.bytes)
        return Record(task.name, self.counts + size, shard, self.sums, tuple(self.quarantined))


def timing_of(frames: list[ShapedFrame]) -> Timing:
    return Timing([frame.time for frame in frames], [frame.number for frame in frames])


def is_of_inputs(error: Exception) -> bool:
    """Whether it is their fault, rather than the program's."""
    return isinstance(error, CosmotokError) or out_of_memory(error) is not None
